"""A job that was queued on a server, and how long to wait for what."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from ..plans.plan import Job


@dataclass(frozen=True)
class Timing:
    """Waiting times in seconds."""

    reconcile: float = 5.0
    status_echo: float = 2.0
    stall: float = 300.0
    give_up: float = 60.0
    wind_down: float = 10.0


@dataclass
class Flight:
    """A job that was queued on the server."""

    job: Job
    prompt_id: str
    graph: dict[str, Any]
    submitted: float = field(default_factory=time.monotonic)
    wall: float = field(default_factory=time.time)
    started: bool = False
    look_at: float | None = None
