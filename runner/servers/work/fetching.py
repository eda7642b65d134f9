"""What a server has made is fetched and verified beside its worker, while it computes the next job."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from ..client import Client
from .collect import Collected, Collector
from .flight import Flight

#: Two: while one pair travels, the other one is decoded.
THREADS = 2

Returned = Callable[[Flight, Exception | None], None]


class Fetching:
    """`returned` is called, from a thread of ours, for each flight that could not be fetched."""

    def __init__(
        self,
        name: str,
        client: Callable[[], Client],
        collector: Collector,
        commit: Callable[[Collected, Returned], None],
        returned: Returned,
    ) -> None:
        self._client, self._collector, self._commit, self._returned = client, collector, commit, returned
        self._waiting: queue.SimpleQueue[tuple[Flight, dict[str, Any]] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"fetch {number} {name}", daemon=True) for number in range(THREADS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def put(self, flight: Flight, entry: dict[str, Any]) -> None:
        self._waiting.put((flight, entry))

    def stop(self) -> None:
        """What is waiting is still fetched; nobody waits for it."""
        for _ in self._threads:
            self._waiting.put(None)

    def _run(self) -> None:
        while (found := self._waiting.get()) is not None:
            flight, entry = found
            try:
                collected = self._collector.of(flight.job).fetch(self._client(), flight, entry)
            except Exception as error:  # the worker knows what each kind means; what it does not know, it raises
                self._returned(flight, error)
            else:
                self._commit(collected, self._returned)
