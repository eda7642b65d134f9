"""Prompts that wait, the one that runs, and what became of the others."""

from __future__ import annotations

import copy
import heapq
import itertools
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

#: Oldest entries leave the history first; ComfyUI keeps as many.
MAXIMUM_HISTORY_SIZE = 10_000
#: Never kept in the history.
SENSITIVE_KEYS = ("auth_token_comfy_org", "api_key_comfy_org")


@dataclass(order=True)
class QueueItem:
    """A validated prompt. The smallest `number` runs first; `turn` breaks ties in order of arrival."""

    number: float
    turn: int
    prompt_id: str = field(compare=False)
    prompt: dict[str, Any] = field(compare=False)
    extra_data: dict[str, Any] = field(compare=False)
    outputs: list[str] = field(compare=False)

    def listed(self) -> list[Any]:
        """As `/queue` and `/history` show it."""
        return [self.number, self.prompt_id, self.prompt, self.extra_data, self.outputs]


class PromptQueue:
    """Thread-safe queue and history. `changed` is called, with the lock held, when the number of prompts changes."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        self._turns = itertools.count()
        self._pending: list[QueueItem] = []
        self._running: QueueItem | None = None
        self._history: dict[str, dict[str, Any]] = {}
        self._flags: dict[str, bool] = {}
        self._closed = False

    def put(
        self,
        number: float,
        prompt_id: str,
        prompt: dict[str, Any],
        extra_data: dict[str, Any],
        outputs: list[str],
    ) -> None:
        with self._lock:
            heapq.heappush(self._pending, QueueItem(number, next(self._turns), prompt_id, prompt, extra_data, outputs))
            self._changed()
            self._wake.notify_all()

    def next(self, started: Callable[[QueueItem], None]) -> tuple[QueueItem | None, dict[str, bool]]:
        """Wait for a prompt, or for flags set by `/free`, or for `close`; gives what there is.

        `started` is called before anybody can see the prompt as running, so that it can be interrupted from then on.
        """
        with self._lock:
            self._wake.wait_for(lambda: self._pending or self._flags or self._closed)
            flags, self._flags = self._flags, {}
            if self._closed or not self._pending:
                return None, flags
            self._running = heapq.heappop(self._pending)
            started(self._running)
            self._changed()
            return self._running, flags

    def done(self, outcome: dict[str, Any], announce: Callable[[], None]) -> None:
        """Move the running prompt into the history, and only then call `announce`: who hears of the end finds it."""
        with self._lock:
            item = self._running
            assert item is not None, "no prompt is running"
            self._running = None
            for key in SENSITIVE_KEYS:
                item.extra_data.pop(key, None)
            if item.prompt_id not in self._history and len(self._history) >= MAXIMUM_HISTORY_SIZE:
                self._history.pop(next(iter(self._history)))
            self._history[item.prompt_id] = {"prompt": item.listed(), **outcome}
            announce()
            self._changed()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._pending.clear()
            self._wake.notify_all()

    @property
    def closed(self) -> bool:
        return self._closed

    def set_flag(self, name: str) -> None:
        with self._lock:
            self._flags[name] = True
            self._wake.notify_all()

    def remaining(self) -> int:
        with self._lock:
            return len(self._pending) + (self._running is not None)

    def listing(self) -> tuple[list[list[Any]], list[list[Any]]]:
        """Running and pending prompts as `/queue` shows them."""
        with self._lock:
            running = [self._running.listed()] if self._running else []
            return running, [item.listed() for item in self._pending]

    def clear(self) -> None:
        with self._lock:
            self._pending.clear()
            self._changed()

    def delete(self, prompt_ids: Iterable[str]) -> None:
        """Remove pending prompts; the running one stays."""
        wanted = set(prompt_ids)
        with self._lock:
            self._pending = [item for item in self._pending if item.prompt_id not in wanted]
            heapq.heapify(self._pending)
            self._changed()

    def history(
        self, prompt_id: str | None = None, max_items: int | None = None, offset: int = -1
    ) -> dict[str, dict[str, Any]]:
        """Entries by prompt id, oldest first; a negative `offset` with `max_items` gives the newest ones."""
        with self._lock:
            if prompt_id is not None:
                found = self._history.get(prompt_id)
                return {} if found is None else {prompt_id: copy.copy(found)}
            start = len(self._history) - max_items if offset < 0 and max_items is not None else offset
            stop = None if max_items is None else max(start, 0) + max(max_items, 0)
            return dict(itertools.islice(self._history.items(), max(start, 0), stop))

    def clear_history(self) -> None:
        with self._lock:
            self._history.clear()

    def delete_history(self, prompt_ids: Iterable[str]) -> None:
        with self._lock:
            for prompt_id in prompt_ids:
                self._history.pop(prompt_id, None)
