"""What of a plan is there already, and what is left to do."""

from __future__ import annotations

from dataclasses import dataclass

from ...plans.plan import Job, Plan
from .progress import Progress
from .schema import DONE, FAILED


@dataclass(frozen=True)
class Stock:
    """Of all jobs of a plan."""

    ours: list[str]
    """Their ids."""
    todo: list[Job]
    """Those that are not done."""
    pairs: int
    """That they have given."""


def take_stock(journal: Progress, plan: Plan) -> Stock:
    """Enter the jobs that are new, and give the failed ones all their attempts again."""
    ours: list[str] = []
    todo: list[Job] = []
    pairs = 0
    there = journal.states()
    # Most jobs of a run that goes on are done, and of those the id is enough.
    for place, job_id in enumerate(plan.ids):
        state, given = there.get(job_id, (None, 0))
        ours.append(job_id)
        pairs += given
        if state != DONE:
            todo.append(plan.jobs[place])
    journal.add((job for job in todo if job.id not in there), plan.keep)
    with journal.together():
        for job in todo:
            if there.get(job.id, (None, 0))[0] == FAILED:
                journal.renew(job.id)
    return Stock(ours, todo, pairs)
