"""The waiting jobs, shared by the workers of all servers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from .job import Job


class JobSource:
    """Hands out jobs in order. A job is open from the start until `finish`, also while it is in flight."""

    def __init__(self, jobs: Iterable[Job], until: int | None = None) -> None:
        """`until`: pairs after which no further job is begun; None does them all."""
        self._lock = threading.Lock()
        self._until = until
        self._waiting = deque(jobs)
        self._open = len(self._waiting)
        self._workers: set[str] = set()
        self._failed_on: dict[str, set[str]] = {}
        self._accepts: dict[str, Callable[[Job], bool]] = {}

    def join(self, worker: str, accepts: Callable[[Job], bool] | None = None) -> None:
        """`accepts`: whether a job passed the check of this worker's server; None: every job does."""
        with self._lock:
            self._workers.add(worker)
            self._accepts.pop(worker, None)
            if accepts is not None:
                self._accepts[worker] = accepts

    def leave(self, worker: str) -> None:
        with self._lock:
            self._workers.discard(worker)

    def take(self, worker: str) -> Job | None:
        """The next job for this worker. One that failed on it goes to another, as long as there is another."""
        with self._lock:
            if self._until is not None and self._open - len(self._waiting) >= max(2, self._until):
                return None  # what is in hand may be enough: it is committed beside the next jobs
            accepts = self._accepts.get(worker)
            for job in self._waiting:
                if accepts is not None and not accepts(job):
                    continue
                failed_on = self._failed_on.get(job.id, set())
                if worker not in failed_on or not self._workers - failed_on:
                    self._waiting.remove(job)
                    return job
            return None

    def give_back(self, job: Job, failed_on: str | None = None) -> None:
        """To the front: it was next once already."""
        with self._lock:
            if failed_on is not None:
                self._failed_on.setdefault(job.id, set()).add(failed_on)
            if self._until is not None and self._until <= 0:
                self._open -= 1
            else:
                self._waiting.appendleft(job)

    def claim(self, job: Job) -> None:
        """Take out one certain job: a server is still at it from an earlier run."""
        with self._lock:
            self._waiting.remove(job)

    def reclaim(self, job: Job) -> bool:
        """Take out one certain job if nobody has taken it yet."""
        with self._lock:
            found = next((waiting for waiting in self._waiting if waiting.id == job.id), None)
            if found is None or found.round != job.round:
                return False
            self._waiting.remove(found)
            return True

    @property
    def in_hand(self) -> int:
        """Jobs that some server has: open, and not waiting."""
        with self._lock:
            return self._open - len(self._waiting)

    def finish(self, pairs: int = 0) -> None:
        """A job is over, with so many pairs. Where enough are there, what waits is let go."""
        with self._lock:
            self._open -= 1
            if self._until is not None:
                self._until -= pairs
                if self._until <= 0:
                    self._open -= len(self._waiting)
                    self._waiting.clear()

    @property
    def all_finished(self) -> bool:
        with self._lock:
            return self._open <= 0
