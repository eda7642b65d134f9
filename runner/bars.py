"""What the user of a terminal sees of a run."""

from __future__ import annotations

import contextlib

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from .errors import DefectForgeError, printable
from .reporter import Event, Reporter


class BarReporter(Reporter):
    """A terminal: one bar for all pairs, one line for what is computed right now."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._all: TaskID | None = None
        self._one: TaskID | None = None

    def begin(self, total: int, done: int, out: str) -> None:
        super().begin(total, done, out)
        self._progress.start()
        self._all = self._progress.add_task("pairs", total=total, completed=done)
        self._one = self._progress.add_task("", total=None, visible=False)

    def event(self, name: str, data: Event) -> None:
        if self._one is not None and self._all is not None:
            if name == "started":
                self._progress.update(self._one, description="starting", completed=0, total=None, visible=True)
            elif name == "progress":
                self._progress.update(self._one, description=data["node"], completed=data["value"], total=data["max"])
            elif name in ("done", "failed"):
                self._progress.advance(self._all)
        super().event(name, data)

    def line(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._console.print(printable(text), markup=False, highlight=False)

    def error(self, error: DefectForgeError) -> None:
        self._progress.stop()
        super().error(error)

    def end(self, summary: Event) -> None:
        self._progress.stop()
        super().end(summary)

    def close(self) -> None:
        self._progress.stop()
