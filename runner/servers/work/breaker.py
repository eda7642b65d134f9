"""When to ask a server again that makes trouble: after pauses that double, up to a limit, for ever."""

from __future__ import annotations

import random
from collections.abc import Callable

SHORTEST, LONGEST = 0.2, 30.0
#: Where a person has to do something: make room, log in, restart it.
SHORTEST_FOR_PEOPLE, LONGEST_FOR_PEOPLE = 5.0, 300.0
#: Requests in a row that fail while the server answers a ping; then it is not a hiccup any more.
MOST_HICCUPS = 3


class Breaker:
    """Closed while all is well. Opens after repeated trouble; half open (one job on trial) after the server answered
    again; closes when that job is done."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._hiccups = self._opened = 0
        self.on_trial = False

    def hiccup(self) -> bool:
        """One more request failed; true if that is too many without a success in between."""
        self._hiccups += 1
        return self._hiccups >= MOST_HICCUPS

    def pause(self, for_people: bool) -> float:
        """Seconds until the next look. Jitter: a rack that lost its network must not come back in one beat."""
        shortest, longest = (SHORTEST_FOR_PEOPLE, LONGEST_FOR_PEOPLE) if for_people else (SHORTEST, LONGEST)
        pause = min(longest, shortest * 2.0 ** min(self._opened, 30))
        self._opened += 1
        return pause * (0.5 + 0.5 * self._chance())

    def half_open(self) -> None:
        """It answers. One job shows whether it works."""
        self.on_trial = True

    def worked(self) -> None:
        """A job was done."""
        self._hiccups = self._opened = 0
        self.on_trial = False
