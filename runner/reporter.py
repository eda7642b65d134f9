"""What the user sees of a run: plain lines in a log, one JSON object a line with --json; bars are in `bars`."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

from .errors import DefectForgeError, printable

if TYPE_CHECKING:
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
        elif name == "redraw" and job is not None:
            self.line(f"drawing job {job.index} again ({job.source.photo.relative}, seed {job.seed}): {data['reason']}")
        elif name in ("warning", "note"):
            self.line(data["text"] if name == "note" else f"warning: {data['text']}")

    def line(self, text: str) -> None:
        # Nobody may be reading any more (a closed terminal, a full log): that ends no run of days.
        with contextlib.suppress(OSError, ValueError):
            print(printable(text), file=self._stream, flush=True)

    def error(self, error: DefectForgeError) -> None:
        self.line(f"error: {error.text()}")

    def end(self, summary: Event) -> None:
        self.line(summary["text"])

    def close(self) -> None:
        """Give the terminal back as it was, whatever happened."""


class JsonReporter(Reporter):
    """For programs: NDJSON on stdout, nothing else there."""

    def _write(self, event: str, **data: Any) -> None:
        """Raises OSError where nobody reads any more: a program that lost its events must not believe all is well."""
        print(json.dumps({"event": event, "time": round(time.time(), 3), **data}, default=str), flush=True)

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
