"""What the user of a terminal sees of a run."""

from __future__ import annotations

import contextlib

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from .amounts import duration, speed
from .errors import DefectForgeError, printable
from .reporter import Event, Reporter


class BarReporter(Reporter):
    """A terminal: one bar for all jobs, and a line for each server."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"), console=self._console
        )
        self._all: TaskID | None = None
        self._servers: dict[str, TaskID] = {}
        self._computing: dict[str, str] = {}

    def begin(self, total: int, done: int, out: str) -> None:
        super().begin(total, done, out)
        self._progress.start()
        self._all = self._progress.add_task("all", total=total, completed=done, said=f"{done}/{total}")

    def event(self, name: str, data: Event) -> None:
        super().event(name, data)
        server = data.get("server")
        if self._all is None or not server:
            return
        if server not in self._servers:
            self._servers[server] = self._progress.add_task(self._short(server), total=None, said="")
        line = self._servers[server]
        if name == "progress":
            self._computing[server] = data["node"]
            self._progress.update(line, completed=data["value"], total=data["max"] or None)
        elif name == "started":
            self._computing[server] = ""
            self._progress.update(line, completed=0, total=None)
        if name in ("done", "failed"):
            self._show_all()
        if name in ("done", "failed", "server", "progress", "started"):
            self._progress.update(line, said=self._said(server))

    def _short(self, server: str) -> str:
        return server.partition("://")[2] or server

    def _said(self, server: str) -> str:
        """State, speed, mean time, and what is computed right now."""
        said = self._tally.line(server).removeprefix(f"{server}: ")
        return printable(f"{said}  {self._computing.get(server, '')}".rstrip(), 120)

    def _show_all(self) -> None:
        assert self._all is not None
        tally = self._tally
        parts = [f"{tally.done}/{tally.total}"]
        parts += [f"{tally.failed} failed"] if tally.failed else []
        parts += [speed(tally.rate)] if tally.rate else []
        parts += [f"{duration(tally.remaining)} left"] if tally.remaining is not None else []
        self._progress.update(self._all, completed=tally.done + tally.failed, said=", ".join(parts))

    def tick(self) -> None:
        """The bars are the summary."""

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
