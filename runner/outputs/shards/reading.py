"""The journal of a run that is over, read without changing anything: what it holds, and what its jobs took."""

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
from urllib.parse import quote

from ...errors import request_error
from ..output import JOURNAL

#: Jobs that a measurement looks at.
SAMPLE = 2000
#: Between two jobs that ended one after the other: a longer pause (in medians) was none of theirs.
PAUSE = 10


@contextlib.contextmanager
def opened(out: Path) -> Iterator[sqlite3.Connection]:
    """The journal in `out`, to read.

    Raises:
        RequestError: there is none, it is in use, or it is no journal.
    """
    path = out / JOURNAL
    if not path.is_file():
        raise request_error(
            "out.no_journal",
            f"there is no run in '{out}'",
            where=str(path),
            expected="the folder of a run (--out)",
            mend="check the path",
        )
    address = f"file:{quote(str(path.resolve()))}"
    with contextlib.closing(_connected(address, path)) as database:
        try:
            yield database
        except sqlite3.Error as error:
            raise _broken(error, path) from error


def _connected(address: str, path: Path) -> sqlite3.Connection:
    # A folder that cannot be written has no place for the log of readers; without a log nothing can change either.
    immutable = not path.with_name(path.name + "-wal").exists()
    error: sqlite3.Error | None = None
    for mode in ("mode=ro", *(["mode=ro&immutable=1"] if immutable else [])):
        try:
            database = sqlite3.connect(f"{address}?{mode}", uri=True, timeout=1.0)
            database.row_factory = sqlite3.Row
            database.execute("SELECT id, number, category, type, state, record, outputs FROM job LIMIT 1")
        except sqlite3.Error as problem:
            error = problem
            if "locked" in str(problem):
                break
        else:
            return database
    assert error is not None
    raise _broken(error, path) from error


def _broken(error: sqlite3.Error, path: Path) -> Exception:
    if "locked" in str(error):
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
