"""The jobs that are in flight on one server: queued and followed. What becomes of each is said in `jobs`."""

from __future__ import annotations

import time
import uuid
from typing import Any

from ...errors import RequestError, ServerError, StorageError
from ...explain import of_system
from ...plans.plan import Job
from ..answers import Rejected, Unclear, Unreachable
from ..listener import Message
from .flight import Flight
from .jobs import Jobs

MAX_TROUBLE = 5
#: Jobs that are computed but not committed yet; more wait on the server, which keeps their files.
MOST_UNCOMMITTED = 6


class Window(Jobs):
    """Keeps so many jobs on the server that it never waits for us."""

    # ---- queueing

    def adopt(self, job: Job, prompt_id: str) -> bool:
        """Take over a job that an earlier, killed run queued on this server, if it is still there."""
        try:
            where, _ = self.connection.client.find(prompt_id)
        except (Unreachable, Unclear, Rejected):
            return False
        if where == "absent":
            return False
        self.take_over(job, prompt_id)
        return True

    def top_up(self, depth: int) -> None:
        """Queue jobs until `depth` are there.

        Raises:
            Unreachable, Unclear, ServerError, StorageError: the job at hand is back in the source.
        """
        while len(self.flights) < depth and len(self.uncommitted) < MOST_UNCOMMITTED:
            job = self.source.take(self.name)
            if job is None:
                return
            try:
                self._submit(job)
            except (Unreachable, Unclear) as error:
                if self.trouble.with_job(job.id) > MAX_TROUBLE:
                    if self._several() or self.trouble.is_the_server:
                        # A second job in a row: the job is not to blame, whatever becomes of the server.
                        self.source.give_back(job, self.name)
                    else:
                        # The server answers others, but never this one.
                        self.fail(job, "server.error", str(error))
                    self.trouble.job_given_up(error)
                    continue
                self.source.give_back(job)
                raise

    def _submit(self, job: Job) -> None:
        client = self.connection.client
        try:
            self.connection.uploads.ensure(job)
            prompt_id = str(uuid.uuid4())
            flight = Flight(job, prompt_id, self.collector.of(job).graph(job, prompt_id), client.url)
            self.journal.submitted(job.id, client.url, prompt_id)
            self.connection.expect_echo()
            try:
                client.submit(flight.graph, prompt_id, self.collector.of(job).extra_data)
            except (Unclear, Unreachable):
                # It may be queued all the same (a 500 after queueing, an answer lost on the way): look before asking
                # again, or the server would do it twice.
                if client.find(prompt_id)[0] == "absent":
                    self.journal.back(job.id, "not queued")
                    raise
        except (Rejected, RequestError) as error:
            self.fail(job, "server.rejected", str(error))
            return
        except OSError as error:
            self.fail(job, "data.unreadable", of_system(error).problems[0].text())
            return
        except (ServerError, StorageError):
            self.source.give_back(job)
            raise
        self.trouble.queued()
        self.flights[prompt_id] = flight
        self.last_news = time.monotonic()
        self.emit("queued", {"job": job, "server": client.url})

    # ---- following

    def due(self) -> float:
        """Seconds until some flight wants to be looked at; 0.5 at most."""
        moments = [flight.look_at for flight in self.flights.values() if flight.look_at is not None]
        return max(0.0, min([0.5, *(moment - time.monotonic() for moment in moments)]))

    def hear(self, message: Message) -> None:
        """A message of the server about one of our jobs."""
        if message.type == "alive":
            self.last_news = time.monotonic()
        flight = self.flights.get(message.prompt_id)
        if flight is None:
            return
        self.last_news = time.monotonic()
        if message.type == "execution_start":
            flight.started = True
            self.emit("started", {"job": flight.job, "server": self.url})
        elif message.type == "progress":
            self.emit("progress", self._progress(flight, message.data))
        elif message.type == "executed":
            flight.outputs[str(message.data.get("node"))] = message.data.get("output")
        elif message.type == "execution_success" and isinstance(self._said(flight), dict):
            # All that the history would say, and nothing was blocked: the saver ran.
            entry = {"status": {"status_str": "success", "messages": []}, "outputs": flight.outputs}
            self._settle(flight, entry)
        elif message.type == "executing" and message.data.get("node") is None:
            self._settle(flight)
        elif message.type in ("execution_success", "execution_error", "execution_interrupted"):
            # The history entry is written a moment later, with executing(null); that message may be lost.
            flight.look_at = time.monotonic() + 0.2

    def _said(self, flight: Flight) -> Any:
        return flight.outputs.get(self.collector.of(flight.job).plan.roles.saver)

    def _progress(self, flight: Flight, data: dict[str, Any]) -> dict[str, Any]:
        node = flight.graph.get(str(data.get("node")), {})
        title = (node.get("_meta") or {}).get("title") or node.get("class_type", "")
        value, most = (data.get(key) for key in ("value", "max"))
        numbers = {
            "value": value if isinstance(value, (int, float)) else 0,
            "max": most if isinstance(most, int) else 0,
        }
        return {"job": flight.job, "server": self.url, "node": str(title), **numbers}

    def look_at_due(self) -> None:
        now = time.monotonic()
        for flight in list(self.flights.values()):
            if flight.look_at is not None and now >= flight.look_at:
                flight.look_at = None
                self._look(flight)

    def look_at_all(self) -> None:
        for flight in list(self.flights.values()):
            self._look(flight)
        self._suspect = None

    def _look(self, flight: Flight) -> None:
        if flight.prompt_id not in self.flights:
            return
        if flight.entry is not None:
            self._settle(flight, flight.entry)
            return
        where, entry = self.connection.client.find(flight.prompt_id)
        self.trouble.answered()
        if where == "done" and entry is not None:
            self._settle(flight, entry)
        elif where == "running":
            flight.started = True
        elif where == "absent":
            self._vanish(flight)

    def _vanish(self, flight: Flight) -> None:
        """Neither waiting, running nor done: the server was restarted, or somebody cleared its queue."""
        died_with_it = flight.prompt_id == self._suspect
        trouble = self.trouble.with_job(flight.job.id)
        if self._too_deadly(flight, died_with_it) or trouble > MAX_TROUBLE:
            reason = "the server died twice while running this job" if died_with_it else "the server keeps losing it"
            del self.flights[flight.prompt_id]
            self.fail(flight.job, "server.poison", reason)
            return
        self.trouble.warn(f"job {flight.job.index} was lost there; queueing it again")
        self.give_back(flight, "lost", losses=int(died_with_it))
