"""Where each job is: entered, queued on a server, committed, failed."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from ...plans.plan import Job
from .database import Database
from .schema import COMMITTING, DONE, FAILED, PAIRS, PENDING, SUBMITTED


class Progress(Database):
    """The way of every job."""

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

    def has(self, job_id: str) -> bool:
        return self._do("SELECT 1 FROM job WHERE id=?", job_id).fetchone() is not None

    def row(self, job_id: str) -> dict[str, Any]:
        found = self._do("SELECT * FROM job WHERE id=?", job_id).fetchone()
        return dict(found)

    def filed_as(self, job_id: str) -> tuple[str, str, int]:
        """(category, type, number): what the files of a job are named after."""
        category, type_, number = self._do("SELECT category, type, number FROM job WHERE id=?", job_id).fetchone()
        return category, type_, number

    def state(self, job_id: str) -> str:
        return str(self.row(job_id)["state"])

    def states(self) -> dict[str, tuple[str, int]]:
        """The state of every job and how many pairs it has given, by id."""
        # Counted by the database: the outputs of a hundred thousand jobs are too much to hold at once.
        sql = f"SELECT id, state, CASE state WHEN '{DONE}' THEN {PAIRS} ELSE 0 END FROM job"
        with self._lock:
            return {job_id: (sys.intern(state), pairs) for job_id, state, pairs in self._rows(sql)}

    def outputs_done(self) -> Iterator[tuple[str, str]]:
        """(id, outputs as JSON) of every job that is done. Not to be mixed with writing."""
        return self._rows(f"SELECT id, outputs FROM job WHERE state='{DONE}' ORDER BY number")

    def leftovers(self) -> Iterator[dict[str, Any]]:
        """category, type and number of every job that may have left files half-way. Not to be mixed with writing."""
        sql = f"SELECT category, type, number FROM job WHERE state IN ('{PENDING}', '{SUBMITTED}')"
        return map(dict, self._do(sql))

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

    def _end(self, job_id: str, verdict: str) -> None:
        self._do("UPDATE attempt SET ended=?, verdict=? WHERE job=? AND ended IS NULL", time.time(), verdict, job_id)
