"""Which servers of a run work, seen by all its threads: whether there is any hope left."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from ..errors import ServerError

UP, TRIAL, AWAY, NEEDS_HELP = "up", "on trial", "away", "needs help"


@dataclass
class Standing:
    """`state` is UP, TRIAL (it answers again), AWAY (it may come back) or NEEDS_HELP (somebody has to do something)."""

    state: str = UP
    since: float = field(default_factory=time.monotonic)
    error: ServerError | None = None

    @property
    def works(self) -> bool:
        return self.state in (UP, TRIAL)


class Standings:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._servers: dict[str, Standing] = {}

    def set(self, name: str, state: str, error: ServerError | None = None) -> bool:
        """Returns whether that is news."""
        with self._lock:
            before = self._servers.get(name)
            news = before is None or before.state != state
            since = time.monotonic() if before is None or before.works != (state in (UP, TRIAL)) else before.since
            self._servers[name] = Standing(state, since, error)
            return news

    def others_work(self, name: str) -> bool:
        with self._lock:
            return any(standing.works for other, standing in self._servers.items() if other != name)

    @property
    def several(self) -> bool:
        return len(self._servers) > 1

    def hopeless(self, patience: float) -> bool:
        """No server works, and none is expected back: all need help, or they stayed away for `patience` seconds."""
        with self._lock:
            servers = list(self._servers.values())
        if not servers or any(standing.works for standing in servers):
            return False
        away = [standing for standing in servers if standing.state == AWAY]
        return not away or time.monotonic() - max(standing.since for standing in servers) >= patience

    def errors(self) -> list[ServerError]:
        """What each server that does not work said last."""
        with self._lock:
            return [s.error for s in self._servers.values() if not s.works and s.error is not None]
