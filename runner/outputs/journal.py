"""The journal of a run, OUT/run.sqlite: which job is where. The truth for resuming; the manifest is for people."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import DefectForgeError, Problem, RequestError, StorageError, request_error
from ..plans.plan import Job
from .lock import FolderLock, InUse

PENDING, SUBMITTED, COMMITTING, DONE, FAILED = "pending", "submitted", "committing", "done", "failed"

SCHEMA = """
CREATE TABLE IF NOT EXISTS run(id INTEGER PRIMARY KEY, started REAL, request TEXT, version TEXT);
CREATE TABLE IF NOT EXISTS job(
    id TEXT PRIMARY KEY, number INTEGER NOT NULL, category TEXT NOT NULL, type TEXT NOT NULL,
    state TEXT NOT NULL, server TEXT, prompt_id TEXT, attempts INTEGER NOT NULL DEFAULT 0,
    losses INTEGER NOT NULL DEFAULT 0, error TEXT, error_code TEXT, record TEXT, outputs TEXT,
    UNIQUE(category, type, number));
CREATE INDEX IF NOT EXISTS job_state ON job(state);
CREATE TABLE IF NOT EXISTS refused(
    job TEXT NOT NULL, round INTEGER NOT NULL, draw INTEGER, seed TEXT, reason TEXT, scores TEXT,
    whole INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS refused_job ON refused(job);
CREATE TABLE IF NOT EXISTS review(
    pair TEXT PRIMARY KEY, job TEXT NOT NULL, kind TEXT NOT NULL, type TEXT, position INTEGER NOT NULL,
    line TEXT NOT NULL, places TEXT NOT NULL, settled INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS attempt(
    job TEXT NOT NULL, server TEXT, prompt_id TEXT, submitted REAL, ended REAL, verdict TEXT);
CREATE INDEX IF NOT EXISTS attempt_job ON attempt(job);
CREATE INDEX IF NOT EXISTS attempt_ended ON attempt(ended);
CREATE TABLE IF NOT EXISTS server(url TEXT PRIMARY KEY, state TEXT NOT NULL, since REAL, text TEXT);
CREATE TABLE IF NOT EXISTS beat(
    one INTEGER PRIMARY KEY CHECK(one=1), run INTEGER, host TEXT, pid INTEGER, total INTEGER, time REAL, ended REAL,
    text TEXT);
"""

#: SQL: pairs that a row of `job` holds, one image each; nothing has to be parsed for it.
_ROLE = '"role": "image"'
_PAIRS = f"(LENGTH(outputs) - LENGTH(REPLACE(outputs, '{_ROLE}', ''))) / {len(_ROLE)}"


class Journal:
    """One writer process, many threads. Another run on the same folder is refused; anybody may read meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._durable = True
        try:
            self._held = FolderLock(path.with_suffix(".lock"))
        except InUse as error:
            raise _in_use("another run holds it", path) from error
        except OSError as error:
            raise _while_running(error, path) from error
        try:
            try:
                self._db = _opened(path)
            except sqlite3.OperationalError as error:
                if not any(word in str(error) for word in ("I/O", "unable to open", "protocol")):
                    raise
                # A file system without shared memory between processes: nobody can read while the run goes on.
                self._db = _opened(path, exclusive=True)
        except sqlite3.Error as error:
            self._held.release()
            raise _at_opening(error, path) from error

    def close(self) -> None:
        # A full disk cannot take the log into the database now; it is read from the log at the next start.
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._db.close()
        self._held.release()

    def _do(self, sql: str, *values: Any) -> sqlite3.Cursor:
        with self._lock:
            try:
                return self._db.execute(sql, values)
            except sqlite3.Error as error:
                raise _while_running(error, self._path) from error

    @contextlib.contextmanager
    def together(self, durable: bool = True) -> Iterator[None]:
        """All of it or nothing, whatever interrupts it. Inside another one it is a part of that.

        Args:
            durable: on the disk when it returns. Otherwise the end of this process cannot undo it, but a power cut can.
        """
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            if durable != self._durable:
                self._do(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                self._durable = durable
            self._do("BEGIN IMMEDIATE")
            try:
                yield
                self._do("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                raise

    def start_run(self, request: dict[str, Any], version: str) -> None:
        self._do("INSERT INTO run(started, request, version) VALUES(?,?,?)", time.time(), json.dumps(request), version)

    def add(self, jobs: Iterable[Job], keep: int = 1) -> None:
        """Enter jobs that are not there yet. A job keeps its number for ever; where it is taken, the next free one.

        Args:
            jobs: of this run.
            keep: numbers that each job owns, for as many pairs.
        """
        with self.together():
            known = {row[0] for row in self._rows("SELECT id FROM job")}
            for job in jobs:
                if job.id in known:
                    continue
                known.add(job.id)
                of_type = (job.category, job.type)
                number = job.number * keep
                if self._do("SELECT 1 FROM job WHERE category=? AND type=? AND number=?", *of_type, number).fetchone():
                    highest = self._do("SELECT MAX(number) FROM job WHERE category=? AND type=?", *of_type)
                    number = highest.fetchone()[0] + keep
                self._do(
                    "INSERT INTO job(id, number, category, type, state) VALUES(?,?,?,?,?)",
                    job.id,
                    number,
                    *of_type,
                    PENDING,
                )

    def kept_before(self) -> int | None:
        """How many pairs a job of earlier runs on this folder could give; None if there was no run."""
        found = self._do("SELECT request FROM run ORDER BY id DESC LIMIT 1").fetchone()
        try:
            return int(json.loads(found["request"]).get("pairs_a_job", 1)) if found else None
        except (TypeError, ValueError, AttributeError):
            return 1

    def refuse(self, job_id: str, round_: int, seed: int, refused: Iterable[dict[str, Any]], whole: bool) -> None:
        """Keep why draws of a job did not get into the dataset. Once for each round, whatever interrupts it.

        Args:
            job_id: whose draws.
            round_: of the job.
            seed: of that round.
            refused: as the saving node announces them.
            whole: no draw of the round was kept.
        """
        with self.together():
            self._do("DELETE FROM refused WHERE job=? AND round=?", job_id, round_)
            for entry in refused:
                self._do(
                    "INSERT INTO refused(job, round, draw, seed, reason, scores, whole) VALUES(?,?,?,?,?,?,?)",
                    job_id,
                    round_,
                    entry.get("draw"),
                    str(seed),
                    str(entry.get("reason", "")),
                    json.dumps(entry.get("scores", {}), sort_keys=True),
                    int(whole),
                )

    def rounds(self, job_id: str) -> int:
        """How many rounds of draws of a job were refused altogether."""
        found = self._do("SELECT COUNT(DISTINCT round) FROM refused WHERE job=? AND whole", job_id).fetchone()
        return int(found[0])

    def all_rounds(self) -> dict[str, int]:
        """`rounds` of every job that has any."""
        with self._lock:
            return dict(self._rows("SELECT job, COUNT(DISTINCT round) FROM refused WHERE whole GROUP BY job"))

    def refused(self, job_id: str | None = None) -> list[dict[str, Any]]:
        """Draws that were refused, of one job or of all."""
        where, values = ("WHERE job=?", [job_id]) if job_id else ("", [])
        rows = self._do(f"SELECT * FROM refused {where} ORDER BY job, round, draw", *values)
        return [{**dict(row), "scores": json.loads(row["scores"] or "{}")} for row in rows]

    def server_stands(self, url: str, state: str, text: str) -> None:
        """How a server is doing, for whoever looks on."""
        with self.together(durable=False):
            sql = "INSERT OR REPLACE INTO server(url, state, since, text) VALUES(?,?,?,?)"
            self._do(sql, url, state, time.time(), text.encode("utf-8", "backslashreplace").decode())

    def forget_servers(self) -> None:
        """Those of an earlier run."""
        self._do("DELETE FROM server")

    def beat(self, total: int, ended: str | None = None) -> None:
        """This process is at it, or has ended, and with what words."""
        now = time.time()
        with self.together(durable=False):
            self._do(
                "INSERT OR REPLACE INTO beat(one, host, pid, total, time, ended, text) VALUES(1,?,?,?,?,?,?)",
                socket.gethostname(),
                os.getpid(),
                total,
                now,
                None if ended is None else now,
                ended,
            )

    def reviews(self) -> list[dict[str, Any]]:
        """What reviews want of pairs; see `outputs.review`."""
        return [dict(row) for row in self._do("SELECT * FROM review ORDER BY position")]

    def want(self, reviews: Iterable[dict[str, Any]]) -> None:
        """Remember, all or none, what is wanted of pairs, before anything is moved."""
        names = ("pair", "job", "kind", "type", "position", "line", "places")
        with self.together():
            for review in reviews:
                values = [review[name] for name in names]
                self._do(f"INSERT OR REPLACE INTO review({', '.join(names)}, settled) VALUES(?,?,?,?,?,?,?,0)", *values)

    def settle(self, jobs: dict[str, tuple[str, str]]) -> None:
        """Everything lies where reviews want it: these jobs have these records and outputs (as JSON) now."""
        with self.together():
            for job_id, (record, outputs) in jobs.items():
                self._do("UPDATE job SET record=?, outputs=? WHERE id=?", record, outputs, job_id)
            self._do("DELETE FROM review WHERE kind='none'")
            self._do("UPDATE review SET settled=1")

    def has(self, job_id: str) -> bool:
        return self._do("SELECT 1 FROM job WHERE id=?", job_id).fetchone() is not None

    def row(self, job_id: str) -> dict[str, Any]:
        found = self._do("SELECT * FROM job WHERE id=?", job_id).fetchone()
        return dict(found)

    def state(self, job_id: str) -> str:
        return str(self.row(job_id)["state"])

    def states(self) -> dict[str, str]:
        """The state of every job, by id."""
        with self._lock:
            return {job_id: sys.intern(state) for job_id, state in self._rows("SELECT id, state FROM job")}

    def pairs_given(self) -> dict[str, int]:
        """How many pairs each job that is done has given."""
        # Counted by the database: the outputs of a hundred thousand jobs are too much to hold at once.
        with self._lock:
            return dict(self._rows(f"SELECT id, {_PAIRS} FROM job WHERE state='{DONE}'"))

    def outputs_done(self) -> Iterator[tuple[str, str]]:
        """(id, outputs as JSON) of every job that is done. Not to be mixed with writing."""
        return self._rows(f"SELECT id, outputs FROM job WHERE state='{DONE}' ORDER BY number")

    def leftovers(self) -> Iterator[dict[str, Any]]:
        """category, type and number of every job that may have left files half-way. Not to be mixed with writing."""
        sql = f"SELECT category, type, number FROM job WHERE state IN ('{PENDING}', '{SUBMITTED}')"
        return map(dict, self._do(sql))

    def _rows(self, sql: str) -> Iterator[Any]:
        """Plain tuples: a hundred thousand rows in a moment."""
        cursor = self._do(sql)
        cursor.row_factory = None
        return cursor

    def in_state(self, state: str) -> list[dict[str, Any]]:
        return [dict(row) for row in self._do("SELECT * FROM job WHERE state=? ORDER BY number", state)]

    def submitted(self, job_id: str, server: str, prompt_id: str) -> None:
        """Written before the POST, so that a job which a killed runner queued can be found again."""
        # A power cut that loses it costs a second execution on the server, no second pair.
        with self.together(durable=False):
            self._end(job_id, "left behind")  # by a runner that was killed
            self._do(
                "UPDATE job SET state=?, server=?, prompt_id=?, error=NULL, error_code=NULL WHERE id=?",
                SUBMITTED,
                server,
                prompt_id,
                job_id,
            )
            self._do(
                "INSERT INTO attempt(job, server, prompt_id, submitted) VALUES(?,?,?,?)",
                job_id,
                server,
                prompt_id,
                time.time(),
            )

    def back(self, job_id: str, verdict: str, attempts: int = 0, losses: int = 0) -> None:
        """To the waiting jobs again. A lost server costs no attempt."""
        with self.together(durable=False):
            self._end(job_id, verdict)
            sql = "UPDATE job SET state=?, attempts=attempts+?, losses=losses+? WHERE id=?"
            self._do(sql, PENDING, attempts, losses, job_id)

    def committing(
        self, job_id: str, record: dict[str, Any] | list[dict[str, Any]], outputs: list[dict[str, str]]
    ) -> None:
        """Written when the verified files lie there as .part, before they get their names."""
        self._do(
            "UPDATE job SET state=?, record=?, outputs=? WHERE id=?",
            COMMITTING,
            json.dumps(record, sort_keys=True),
            json.dumps(outputs),
            job_id,
        )

    def done(self, job_id: str) -> None:
        # Not durable by itself: after a power cut the files and their record, which are, are taken over.
        with self.together(durable=False):
            self._end(job_id, "done")
            self._do("UPDATE job SET state=?, error=NULL, error_code=NULL WHERE id=?", DONE, job_id)

    def failed(self, job_id: str, code: str, error: str) -> None:
        text = error.encode("utf-8", "backslashreplace").decode()  # a server may send what is no text
        with self.together():
            self._end(job_id, code)
            self._do("UPDATE job SET state=?, error=?, error_code=? WHERE id=?", FAILED, text, code, job_id)

    def renew(self, job_id: str) -> None:
        """A failed job gets all its attempts again: the user has asked for it once more."""
        self._do("UPDATE job SET state=?, attempts=0, losses=0 WHERE id=?", PENDING, job_id)

    # ---- joining the journals of shards

    def take_over(self, entries: Iterable[dict[str, Any]], runs: Iterable[dict[str, Any]]) -> None:
        """Enter, all or none, jobs of other journals with all that is known of them, and the runs that made them.

        Args:
            entries: {"job": row, "refused": rows, "attempt": rows} of jobs that are not done here.
            runs: rows of the table; those that are there already are not entered again.
        """
        with self.together():
            for entry in entries:
                job_id = entry["job"]["id"]
                for table in ("job", "refused", "attempt"):
                    key = "id" if table == "job" else "job"
                    self._do(f"DELETE FROM {table} WHERE {key}=?", job_id)
                    for row in [entry["job"]] if table == "job" else entry[table]:
                        names, marks = ", ".join(row), ", ".join("?" * len(row))
                        self._do(f"INSERT INTO {table}({names}) VALUES({marks})", *row.values())
            for run in runs:
                values = (run["started"], run["request"], run["version"])
                if not self._do("SELECT 1 FROM run WHERE started=? AND request=?", *values[:2]).fetchone():
                    self._do("INSERT INTO run(started, request, version) VALUES(?,?,?)", *values)

    def requests(self) -> list[dict[str, Any]]:
        """What every run here was asked for."""
        return [json.loads(row[0]) for row in self._do("SELECT request FROM run ORDER BY id")]

    def records_in_order(self, types: Sequence[str]) -> Iterator[str]:
        """The records of every job that is done, as JSON, in the order of a plan with these types."""
        order, values = in_plan_order(types)
        return (row[0] for row in self._do(f"SELECT record FROM job WHERE state=? {order}", DONE, *values))

    def places(self, done: bool) -> Iterator[tuple[int, str]]:
        """(number, type) of every job that is done, or of every other one."""
        rows = self._do(f"SELECT number, type FROM job WHERE state{'=' if done else '!='}? ORDER BY number", DONE)
        return ((row[0], row[1]) for row in rows)

    def number_of_states(self) -> dict[str, int]:
        return {row[0]: row[1] for row in self._do("SELECT state, COUNT(*) FROM job GROUP BY state")}

    def number_of_pairs(self) -> int:
        return int(self._do(f"SELECT COALESCE(SUM({_PAIRS}), 0) FROM job WHERE state=?", DONE).fetchone()[0])

    def _end(self, job_id: str, verdict: str) -> None:
        self._do("UPDATE attempt SET ended=?, verdict=? WHERE job=? AND ended IS NULL", time.time(), verdict, job_id)


def in_plan_order(types: Sequence[str]) -> tuple[str, list[Any]]:
    """ORDER BY as a plan with these types numbers its jobs, and its values."""
    if not types:
        return "ORDER BY number, category, type", []
    cases = " ".join("WHEN ? THEN ?" for _ in types)
    values = [item for place, type_ in enumerate(types) for item in (type_, place)]
    return f"ORDER BY number, CASE type {cases} ELSE {len(types)} END, category, type", values


def _opened(path: Path, exclusive: bool = False) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=1.0, check_same_thread=False, isolation_level=None)
    database.row_factory = sqlite3.Row
    try:
        database.execute(f"PRAGMA locking_mode={'EXCLUSIVE' if exclusive else 'NORMAL'}")
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.executescript(SCHEMA)
        database.execute("BEGIN IMMEDIATE")
        database.execute("COMMIT")
        # Others only read, and a reader may be copying: wait for it instead of failing.
        database.execute("PRAGMA busy_timeout=30000")
    except sqlite3.Error:
        database.close()
        raise
    return database


def _in_use(said: str, path: Path) -> RequestError:
    return request_error(
        "out.in_use",
        f"the output folder is in use: {said}",
        where=str(path),
        expected="no other run on the same --out",
        mend="wait for the other run, or choose another --out",
    )


def _at_opening(error: sqlite3.Error, path: Path) -> DefectForgeError:
    said = str(error)
    if "locked" in said or "busy" in said:
        return _in_use(said, path)
    if isinstance(error, sqlite3.OperationalError) and not said.startswith(("no such", "table", "near")):
        return _while_running(error, path)
    return request_error(
        "out.journal_broken",
        f"the journal cannot be used: {said}",
        where=str(path),
        expected="the journal of an earlier run, or none",
        mend="choose another --out (the pictures there stay as they are)",
    )


def _while_running(error: Exception, path: Path) -> StorageError:
    full = "full" in str(error) or "I/O" in str(error)
    return StorageError(
        Problem(
            "out.write",
            f"the output cannot be written: the journal says: {error}",
            where=str(path),
            expected="free disk space and write permission" if full else "a folder that can be written",
            mend="make room, or see to the permission, and run the same command again: it goes on where it stopped",
        )
    )
