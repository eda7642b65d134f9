"""One thread commits what all servers made: what came in while the disk was busy goes to it together."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from ...errors import StorageError
from ...outputs.commit import Committer
from ...plans.source import JobSource
from .collect import Collected
from .fetching import Returned

Emit = Callable[[str, dict[str, Any]], None]
#: Jobs that are committed together: few enough that a slow disk still shows progress.
MOST_AT_ONCE = 32
#: For so many it is not waited any longer; less than a window may have uncommitted.
ENOUGH = 4
LINGER = 0.05
"""Seconds."""


class Committing:
    """`error` is set once the output cannot be written any more; nothing is committed from then on."""

    def __init__(self, committer: Committer, source: JobSource, emit: Emit) -> None:
        self._committer, self._source, self._emit = committer, source, emit
        self._waiting: queue.SimpleQueue[tuple[Collected, Returned] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        self.error: StorageError | None = None
        self.crash: Exception | None = None

    def start(self) -> None:
        self._thread.start()

    def put(self, collected: Collected, returned: Returned) -> None:
        """From any thread; `returned` hears how it ended, from the committing thread."""
        self._waiting.put((collected, returned))

    def stop(self, timeout: float) -> bool:
        """Commit what is there and end. Returns whether it did within `timeout` seconds."""
        self._waiting.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def broken(self) -> bool:
        return self.error is not None or self.crash is not None

    def _run(self) -> None:
        going_on = True
        while going_on:
            batch = self._gathered()
            if batch[-1] is None:
                going_on = False
            self._commit([item for item in batch if item is not None])

    def _gathered(self) -> list[tuple[Collected, Returned] | None]:
        """What is there, and what comes within a moment while other jobs are in hand: a sync of journal, manifest and
        folders costs the same for one job as for several. Nothing waits for it but the names of the files."""
        batch = [self._waiting.get()]
        deadline = time.monotonic() + LINGER
        while batch[-1] is not None and len(batch) < MOST_AT_ONCE:
            wait = deadline - time.monotonic() if len(batch) < ENOUGH and self._source.in_hand > len(batch) else 0.0
            try:
                batch.append(self._waiting.get(timeout=max(0.0, wait)))
            except queue.Empty:
                break
        return batch

    def _commit(self, batch: list[tuple[Collected, Returned]]) -> None:
        if not batch:
            return
        error: Exception | None = self.error or self.crash
        records: list[dict[str, Any]] = []
        if error is None:
            try:
                for collected, _ in batch:
                    self._committer.refuse(collected.flight.job, collected.refused)
                records = self._committer.commit_all([collected.made for collected, _ in batch])
            except StorageError as storage:
                error = self.error = storage
            except Exception as unforeseen:  # a thread's exception would be printed and forgotten
                error = self.crash = unforeseen
        for place, (collected, returned) in enumerate(batch):
            flight = collected.flight
            if error is None:
                self._source.finish(len(collected.made.pairs))
                self._emit("done", {"job": flight.job, "server": flight.server, "record": records[place]})
            returned(flight, error)
