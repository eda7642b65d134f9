"""`defectforge run ... --dry-run`: how many jobs, the first few, what they will take. Nothing is queued or written."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path
from typing import Any

from ...amounts import duration
from ...errors import OK
from ...outputs.output import JOURNAL, expected_bytes, nearest_existing, resolved
from ...outputs.pairs import names
from ...outputs.shards.reading import Measured, measured
from ...plans.job import Job
from ...plans.jobs import Jobs
from ...plans.plan import Plan
from ...reporter import Reporter
from ..preparing.admission import Admission, admit_all, prepare_for_all
from ..preparing.fleet import fleet_of
from ..requests.request import Request
from .run import checked

FIRST = 5


def dry_run(request: Request, reporter: Reporter) -> int:
    """Plan and check as `run` does, and say what it would do.

    Raises:
        DefectForgeError: what `run` would have said before its first job.
    """
    workflows = checked(request, reporter)
    with fleet_of(request, reporter) as ships:
        prepared = prepare_for_all(request, workflows, ships.sites, reporter.line)
        plan = prepared.plan
        admit_all(Admission.of(prepared), ships.sites, plan.jobs, reporter)
        servers = sum(site.lost is None for site in ships.sites)
    for note in plan.notes:
        reporter.line(note)
    reporter.line(f"{len(plan.jobs)} jobs" + shape(plan))
    for job in islice(plan.jobs, FIRST):
        reporter.line(f"  {described(plan, job)}")
    if len(plan.jobs) > FIRST:
        reporter.line(f"  ... and {len(plan.jobs) - FIRST} more")
    out = resolved(request.out) if request.out is not None else None
    before = measured(out) if out is not None else Measured()
    done = _done(out, plan) if out is not None and (out / JOURNAL).is_file() else 0
    seconds, time_said = expected_time(len(plan.jobs) - done, before, servers)
    bytes_, disk_said = expected_disk(plan, done, before)
    if done:
        reporter.line(f"{done} of them are done already")
    reporter.line(f"time: {time_said}")
    reporter.line(f"disk: {disk_said}" + (_free(out) if out is not None else ""))
    reporter.end(
        {
            "text": "nothing was queued or written (--dry-run)",
            "jobs": len(plan.jobs), "done": done, "seconds": seconds, "bytes": bytes_, "exit_code": OK,
        }
    )  # fmt: skip
    return OK


def shape(plan: Plan) -> str:
    """': 100 draws x 2 references x ...', and which part of it a shard is."""
    jobs = plan.jobs
    if not isinstance(jobs, Jobs):
        return ""
    spread = jobs.spread
    parts = [(spread.draws, "draws"), (spread.references, "references"), (spread.seeds, "seeds")]
    parts += [(len(spread.types), "types"), (len(spread.methods), "workflows")]
    shown = [f"{number} {what}" for number, what in parts if number > 1 or what == "draws"]
    if spread.variants > len(spread.methods):
        if len(spread.methods) > 1:
            shown[-1] += f" with {spread.variants} sets of values together"
        else:
            shown.append(f"{spread.variants} sets of values")
    text = ": " + " x ".join(shown)
    return text if len(jobs) == len(spread) else f" of {len(spread)} in the whole plan{text}"


def described(plan: Plan, job: Job) -> str:
    image, _ = names(job.category, job.type, job.number * plan.keep)
    parts = [f"{image}: {job.source.photo.relative}"]
    parts += [f"reference {reference.photo.relative}" for reference in job.references]
    parts.append(f"seed {job.seed}")
    if plan.methods:
        parts.append(f"workflow {plan.methods[job.method].name}")
    parts += [f"{s.title}.{s.input}={s.value}" for s in job.varied]
    return ", ".join(parts)


def expected_time(jobs: int, before: Measured, servers: int) -> tuple[float | None, str]:
    """Seconds, and what to say; None where no earlier run tells."""
    if before.seconds_a_job is None:
        return None, "not known: no earlier run in --out has finished two jobs"
    # As many servers as then is no guess; another number of them is said, not calculated with.
    seconds = jobs * before.seconds_a_job
    source = f"{before.seconds_a_job:.3g} s a job, measured on the last {before.jobs} jobs in --out"
    then = f" with {before.servers} servers" if before.servers != servers else ""
    return seconds, f"about {duration(seconds)} ({source}{then})"


def expected_disk(plan: Plan, done: int, before: Measured) -> tuple[int, str]:
    left = len(plan.jobs) - done
    if before.bytes_a_job is not None:
        size = int(left * before.bytes_a_job)
        return size, f"about {_megabytes(size)} ({before.bytes_a_job / 1e6:.2g} MB a job, measured in --out)"
    size = int(expected_bytes(plan) * left / max(1, len(plan.jobs)))
    return size, f"about {_megabytes(size)} (assumed: 1.5 times the photos that the pairs are made from)"


def _megabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _free(out: Path) -> str:
    return f"; {_megabytes(shutil.disk_usage(nearest_existing(out)).free)} are free in {out}"


def _done(out: Path, plan: Plan) -> int:
    from ...outputs.shards.reading import opened

    with opened(out) as database:
        done: set[Any] = {row[0] for row in database.execute("SELECT id FROM job WHERE state='done'")}
    return sum(job.id in done for job in plan.jobs) if done else 0
