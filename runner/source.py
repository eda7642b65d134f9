"""The waiting jobs, shared by the workers of all servers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

from .plan import Job


class JobSource:
    """Hands out jobs in order. A job is open from the start until `finish`, also while it is in flight."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._lock = threading.Lock()
        self._waiting = deque(jobs)
        self._open = len(self._waiting)

    def take(self) -> Job | None:
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def give_back(self, job: Job) -> None:
        """To the front: it was next once already."""
        with self._lock:
            self._waiting.appendleft(job)

    def claim(self, job: Job) -> None:
        """Take out one certain job: a server is still at it from an earlier run."""
        with self._lock:
            self._waiting.remove(job)

    def finish(self) -> None:
        with self._lock:
            self._open -= 1

    @property
    def all_finished(self) -> bool:
        with self._lock:
            return self._open <= 0
