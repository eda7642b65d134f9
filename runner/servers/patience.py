"""How much trouble one server may make before it is given up, and that each kind of trouble is told once."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import ServerError, server_error


class Patience:
    """Counts; the worker says what happened."""

    def __init__(self, url: str, give_up: float, warn: Callable[[str], None]) -> None:
        self._url, self._give_up, self._warn = url, give_up, warn
        self._warned: set[str] = set()
        self._trouble: dict[str, int] = {}
        self._jobs_given_up = 0
        self._unclear_since: float | None = None

    def warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._warn(text)

    def trouble(self, job_id: str) -> int:
        """Count one more trouble with a job; returns how many there were."""
        self._trouble[job_id] = self._trouble.get(job_id, 0) + 1
        return self._trouble[job_id]

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
        self.warn_once(str(error))
        now = time.monotonic()
        if self._unclear_since is None:
            self._unclear_since = now
        if now - self._unclear_since > self._give_up:
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
