"""What of a plan is there already, and what is left to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ...plans.plan import Job
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


def take_stock(journal: Progress, jobs: Iterable[Job], keep: int = 1) -> Stock:
    """Enter the jobs that are new, and give the failed ones all their attempts again.

    Args:
        jobs: of the plan. Gone over once: a plan computes a job and its id anew whenever it is asked.
        keep: numbers that each job owns, for as many pairs.
    """
    states = journal.states()
    ours: list[str] = []
    todo: list[Job] = []

    def passing() -> Iterator[Job]:
        for job in jobs:
            ours.append(job.id)
            if states.get(job.id) != DONE:
                todo.append(job)
            yield job

    journal.add(passing(), keep)
    with journal.together():
        for job in todo:
            if states.get(job.id) == FAILED:
                journal.renew(job.id)
    given = journal.pairs_given()
    return Stock(ours, todo, sum(given.get(job_id, 0) for job_id in ours))
