"""The waiting jobs, shared by the workers of all servers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection

from .job import Job


class JobSource:
    """Hands out jobs in order. A job is open from the start until `finish`, also while it is in flight.

    The jobs are asked for one by one when they are taken: a plan that computes them need not hold them.
    """

    def __init__(self, jobs: Collection[Job], until: int | None = None) -> None:
        """`until`: pairs after which no further job is begun; None does them all."""
        self._lock = threading.Lock()
        self._until = until
        self._fresh = iter(jobs)
        self._untaken = len(jobs)
        self._returned: deque[Job] = deque()
        self._claimed: set[str] = set()
        self._open = len(jobs)
        self._workers: set[str] = set()
        self._failed_on: dict[str, set[str]] = {}

    def join(self, worker: str) -> None:
        with self._lock:
            self._workers.add(worker)

    def leave(self, worker: str) -> None:
        with self._lock:
            self._workers.discard(worker)

    def take(self, worker: str) -> Job | None:
        """The next job for this worker. One that failed on it goes to another, as long as there is another."""
        with self._lock:
            for job in self._returned:
                failed_on = self._failed_on.get(job.id, set())
                if worker not in failed_on or not self._workers - failed_on:
                    self._returned.remove(job)
                    return job
            return self._next()

    def _next(self) -> Job | None:
        while self._untaken:
            self._untaken -= 1
            job = next(self._fresh)
            if job.id not in self._claimed:
                return job
            # It was counted out when it was claimed.
            self._untaken += 1
            self._claimed.discard(job.id)
        return None

    def give_back(self, job: Job, failed_on: str | None = None) -> None:
        """To the front: it was next once already."""
        with self._lock:
            if failed_on is not None:
                self._failed_on.setdefault(job.id, set()).add(failed_on)
            if self._until is not None and self._until <= 0:
                self._open -= 1
            else:
                self._returned.appendleft(job)

    def claim(self, job: Job) -> None:
        """Take out one certain job: a server is still at it from an earlier run."""
        with self._lock:
            self._claimed.add(job.id)
            self._untaken -= 1

    def finish(self, pairs: int = 0) -> None:
        """A job is over, with so many pairs. Where enough are there, what waits is let go."""
        with self._lock:
            self._open -= 1
            if self._until is not None:
                self._until -= pairs
                if self._until <= 0:
                    self._open -= len(self._returned) + self._untaken
                    self._returned.clear()
                    self._untaken = 0

    @property
    def all_finished(self) -> bool:
        with self._lock:
            return self._open <= 0
