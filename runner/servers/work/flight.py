"""A job that was queued on a server, and how long to wait for what."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from ...plans.plan import Job


@dataclass(frozen=True)
class Timing:
    """Waiting times in seconds."""

    reconcile: float = 5.0
    status_echo: float = 2.0
    stall: float = 300.0
    give_up: float = 600.0
    """How long a run waits while no server is left (`--patience`)."""
    wind_down: float = 10.0


@dataclass
class Flight:
    """A job that was queued on the server."""

    job: Job
    prompt_id: str
    graph: dict[str, Any]
    server: str = ""
    """Its address."""
    submitted: float = field(default_factory=time.monotonic)
    wall: float = field(default_factory=time.time)
    started: bool = False
    look_at: float | None = None
    """time.monotonic() when it is to be looked up, whatever the socket says."""
    outputs: dict[str, Any] = field(default_factory=dict)
    """What nodes announced over the socket."""
    entry: dict[str, Any] | None = None
    """Its history, once it is known: what the server forgets in a restart stays on its disk."""
