"""`defectforge status OUT`: how far a run is, from its journal."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path

from ...amounts import duration, speed
from ...errors import OK, printable
from ...watch.journal_view import RunView, as_json, view

EVERY = 2.0


def status(out: Path, watch: bool, json: bool) -> int:
    """Print it once, or again and again until the run has ended. Returns the exit code.

    Raises:
        RequestError: there is no journal, or it cannot be read.
    """
    while True:
        run = view(out)
        text = as_json(run) if json else "\n".join(lines(run, out))
        # On a terminal the old figures make room for the new ones.
        clear = "\x1b[H\x1b[2J" if watch and not json and sys.stdout.isatty() else ""
        print(f"{clear}{text}", flush=True)
        if not watch or run.state != "running":
            return OK
        time.sleep(EVERY)


def lines(run: RunView, out: Path, now: float | None = None) -> list[str]:
    """What there is to say."""
    now = time.time() if now is None else now
    head = f"{out}: {run.state}"
    if run.state == "running":
        head += f", process {run.pid} on {run.host}"
    elif run.state == "interrupted" and run.seen:
        head += f": no sign of process {run.pid} on {run.host} for {duration(now - run.seen)}; the same command goes on"
    if run.started:
        head += f"; begun {datetime.fromtimestamp(run.started).isoformat(' ', 'minutes')}"
    parts = [f"{run.done} of {run.total} jobs done"]
    parts += [f"{run.failed} failed"] if run.failed else []
    parts += [f"{run.refused} draws refused"] if run.refused else []
    if run.state == "running" and run.rate:
        parts.append(speed(run.rate))
    if run.remaining is not None:
        parts.append(f"{duration(run.remaining)} left")
    said = [head, ", ".join(parts)]
    said += [run.text] if run.state == "ended" and run.text else []
    earlier = run.done > sum(server.done for server in run.servers)
    for server in run.servers:
        about = [f"{server.done} done" + (" in this run" if earlier else "")]
        if run.state == "running":
            about += [f"{server.in_flight} there"]
            about += [speed(server.rate)] if server.rate and server.works else []
        about += [f"{server.mean:.1f} s from queue to commit"] if server.mean else []
        state = server.state or "?"
        if server.state not in ("", "up") and server.since:
            state += f" for {duration(now - server.since)}" + (f" ({server.text})" if server.text else "")
        said.append(
            f"  {server.url}: {state}; {', '.join(about)}"
            if run.state == "running"
            else f"  {server.url}: {', '.join(about)}"
        )
    for failure in run.failures:
        said.append(
            f"  failed: {failure['type']} {failure['number']:06d}: {failure['error']} ({failure['error_code']})"
        )
    if run.failed > len(run.failures):
        said.append(f"  ... and {run.failed - len(run.failures)} more")
    return [printable(line, 400) for line in said]
