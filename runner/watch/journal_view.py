"""A run as its journal tells it, for another shell or another machine: only read, and never in the runner's way."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import request_error
from ..outputs.journal import COMMITTING, DONE, FAILED, PENDING, SUBMITTED
from ..outputs.output import JOURNAL, no_run
from ..outputs.shards.reading import connected

RECENT = 600.0
"""Seconds that rates are taken from."""
SILENT = 30.0
"""Seconds without a sign of the runner, after which it counts as gone."""
WAITS = (PENDING, SUBMITTED, COMMITTING)


@dataclass
class ServerView:
    """`rate` in jobs a second of late, `mean` in seconds from a job's queueing to its commit."""

    url: str
    state: str = ""
    since: float | None = None
    text: str = ""
    done: int = 0
    in_flight: int = 0
    rate: float = 0.0
    mean: float = 0.0

    @property
    def works(self) -> bool:
        return self.state in ("", "up", "on trial")


@dataclass
class RunView:
    """`state` is "running", "ended", "interrupted" (no sign of the runner) or "unknown"."""

    state: str
    total: int
    counts: dict[str, int]
    started: float | None = None
    seen: float | None = None
    host: str = ""
    pid: int | None = None
    text: str = ""
    servers: list[ServerView] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    refused: int = 0

    @property
    def done(self) -> int:
        return self.counts.get(DONE, 0)

    @property
    def failed(self) -> int:
        return self.counts.get(FAILED, 0)

    @property
    def waiting(self) -> int:
        return sum(self.counts.get(state, 0) for state in WAITS)

    @property
    def rate(self) -> float:
        """Jobs a second of the servers that work."""
        return sum(server.rate for server in self.servers if server.works)

    @property
    def remaining(self) -> float | None:
        return self.waiting / self.rate if self.rate > 0 and self.state == "running" else None


def view(out: Path, now: float | None = None) -> RunView:
    """Raises RequestError: there is no journal, or it cannot be read."""
    path = out / JOURNAL
    if not path.is_file():
        raise no_run(out, "status.no_run", f"there is no {JOURNAL}")
    now = time.time() if now is None else now
    try:
        try:
            with connected(path, patience=2.0) as database:
                return _read(database, now)
        except sqlite3.OperationalError:
            # A file system that lends no memory between machines: look at a copy.
            with _copied(path) as copy, connected(copy) as database:
                return _read(database, now)
    except (sqlite3.Error, OSError) as error:
        raise request_error(
            "status.unreadable",
            f"the journal cannot be read: {error}",
            where=str(path),
            expected="the journal of a run of this version",
            mend="try again in a moment",
        ) from error


@contextlib.contextmanager
def _copied(path: Path, tries: int = 5) -> Iterator[Path]:
    """Journal and log as they were at one moment: the journal itself changes only now and then."""
    with tempfile.TemporaryDirectory(prefix="defectforge-status-") as folder:
        copy = Path(folder) / path.name
        for _ in range(tries):
            before = path.stat().st_mtime_ns
            shutil.copyfile(path, copy)
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(path.with_name(path.name + "-wal"), copy.with_name(copy.name + "-wal"))
            if path.stat().st_mtime_ns == before:
                break
        yield copy


def _read(database: sqlite3.Connection, now: float) -> RunView:
    tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    counts = {row[0]: row[1] for row in database.execute("SELECT state, COUNT(*) FROM job GROUP BY state")}
    run = database.execute("SELECT started, request FROM run ORDER BY id DESC LIMIT 1").fetchone()
    found = RunView("unknown", sum(counts.values()), counts, started=run["started"] if run else None)
    if "beat" in tables and (beat := database.execute("SELECT * FROM beat").fetchone()):
        found.seen, found.host, found.pid, found.text = beat["time"], beat["host"], beat["pid"], beat["text"] or ""
        silent = now - (beat["time"] or 0) > SILENT
        found.state = "ended" if beat["ended"] else "interrupted" if silent else "running"
    found.refused = database.execute("SELECT COUNT(*) FROM refused").fetchone()[0]
    found.failures = [
        dict(row)
        for row in database.execute(
            "SELECT number, type, error_code, error FROM job WHERE state=? ORDER BY number LIMIT 5", [FAILED]
        )
    ]
    found.servers = list(_servers(database, tables, found, now))
    return found


def _servers(database: sqlite3.Connection, tables: set[str], run: RunView, now: float) -> Iterator[ServerView]:
    known: dict[str, ServerView] = {}
    if "server" in tables:
        for row in database.execute("SELECT * FROM server"):
            known[row["url"]] = ServerView(row["url"], row["state"], row["since"], row["text"] or "")
    started = run.started or 0.0
    sql = "SELECT server, COUNT(*) AS done FROM attempt WHERE verdict='done' AND ended>=? GROUP BY server"
    for row in database.execute(sql, [started]):
        known.setdefault(row["server"], ServerView(row["server"])).done = row["done"]
    for row in database.execute(
        "SELECT server, COUNT(*) AS n, MIN(ended) AS first, MAX(ended) AS last, AVG(ended - submitted) AS mean "
        "FROM attempt WHERE verdict='done' AND ended>=? GROUP BY server",
        [max(started, now - RECENT)],
    ):
        server = known.setdefault(row["server"], ServerView(row["server"]))
        server.mean = row["mean"] or 0.0
        if row["n"] > 1:
            interval = max((row["last"] - row["first"]) / (row["n"] - 1), (now - row["last"]) / 2, 1e-6)
            server.rate = 1.0 / interval
    for row in database.execute("SELECT server, COUNT(*) AS n FROM job WHERE state=? GROUP BY server", [SUBMITTED]):
        known.setdefault(row["server"], ServerView(row["server"])).in_flight = row["n"]
    yield from (known[url] for url in sorted(known))


def as_json(run: RunView) -> str:
    """One object, for programs."""
    servers = [{**vars(server)} for server in run.servers]
    content = {**vars(run), "servers": servers, "rate": run.rate, "remaining": run.remaining}
    return json.dumps(content, sort_keys=True)
