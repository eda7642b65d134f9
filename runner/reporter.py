"""What the user sees of a run: plain lines in a log, one JSON object a line with --json; bars are in `bars`."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

from .errors import DefectForgeError, printable
from .watch.tally import Tally

if TYPE_CHECKING:
    from .plans.plan import Job

Event = dict[str, Any]


#: A larger run is told in summaries, not pair by pair.
MOST_LINES = 200
SUMMARY_EVERY = 60.0
#: Failures that are told one by one; all of them are in the journal.
MOST_FAILURES = 50
#: Seconds until the same is told of a server again.
TELL_AGAIN = 900.0


class Reporter:
    """Base: plain lines to stderr. `event` and `tick` are called from one thread only."""

    brief = True
    """Tell a large run in summaries."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._started: dict[str, float] = {}
        self._total = self._done = self._failures = 0
        self._tally = Tally()
        self._told: dict[str, float] = {}
        self._next = 0.0

    def begin(self, total: int, done: int, out: str) -> None:
        self._total, self._done = total, done
        self._tally.begin(total, done)
        self._next = time.monotonic() + SUMMARY_EVERY
        already = f", {done} of them are there already" if done else ""
        self.line(f"{total} pairs to make{already}; they go to {out}")

    def event(self, name: str, data: Event) -> None:
        job: Job | None = data.get("job")
        self._tally.event(name, data)
        if name == "started" and job is not None:
            self._started[job.id] = time.monotonic()
        elif name == "done" and job is not None:
            self._done += 1
            started = self._started.pop(job.id, None)
            if self._summarised:
                return
            path = data["record"]["image"]["path"]
            took = "" if started is None else f", {time.monotonic() - started:.1f} s"
            self.line(f"[{self._done}/{self._total}] {path}  {job.source.photo.relative}, seed {job.seed}{took}")
        elif name == "failed" and job is not None:
            self._failures += 1
            if self.brief and self._failures > MOST_FAILURES:
                return
            if self.brief and self._failures == MOST_FAILURES:
                self.line(f"{MOST_FAILURES} jobs failed; further ones are counted, and kept in the journal")
            self.line(f"failed: job {job.index} ({job.source.photo.relative}, seed {job.seed}): {data['text']}")
        elif name == "redraw" and job is not None:
            self.line(f"drawing job {job.index} again ({job.source.photo.relative}, seed {job.seed}): {data['reason']}")
        elif name in ("warning", "note"):
            self.line(data["text"] if name == "note" else f"warning: {data['text']}")
        elif name == "server":
            self.stands(data["server"], data["state"], data.get("text", ""))

    def stands(self, server: str, state: str, text: str) -> None:
        """How a server stands now: what wants somebody is told, and what works again; each once in a while only.

        One that is away is told by a warning already; where none works, the run ends with the reason.
        """
        others = any(one.works for name, one in self._tally.servers.items() if name != server)
        if state == "needs help" and others:
            self._seldom(f"warning: {text or server}; going on with the others, and asking it again now and then")
        elif state == "up":
            self._seldom(f"{server} works again")

    def _seldom(self, text: str) -> None:
        now = time.monotonic()
        if now - self._told.get(text, -TELL_AGAIN) >= TELL_AGAIN:
            self._told[text] = now
            self.line(text)

    @property
    def _summarised(self) -> bool:
        return self.brief and self._total > MOST_LINES

    def tick(self) -> None:
        """Called every few tenths of a second while a run goes on."""
        if self._summarised and time.monotonic() >= self._next:
            self._next = time.monotonic() + SUMMARY_EVERY
            self.line(self._tally.summary())
            if len(self._tally.servers) > 1:
                for server in self._tally.servers:
                    self.line(f"  {self._tally.line(server)}")

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

    def tick(self) -> None:
        pass

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


class Several(Reporter):
    """Tells all of them; the first is the one that speaks to the user."""

    def __init__(self, *reporters: Reporter) -> None:
        super().__init__()
        self._reporters = reporters

    def begin(self, total: int, done: int, out: str) -> None:
        for reporter in self._reporters:
            reporter.begin(total, done, out)

    def event(self, name: str, data: Event) -> None:
        for reporter in self._reporters:
            reporter.event(name, data)

    def tick(self) -> None:
        for reporter in self._reporters:
            reporter.tick()

    def line(self, text: str) -> None:
        for reporter in self._reporters:
            reporter.line(text)

    def error(self, error: DefectForgeError) -> None:
        for reporter in self._reporters:
            reporter.error(error)

    def end(self, summary: Event) -> None:
        for reporter in self._reporters:
            reporter.end(summary)

    def close(self) -> None:
        for reporter in self._reporters:
            reporter.close()
