"""The journal of a run, read without changing anything: what it holds, and what its jobs took."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from ...errors import request_error
from ..journal.database import is_locked
from ..output import JOURNAL, no_run

#: Jobs that a measurement looks at.
SAMPLE = 2000
#: Between two jobs that ended one after the other: a longer pause (in medians) was none of theirs.
PAUSE = 10


@contextlib.contextmanager
def connected(journal: Path, patience: float = 1.0, lasting: bool = False) -> Iterator[sqlite3.Connection]:
    """A journal that somebody may be writing, to read.

    Args:
        journal: the file, which exists.
        patience: seconds until a lock counts as one that stays.
        lasting: the reading takes so long that a run may begin meanwhile. SQLite leaves two small files of its own in
            the folder then, where it can be written.

    Raises:
        sqlite3.Error: it cannot be read; also while it is.
    """
    address = journal.resolve().as_uri() + "?mode=ro"
    is_written = journal.with_name(journal.name + "-wal").exists()
    # Where nobody writes, no lock is needed, and no file beside the journal.
    ways = [address] if is_written else [address + "&immutable=1"]
    with contextlib.closing(_first_of([address, *ways] if lasting else ways, patience)) as database:
        yield database


def _first_of(ways: list[str], patience: float) -> sqlite3.Connection:
    for way in ways:
        database = sqlite3.connect(way, uri=True, timeout=patience)
        database.row_factory = sqlite3.Row
        try:
            database.execute("SELECT name FROM sqlite_master LIMIT 1")  # connecting alone reads nothing
        except sqlite3.Error as error:
            database.close()
            if way == ways[-1] or is_locked(error):
                raise
        else:
            return database
    raise AssertionError("there is always a way to try")


@contextlib.contextmanager
def opened(out: Path, lasting: bool = False) -> Iterator[sqlite3.Connection]:
    """The journal of the run in `out`, to read, as `connected`.

    Raises:
        RequestError: there is none, it is in use, or it is no journal.
    """
    path = out / JOURNAL
    if not path.is_file():
        raise no_run(out, "out.no_journal", f"there is no run in '{out}' (no {JOURNAL})")
    try:
        with connected(path, lasting=lasting) as database:
            database.execute("SELECT id, number, category, type, state, record, outputs FROM job LIMIT 1")
            yield database
    except sqlite3.Error as error:
        raise _broken(error, path) from error


def _broken(error: sqlite3.Error, path: Path) -> Exception:
    if is_locked(error):
        return request_error(
            "out.in_use",
            "a run is still writing there",
            where=str(path),
            expected="a run that has ended",
            mend="wait for it, or stop it",
        )
    return request_error(
        "out.journal_broken",
        f"the journal cannot be used: {error}",
        where=str(path),
        expected="the journal of a run",
        mend="make that part again",
    )


@dataclass(frozen=True)
class Measured:
    """What jobs of earlier runs took. None where nothing tells."""

    jobs: int = 0
    seconds_a_job: float | None = None
    """Between one end and the next, on all servers of then together."""
    servers: int = 0
    bytes_a_job: float | None = None


def measured(out: Path) -> Measured:
    """Of the runs in `out`; nothing where there are none. Raises RequestError as `opened`."""
    if not (out / JOURNAL).is_file():
        return Measured()
    with opened(out) as database:
        ends = database.execute(
            "SELECT ended, server FROM attempt WHERE verdict='done' AND ended IS NOT NULL ORDER BY ended DESC LIMIT ?",
            (SAMPLE,),
        ).fetchall()
        outputs = database.execute(
            "SELECT outputs FROM job WHERE state='done' ORDER BY number DESC LIMIT 200"
        ).fetchall()
    moments = sorted(row["ended"] for row in ends)
    gaps = [after - before for before, after in pairwise(moments)]
    usual = [gap for gap in gaps if gap <= PAUSE * median(gaps)] if gaps else []
    sizes = [_size(out, json.loads(row["outputs"] or "[]")) for row in outputs]
    known = [size for size in sizes if size]
    return Measured(
        jobs=len(moments),
        seconds_a_job=sum(usual) / len(usual) if usual else None,
        servers=len({row["server"] for row in ends}),
        bytes_a_job=sum(known) / len(known) if known else None,
    )


def _size(out: Path, outputs: list[dict[str, Any]]) -> int:
    total = 0
    for output in outputs:
        with contextlib.suppress(OSError):
            total += (out / output["path"]).stat().st_size
    return total
