"""How fast each server is, from the events of a run."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..amounts import duration, speed

#: Ends of jobs that a rate is taken from, and the seconds after which an end is too old for it.
ENDS, WINDOW = 50, 600.0
WORKS = ("up", "on trial")


@dataclass
class ServerTally:
    """One server. Times are the clock's."""

    state: str = "up"
    text: str = ""
    done: int = 0
    failed: int = 0
    seconds: float = 0.0
    """Spent on its jobs that are done, from the start of each on the server."""
    timed: int = 0
    ends: deque[float] = field(default_factory=lambda: deque(maxlen=ENDS))

    @property
    def works(self) -> bool:
        return self.state in WORKS

    def rate(self, now: float) -> float:
        """Jobs a second of late; 0 where it is not known."""
        ends = [end for end in self.ends if now - end <= WINDOW]
        if len(ends) < 2:
            return 0.0
        # Until now, not until the last end: a server that stands still gets slower and slower.
        mean = (ends[-1] - ends[0]) / (len(ends) - 1)
        return 1.0 / max(mean, (now - ends[-1]) / 2, 1e-9)

    @property
    def mean(self) -> float:
        """Seconds a job; 0 where it is not known."""
        return self.seconds / self.timed if self.timed else 0.0


class Tally:
    """Feed it `begin` and every event."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started: dict[str, float] = {}
        self.servers: dict[str, ServerTally] = {}
        self.total = self.done = self.failed = 0

    def begin(self, total: int, done: int) -> None:
        self.total, self.done = total, done

    def event(self, name: str, data: dict[str, Any]) -> None:
        server, job = data.get("server"), data.get("job")
        tally = self.servers.setdefault(server, ServerTally()) if server else ServerTally()
        if name == "server":
            tally.state, tally.text = data["state"], data.get("text", "")
        elif name == "started" and job is not None:
            self._started[job.id] = self._clock()
        elif name == "done" and job is not None:
            self.done += 1
            tally.done += 1
            tally.ends.append(self._clock())
            started = self._started.pop(job.id, None)
            if started is not None:
                tally.seconds += self._clock() - started
                tally.timed += 1
        elif name == "failed" and job is not None:
            self.failed += 1
            tally.failed += 1
            self._started.pop(job.id, None)

    @property
    def rate(self) -> float:
        """Jobs a second of all servers together."""
        now = self._clock()
        return sum(tally.rate(now) for tally in self.servers.values() if tally.works)

    @property
    def remaining(self) -> float | None:
        """Seconds until the last job is done, at the present rate."""
        left, rate = self.total - self.done - self.failed, self.rate
        return left / rate if rate > 0 else None

    def line(self, server: str) -> str:
        """A server in a few words."""
        tally = self.servers[server]
        if not tally.works:
            return f"{server}: {tally.state}" + (f" ({tally.text})" if tally.text else "")
        rate = tally.rate(self._clock())
        parts = [f"{tally.done} done"]
        parts += [speed(rate)] if rate else []
        parts += [f"{tally.mean:.2f} s a job"] if tally.timed else []
        parts += [f"{tally.failed} failed"] if tally.failed else []
        parts += [tally.state] if tally.state != "up" else []
        return f"{server}: {', '.join(parts)}"

    def summary(self) -> str:
        """The whole run in a few words."""
        parts = [f"[{self.done}/{self.total}]"]
        if rate := self.rate:
            parts.append(speed(rate))
        if self.failed:
            parts.append(f"{self.failed} failed")
        if (left := self.remaining) is not None:
            parts.append(f"{duration(left)} left")
        return ", ".join(parts)
