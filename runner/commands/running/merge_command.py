"""`defectforge merge OUT SHARD...`: what shards made, as one run would have given it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...cluster.store import Store, as_url
from ...errors import OK, SOME_JOBS_FAILED, first_of, request_error
from ...outputs.journal import Journal
from ...outputs.output import JOURNAL, check_ours, check_place, lies_in, resolved
from ...outputs.shards.choice import NAMED
from ...outputs.shards.merge import Merged, merge
from ...reporter import Reporter


def merge_shards(out: Path, folders: Sequence[Path], reporter: Reporter) -> int:
    """Returns 0 where every job of every part is there, else 1.

    Raises:
        DefectForgeError: as `outputs.merge.merge`.
    """
    out = resolved(out)
    if any(is_store(folder) for folder in folders):
        return _merge_store(out, folders, reporter)
    shards = [resolved(folder) for folder in folders]
    for folder in shards:
        if lies_in(out, folder):
            raise request_error(
                "merge.into_itself",
                f"OUT is one of the shards, or lies in one: {folder}",
                expected="a folder of its own",
                mend="choose another OUT",
            )
        check_place(out, folder)
    with _journal(out) as journal:
        found = merge(out, shards, journal)
    return tell(found, out, reporter)


def is_store(place: Path) -> bool:
    """Whether it is what `run --cluster --store` wrote to: an address, or a folder with a plan and shards."""
    return as_url(place) is not None or ((place / "plan.json").is_file() and (place / "shards").is_dir())


def _merge_store(out: Path, places: Sequence[Path], reporter: Reporter) -> int:
    if len(places) > 1:
        raise request_error(
            "merge.several_stores", f"{len(places)} places, and one is a store", expected="one store by itself"
        )
    from ...cluster.home import merge_store

    store = Store(places[0])
    with _journal(out) as journal:
        return tell(merge_store(out, journal, store), out, reporter)


@contextlib.contextmanager
def _journal(out: Path) -> Iterator[Journal]:
    check_ours(out)
    out.mkdir(parents=True, exist_ok=True)
    journal = Journal(out / JOURNAL)
    try:
        yield journal
    finally:
        journal.close()


def tell(found: Merged, out: Path, reporter: Reporter) -> int:
    """Say what is there and what is not; returns the exit code."""
    for part, numbers in found.missing.items():
        reporter.line(f"missing: {len(numbers)} jobs of part {part} are not done: {first_of(numbers, NAMED)}")
    if found.absent:
        reporter.line(f"missing: no folder is part {first_of(found.absent, NAMED)} of the plan")
    if found.double:
        shown = first_of([job_id[:16] for job_id in found.double], NAMED)
        reporter.line(f"{len(found.double)} ids are there twice with the same pictures, taken once: {shown}")
    text = f"{found.pairs} pairs from {found.done} of {found.jobs} jobs are in {out}"
    code = OK if found.complete else SOME_JOBS_FAILED
    if not found.complete:
        text += "; run the missing parts and merge again, or run the whole plan with this --out: it does the rest"
    reporter.end(
        {
            "text": text, "done": found.done, "failed": found.failed, "total": found.jobs, "pairs": found.pairs,
            "missing": {part: len(numbers) for part, numbers in found.missing.items()}, "absent": found.absent,
            "double": found.double, "out": str(out), "exit_code": code,
        }
    )  # fmt: skip
    return code
