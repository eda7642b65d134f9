"""The waiting jobs, shared by the workers of all servers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

from .plan import Job


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

    def join(self, worker: str) -> None:
        with self._lock:
            self._workers.add(worker)

    def leave(self, worker: str) -> None:
        with self._lock:
            self._workers.discard(worker)

    def take(self, worker: str) -> Job | None:
        """The next job for this worker. One that failed on it goes to another, as long as there is another."""
        with self._lock:
            for job in self._waiting:
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
