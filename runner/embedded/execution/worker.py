"""The one thread that executes prompts."""

from __future__ import annotations

import logging
import threading

from .executor import Executor
from .prompt_queue import PromptQueue, QueueItem
from .registry import Registry
from .running import Outlet, Run

log = logging.getLogger(__name__)


class Worker:
    """Takes prompts from the queue until that is closed."""

    def __init__(self, queue: PromptQueue, registry: Registry, outlet: Outlet) -> None:
        self._queue = queue
        self._outlet = outlet
        self._executor = Executor(registry, outlet)
        self._lock = threading.Lock()
        self._run: Run | None = None
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Interrupt what runs and wait for the thread; False when it did not end in time."""
        self._queue.close()
        self.interrupt()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def running(self) -> Run | None:
        return self._run

    def interrupt(self, prompt_id: str | None = None) -> bool:
        """Interrupt the running prompt, or only if it is this one; True when it was."""
        with self._lock:
            if self._run is None or (prompt_id is not None and self._run.prompt_id != prompt_id):
                return False
            self._run.interrupt()
            return True

    def _work(self) -> None:
        while not self._queue.closed:
            item, flags = self._queue.next(self._start)
            if flags:
                self._free(flags)
            if item is not None and self._run is not None:
                self._process(item, self._run)

    def _start(self, item: QueueItem) -> None:
        with self._lock:
            self._run = Run(item.prompt_id, item.extra_data.get("client_id"), self._outlet)

    def _process(self, item: QueueItem, run: Run) -> None:
        try:
            execution = self._executor.execute(item, run)
        finally:
            with self._lock:
                self._run = None
        self._queue.done(execution.outcome(), execution.announce)
        run.to_client("executing", {"node": None, "prompt_id": item.prompt_id})

    def _free(self, flags: dict[str, bool]) -> None:
        # As in ComfyUI: free_memory also forgets every cached result.
        if flags.get("free_memory"):
            self._executor.reset()
        self._executor.unload_models()
