"""How much trouble one server may make before it counts as broken, and that the same trouble is not told all night."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from ...errors import ServerError, server_error

#: Seconds for which nothing but unclear answers are put up with.
MOST_UNCLEAR = 60.0
#: The same trouble is told again after so many seconds, with how often it came.
TELL_AGAIN = 900.0
PARTICULARS = re.compile(r"[0-9a-f]{8}[0-9a-f-]*|\d+")


class Trouble:
    """Counts; the worker says what happened."""

    def __init__(self, url: str, give_up: float, say: Callable[[str], None]) -> None:
        self._url, self._most_unclear, self._say = url, min(give_up, MOST_UNCLEAR), say
        self._told: dict[str, tuple[float, int]] = {}
        self._jobs: dict[str, int] = {}
        self._jobs_given_up = 0
        self._unclear_since: float | None = None

    def warn(self, text: str) -> None:
        """Tell it, unless the like was told a short while ago: a run of days with a flapping server stays readable."""
        kind, now = PARTICULARS.sub("#", text), time.monotonic()
        told, kept_back = self._told.get(kind, (-TELL_AGAIN, 0))
        if now - told < TELL_AGAIN:
            self._told[kind] = told, kept_back + 1
            return
        self._told[kind] = now, 0
        self._say(f"{text} (and {kept_back} times the like before)" if kept_back else text)

    def with_job(self, job_id: str) -> int:
        """Count one more trouble with a job; returns how many there were."""
        self._jobs[job_id] = self._jobs.get(job_id, 0) + 1
        return self._jobs[job_id]

    @property
    def is_the_server(self) -> bool:
        """A job was given up, and none was taken since."""
        return self._jobs_given_up > 0

    def job_given_up(self, error: Exception) -> None:
        """A job got nothing but errors, tried again and again. Two in a row: it is the server.

        Raises:
            ServerError.
        """
        self._jobs_given_up += 1
        if self._jobs_given_up >= 2:
            raise self._broken(error)

    def unclear(self, error: Exception) -> None:
        """An answer that says nothing about our jobs; those are waited out, but not for ever.

        Raises:
            ServerError.
        """
        self.warn(str(error))
        now = time.monotonic()
        if self._unclear_since is None:
            self._unclear_since = now
        if now - self._unclear_since > self._most_unclear:
            self._unclear_since = None
            raise self._broken(error)

    def answered(self) -> None:
        """The server knows what became of a job."""
        self._unclear_since = None

    def queued(self) -> None:
        """The server took a job."""
        self._jobs_given_up, self._unclear_since = 0, None

    def _broken(self, error: Exception) -> ServerError:
        return server_error(
            "server.broken",
            f"the server at {self._url} answers with nothing but errors of its own",
            where=str(error),
            expected="a server that takes photos and jobs and knows what became of them",
            mend="look at its log (a full disk there is a usual reason) and start it again; the same command goes on "
            "where it stopped",
        )
