"""What the user sees of a run: bars on a terminal, plain lines in a log, one JSON object a line with --json."""

from __future__ import annotations

import json
import sys
import time
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from .errors import DefectForgeError
from .plans.plan import Job

Event = dict[str, Any]


class Reporter:
    """Base: plain lines to stderr. `event` is called from one thread only."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._started: dict[str, float] = {}
        self._total = self._done = 0

    def begin(self, total: int, done: int, out: str) -> None:
        self._total, self._done = total, done
        already = f", {done} of them are there already" if done else ""
        self.line(f"{total} pairs to make{already}; they go to {out}")

    def event(self, name: str, data: Event) -> None:
        job: Job | None = data.get("job")
        if name == "started" and job is not None:
            self._started[job.id] = time.monotonic()
        elif name == "done" and job is not None:
            self._done += 1
            took = time.monotonic() - self._started.pop(job.id, time.monotonic())
            path = data["record"]["image"]["path"]
            self.line(
                f"[{self._done}/{self._total}] {path}  {job.source.photo.relative}, seed {job.seed}, {took:.1f} s"
            )
        elif name == "failed" and job is not None:
            self.line(f"failed: job {job.index} ({job.source.photo.relative}, seed {job.seed}): {data['text']}")
        elif name in ("warning", "note"):
            self.line(data["text"] if name == "note" else f"warning: {data['text']}")

    def line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def error(self, error: DefectForgeError) -> None:
        self.line(f"error: {error.text()}")

    def end(self, summary: Event) -> None:
        self.line(summary["text"])

    def close(self) -> None:
        """Give the terminal back as it was, whatever happened."""


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
        self._console.print(text, markup=False, highlight=False)

    def error(self, error: DefectForgeError) -> None:
        self._progress.stop()
        super().error(error)

    def end(self, summary: Event) -> None:
        self._progress.stop()
        super().end(summary)

    def close(self) -> None:
        self._progress.stop()


class JsonReporter(Reporter):
    """For programs: NDJSON on stdout, nothing else there."""

    def _write(self, event: str, **data: Any) -> None:
        print(json.dumps({"event": event, "time": round(time.time(), 3), **data}), flush=True)

    def begin(self, total: int, done: int, out: str) -> None:
        self._write("begin", total=total, done=done, out=out)

    def event(self, name: str, data: Event) -> None:
        shown = {key: value for key, value in data.items() if key not in ("job", "record")}
        job: Job | None = data.get("job")
        if job is not None:
            shown |= {"id": job.id, "index": job.index, "source": job.source.photo.relative, "seed": job.seed}
        if name == "done":
            shown |= {"image": data["record"]["image"], "mask": data["record"]["mask"]}
        self._write(name, **shown)

    def line(self, text: str) -> None:
        self._write("note", text=text)

    def error(self, error: DefectForgeError) -> None:
        problems = [problem.as_dict() for problem in error.problems]
        self._write("error", exit_code=error.exit_code, problems=problems)

    def end(self, summary: Event) -> None:
        self._write("end", **summary)


def make_reporter(as_json: bool) -> Reporter:
    if as_json:
        return JsonReporter()
    return BarReporter() if sys.stderr.isatty() else Reporter()
