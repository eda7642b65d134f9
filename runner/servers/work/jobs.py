"""What becomes of the jobs on one server: done, failed, tried again, given to others."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from ...errors import ServerError, StorageError
from ...outputs.journal import Journal
from ...outputs.pairs import NotAPair, NothingKept
from ...plans.plan import Job
from ...plans.source import JobSource
from ..answers import Rejected, Unclear, Unreachable, disk_full
from ..connection import Connection
from .collect import Collector
from .fetching import Fetching
from .flight import Flight
from .outcome import judge
from .trouble import Trouble

Emit = Callable[[str, dict[str, Any]], None]
# Rounds of draws for one job, each with other seeds, before it counts as failed.
MOST_ROUNDS = 8
MAX_DEATHS = 2


class Jobs:
    """Belongs to one worker, and to its thread. `Window` queues and follows them."""

    def __init__(
        self,
        name: str,
        source: JobSource,
        journal: Journal,
        collector: Collector,
        connection: Connection,
        trouble: Trouble,
        emit: Emit,
        several: Callable[[], bool],
    ) -> None:
        self.name, self.source, self.journal, self.collector = name, source, journal, collector
        self.connection, self.trouble, self.emit, self._several = connection, trouble, emit, several
        self.fetching: Fetching | None = None
        self.flights: dict[str, Flight] = {}
        self.uncommitted: dict[str, Flight] = {}
        self.strays: dict[str, Job] = {}
        """Jobs that went to other servers while this one was away; it may still have them."""
        self.last_news = time.monotonic()
        self._suspect: str | None = None

    @property
    def url(self) -> str:
        return self.connection.client.url

    @property
    def empty(self) -> bool:
        return not self.flights and not self.uncommitted

    # ---- the end of a job

    def _settle(self, flight: Flight, entry: dict[str, Any] | None = None) -> None:
        entry = entry or self.connection.client.history(flight.prompt_id)
        if entry is None:
            flight.look_at = time.monotonic() + 0.1
            return
        del self.flights[flight.prompt_id]
        outcome = judge(entry, flight.graph)
        if outcome.kind == "success":
            assert self.fetching is not None
            flight.entry = entry
            self.uncommitted[flight.prompt_id] = flight
            self.fetching.put(flight, entry)
        elif outcome.kind == "out_of_memory":
            self._retry(flight, "job.out_of_memory", outcome.text, most=2)
            self.connection.client.free()
        elif outcome.kind == "disk_full":
            # Every further job would say so.
            self.give_back(flight, "disk full")
            raise disk_full(self.url, outcome.text)
        elif outcome.kind == "interrupted":
            self._retry(flight, "job.interrupted", outcome.text, most=2)
        else:
            # The same values on the same server would fail the same way.
            self._retry(flight, "job.error", outcome.text, most=2 if self._several() else 1)

    def ended(self, flight: Flight, error: Exception | None) -> None:
        """A flight was committed (no error), or could not be fetched or committed.

        Raises:
            Unreachable, ServerError: the flight is looked at again when the server is back.
            Exception: what nobody foresaw.
        """
        self.uncommitted.pop(flight.prompt_id, None)
        if error is None:
            return
        if isinstance(error, NothingKept):
            self._draw_again(flight.job, error)
        elif isinstance(error, NotAPair):
            blocked = judge(flight.entry or {}, flight.graph).text
            self.fail(flight.job, "job.no_pair", f"{error}" + (f" ({blocked})" if blocked else ""))
        elif isinstance(error, Unclear):
            self._retry(flight, "job.not_fetched", str(error), most=2)
        elif isinstance(error, Rejected):
            self.fail(flight.job, "job.not_fetched", str(error))
        elif isinstance(error, (Unreachable, ServerError)):
            flight.look_at = time.monotonic()
            self.flights[flight.prompt_id] = flight
            raise error
        elif isinstance(error, StorageError):
            with contextlib.suppress(StorageError):
                self.journal.back(flight.job.id, "not written")
        else:
            raise error

    def _draw_again(self, job: Job, why: NothingKept) -> None:
        """No draw of this round will do: the next round takes other seeds, up to MOST_ROUNDS."""
        self.journal.refuse(job.id, job.round, job.seed, why.refused, whole=True)
        if job.round + 1 >= MOST_ROUNDS or not job.seeds:
            rounds = f" in {job.round + 1} rounds of draws" if job.round else ""
            code = "job.nothing_visible" if why.nothing_visible else "job.refused"
            self.fail(job, code, f"no pair was kept{rounds}: {why}")
            return
        self.emit("redraw", {"job": job, "reason": str(why)})
        self.journal.back(job.id, "refused")
        self.source.give_back(job.redrawn(job.round + 1))

    def _retry(self, flight: Flight, code: str, text: str, most: int) -> None:
        if int(self.journal.row(flight.job.id)["attempts"]) + 1 >= most:
            self.flights.pop(flight.prompt_id, None)
            self.fail(flight.job, code, text)
            return
        self.trouble.warn(f"job {flight.job.index}: {text}; trying once more")
        self.give_back(flight, code, attempts=1)

    def fail(self, job: Job, code: str, text: str) -> None:
        self.journal.failed(job.id, code, text)
        self.source.finish()
        self.emit("failed", {"job": job, "server": self.url, "code": code, "text": text})

    def give_back(self, flight: Flight, verdict: str, attempts: int = 0, losses: int = 0) -> None:
        """To the source, for this server or another one."""
        self.flights.pop(flight.prompt_id, None)
        self.journal.back(flight.job.id, verdict, attempts, losses)
        self.source.give_back(flight.job, self.name if verdict == "job.error" else None)

    # ---- the server is lost, and comes back

    def release(self, dead: bool) -> None:
        """Everything to the other servers, at once.

        Args:
            dead: the process is gone, so what it ran may be what killed it.
        """
        for flight in reversed(list(self.flights.values())):
            died_with_it = dead and flight.prompt_id == self._suspect and flight.entry is None
            if self._too_deadly(flight, died_with_it):
                del self.flights[flight.prompt_id]
                self.fail(flight.job, "server.poison", "servers died twice while running this job")
                continue
            if not dead:
                self.strays[flight.prompt_id] = flight.job
            self.give_back(flight, "server lost", losses=int(died_with_it))
        self._suspect = None

    def take_over(self, job: Job, prompt_id: str) -> None:
        """Follow what is queued here already; how far it is, is looked up at once."""
        graph = self.collector.of(job).graph(job, prompt_id)
        self.flights[prompt_id] = Flight(job, prompt_id, graph, self.url, look_at=0.0)

    def sweep_strays(self) -> None:
        """It is back, and may still have what went to others: what nobody has begun it may do, the rest it drops."""
        client = self.connection.client
        for prompt_id, job in list(self.strays.items()):
            where, _ = client.find(prompt_id)
            if where != "absent" and self.source.reclaim(job):
                self.journal.submitted(job.id, client.url, prompt_id)
                self.take_over(job, prompt_id)
            elif where == "pending":
                client.delete_pending([prompt_id])
            elif where == "running":
                client.interrupt(prompt_id)
            del self.strays[prompt_id]

    def _too_deadly(self, flight: Flight, died_with_it: bool) -> bool:
        return int(self.journal.row(flight.job.id)["losses"]) + int(died_with_it) >= MAX_DEATHS

    def suspect_running(self) -> None:
        """The connection broke. If the server died, then while it ran the job that had started; failing such news
        (it dies with the connection), while it ran the oldest one."""
        running = [flight for flight in self.flights.values() if flight.started] or list(self.flights.values())
        if running and self._suspect is None:
            self._suspect = running[0].prompt_id
