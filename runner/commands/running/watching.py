"""What the journal keeps of a run for `defectforge status`: a sign of life, and how each server stands."""

from __future__ import annotations

import contextlib
import time

from ...errors import StorageError
from ...outputs.journal import Journal
from ...reporter import Event, Reporter, Several

EVERY = 5.0
"""Seconds between two signs of life."""


class Watching(Several):
    """Tells the journal what it tells the reporter."""

    def __init__(self, journal: Journal, reporter: Reporter, total: int) -> None:
        super().__init__(reporter)
        self._journal, self._total, self._next = journal, total, 0.0
        self.tick()

    def event(self, name: str, data: Event) -> None:
        if name == "server":
            # A full disk is the committing thread's to find.
            with contextlib.suppress(StorageError):
                self._journal.server_stands(data["server"], data["state"], data["text"])
        super().event(name, data)

    def tick(self) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY
            with contextlib.suppress(StorageError):
                self._journal.beat(self._total)
        super().tick()
