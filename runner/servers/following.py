"""The main thread of a run: passes events on, and says when it is over before its last pair."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import interrupts
from ..errors import DefectForgeError, ServerError, server_error
from ..plans.source import JobSource
from ..reporter import Reporter
from .standing import Standings
from .work.committing import Committing
from .worker import Timing, Worker

Events = queue.SimpleQueue[tuple[str, dict[str, Any]]]

LOOK_EVERY = 0.1
STUCK = 15.0
"""Seconds in which a server that may have a job would have taken one."""
GRACE = 5.0
"""Seconds that workers get to end after the last pair, and after an interruption's own waiting."""


@dataclass(frozen=True)
class Limits:
    """What ends a run before its last pair."""

    until: float | None = None
    """time.time()"""
    max_failures: int | None = None


@dataclass
class Ending:
    """How it ended. `stopped` says why in words, where a limit was reached."""

    interrupted: bool = False
    stopped: str = ""
    too_many_failures: bool = False
    errors: list[DefectForgeError] = field(default_factory=list)


def follow(
    workers: Sequence[Worker],
    committing: Committing,
    standings: Standings,
    events: Events,
    reporter: Reporter,
    timing: Timing,
    limits: Limits | None = None,
) -> Ending:
    """Pass events on until every worker has ended. A second Ctrl-C leaves at once.

    A worker that waits for a server which says nothing is left behind (it is a daemon thread, and its job is in the
    journal): the run ends soon after its last pair, or after the interruption, whatever a server does.
    """
    limits = limits or Limits()
    source = workers[0].source
    ending = Ending()
    with interrupts.patient():
        committing.start()
        for worker in workers:
            worker.start()
        leave_at: float | None = None
        failures = 0
        look_at = 0.0
        stuck_since: float | None = None

        def stop(hurry: bool = False) -> None:
            nonlocal leave_at
            for worker in workers:
                if hurry:
                    worker.hurry.set()
                worker.stop.set()
            leave_at = time.monotonic() + GRACE + (0.0 if hurry else timing.wind_down)

        try:
            while any(worker.is_alive() for worker in workers) or not events.empty():
                with contextlib.suppress(queue.Empty):
                    name, data = events.get(timeout=0.1)
                    failures += name == "failed"
                    reporter.event(name, data)
                if time.monotonic() < look_at:
                    continue
                look_at = time.monotonic() + LOOK_EVERY
                reporter.tick()
                if interrupts.asked() and not ending.interrupted:
                    ending.interrupted = True
                    text = "stopping: waiting for the running job; Ctrl-C again leaves at once"
                    reporter.event("note", {"text": text})
                    stop()
                if leave_at is None:
                    stuck_since = stuck_since or time.monotonic() if _stuck(source, standings) else None
                    if source.all_finished:
                        leave_at = time.monotonic() + GRACE
                    elif committing.broken or any(worker.error or worker.crash for worker in workers):
                        stop(hurry=True)
                    elif standings.hopeless(timing.give_up):
                        ending.errors += standings.errors()
                        stop(hurry=True)
                    elif stuck_since is not None and time.monotonic() - stuck_since > max(timing.give_up, STUCK):
                        ending.errors.append(_nobody_may(standings))
                        stop(hurry=True)
                    elif limits.until is not None and time.time() >= limits.until:
                        ending.stopped = "the time of --until has come"
                        reporter.event("note", {"text": f"{ending.stopped}: waiting for the running jobs"})
                        stop()
                    elif limits.max_failures is not None and failures > limits.max_failures:
                        ending.too_many_failures = True
                        ending.stopped = f"more than --max-failures {limits.max_failures} jobs failed"
                        reporter.event("note", {"text": f"stopping: {ending.stopped}"})
                        stop()
                if leave_at is not None and time.monotonic() > leave_at:
                    break
        except OSError:
            # Nobody reads our events any more (a closed pipe, a full disk): stop in order, then say so.
            stop()
            for worker in workers:
                worker.join(GRACE + timing.wind_down)
            committing.stop(GRACE)
            raise
    committing.stop(GRACE)
    with contextlib.suppress(queue.Empty):
        while True:
            reporter.event(*events.get_nowait())
    for crash in [committing.crash, *(worker.crash for worker in workers)]:
        if crash is not None:
            raise crash
    written = [committing.error, *(worker.error for worker in workers)]
    ending.errors += [error for error in written if error is not None]
    return ending


def _stuck(source: JobSource, standings: Standings) -> bool:
    """Jobs wait, servers work, and none of them may have one."""
    return source.in_hand == 0 and not source.all_finished and not standings.hopeless(0.0)


def _nobody_may(standings: Standings) -> ServerError:
    lost = "; ".join(error.problems[0].what for error in standings.errors())
    return server_error(
        "server.none_may",
        "jobs are left that no working server may have",
        where=lost or "the check of the working servers",
        expected="a server with the nodes and models that they need",
        mend="start that server again, then run the same command: it goes on where it stopped",
    )
