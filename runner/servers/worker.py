"""One server's worker: keeps two jobs there (one runs, one waits), follows them, commits what they give.

WebSocket messages tell at once, but a drop loses them and some sockets go deaf; so every few seconds, and after every
reconnect, each job in flight is looked up (history, queue, history). Lost jobs are queued again and cost no attempt.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from ..errors import RequestError, ServerError, StorageError, server_error
from ..explain import of_system
from ..outputs.journal import Journal
from ..outputs.pairs import NotAPair, NothingKept
from ..plans.plan import Job
from ..plans.source import JobSource
from .answers import Rejected, Unclear, Unreachable, disk_full
from .client import Client
from .collect import Collector
from .connection import Connection
from .flight import Flight, Timing
from .listener import Message
from .outcome import judge
from .patience import Patience

Emit = Callable[[str, dict[str, Any]], None]
MAX_TROUBLE = 5
# Rounds of draws for one job, each with other seeds, before it counts as failed.
MOST_ROUNDS = 8
MAX_DEATHS = 2


class Worker(threading.Thread):
    """Runs jobs of `source` on one server until all are finished, `stop` is set, or the server is lost."""

    def __init__(
        self,
        client: Client,
        source: JobSource,
        journal: Journal,
        collector: Collector,
        emit: Emit,
        timing: Timing | None = None,
        revive: Callable[[], str] | None = None,
        depth: int = 2,
        other_servers: bool = False,
    ) -> None:
        super().__init__(name=f"worker {client.url}", daemon=True)
        self.source, self.journal = source, journal
        self.collector, self.emit, self.timing = collector, emit, timing or Timing()
        self.depth, self._revive, self._other_servers = depth, revive, other_servers
        self.stop = threading.Event()
        self.error: ServerError | StorageError | None = None
        self.crash: Exception | None = None
        self.flights: dict[str, Flight] = {}
        self._connection = Connection(client, self._warn)
        client.http.wait, client.http.say = self._ends, self._warn
        self._patience = Patience(client.url, self.timing.give_up, self._warn)
        self._last_news = self._last_reconcile = time.monotonic()
        self._suspect: str | None = None
        source.join(self.name)

    def run(self) -> None:
        try:
            self._connection.open()
            while not self.source.all_finished and not self.stop.is_set():
                try:
                    self._top_up()
                    self._take_messages()
                    self._watch()
                except Unreachable as error:
                    self._wait_for_return(error)
                except (Unclear, Rejected) as error:
                    self._patience.unclear(error)
                    self.stop.wait(0.5)
            if self.stop.is_set():
                self._wind_down()
        except (ServerError, StorageError) as error:
            self.error = error
            self._abandon()
        except Exception as error:  # a thread's exception would be printed and forgotten: the main thread raises it
            self.crash = error
        finally:
            self.source.leave(self.name)
            self._connection.close()

    def _abandon(self) -> None:
        """Give every job back. What the journal cannot take any more it finds out at the next start."""
        for flight in list(self.flights.values()):
            with contextlib.suppress(StorageError):
                self._give_back(flight, "server lost")

    def _ends(self, seconds: float) -> bool:
        """Wait, and say whether the run ends: stopped, or nothing is left to do for anybody."""
        deadline = time.monotonic() + seconds
        while not self.source.all_finished:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if self.stop.wait(min(left, 0.5)):
                break
        return True

    @property
    def client(self) -> Client:
        return self._connection.client

    def _warn(self, text: str) -> None:
        self.emit("warning", {"server": self.client.url, "text": text})

    # ---- queueing

    def adopt(self, job: Job, prompt_id: str) -> bool:
        """Take over a job that an earlier, killed run queued on this server, if it is still there."""
        try:
            where, _ = self.client.find(prompt_id)
        except (Unreachable, Unclear, Rejected):
            return False
        if where == "absent":
            return False
        self.flights[prompt_id] = Flight(job, prompt_id, self.collector.of(job).graph(job, prompt_id), look_at=0.0)
        return True

    def _top_up(self) -> None:
        while len(self.flights) < self.depth and not self.stop.is_set():
            job = self.source.take(self.name)
            if job is None:
                return
            try:
                self._submit(job)
            except (Unreachable, Unclear) as error:
                if self._patience.trouble(job.id) > MAX_TROUBLE:
                    # The server answers others, but never this one.
                    self._fail(job, "server.error", str(error))
                    self._patience.job_given_up(error)
                    continue
                self.source.give_back(job)
                raise

    def _submit(self, job: Job) -> None:
        try:
            self._connection.uploads.ensure(job)
            prompt_id = str(uuid.uuid4())
            flight = Flight(job, prompt_id, self.collector.of(job).graph(job, prompt_id))
            self.journal.submitted(job.id, self.client.url, prompt_id)
            self._connection.expect_echo()
            try:
                self.client.submit(flight.graph, prompt_id, self.collector.of(job).extra)
            except (Unclear, Unreachable):
                # It may be queued all the same (a 500 after queueing, an answer lost on the way): look before asking
                # again, or the server would do it twice.
                if self.client.find(prompt_id)[0] == "absent":
                    self.journal.back(job.id, "not queued")
                    raise
        except (Rejected, RequestError) as error:
            self._fail(job, "server.rejected", str(error))
            return
        except OSError as error:
            self._fail(job, "data.unreadable", of_system(error).problems[0].text())
            return
        except (ServerError, StorageError):
            self.source.give_back(job)
            raise
        self._patience.queued()
        self.flights[prompt_id] = flight
        self._last_news = time.monotonic()
        self.emit("queued", {"job": job, "server": self.client.url})

    # ---- following

    def _take_messages(self) -> None:
        due = [flight.look_at for flight in self.flights.values() if flight.look_at is not None]
        pause = max(0.0, min([0.5, *(moment - time.monotonic() for moment in due)]))
        for message in self._connection.messages(pause):
            self._on(message)

    def _on(self, message: Message) -> None:
        if message.type == "refused":
            self._patience.warn_once(
                f"the server refuses the WebSocket (HTTP {message.data['status']}): no progress is shown, and results "
                "are asked for every second; let the proxy before it pass on upgrades of /ws"
            )
        if message.type in ("connected", "disconnected"):
            self._last_reconcile = 0.0
            if message.type == "disconnected":
                self._suspect_running()
        flight = self.flights.get(message.prompt_id)
        if flight is None:
            return
        self._last_news = time.monotonic()
        if message.type == "execution_start":
            flight.started = True
            self.emit("started", {"job": flight.job})
        elif message.type == "progress":
            self.emit("progress", self._progress(flight, message.data))
        elif message.type == "executing" and message.data.get("node") is None:
            self._settle(flight)
        elif message.type in ("execution_success", "execution_error", "execution_interrupted"):
            # The history entry is written a moment later, with executing(null); that message may be lost.
            flight.look_at = time.monotonic() + 0.2

    def _progress(self, flight: Flight, data: dict[str, Any]) -> dict[str, Any]:
        node = flight.graph.get(str(data.get("node")), {})
        title = (node.get("_meta") or {}).get("title") or node.get("class_type", "")
        value, most = (data.get(key) for key in ("value", "max"))
        numbers = {
            "value": value if isinstance(value, (int, float)) else 0,
            "max": most if isinstance(most, int) else 0,
        }
        return {"job": flight.job, "node": str(title), **numbers}

    def _watch(self) -> None:
        now = time.monotonic()
        for flight in list(self.flights.values()):
            if flight.look_at is not None and now >= flight.look_at:
                flight.look_at = None
                self._look(flight)
        self._connection.check_hearing(self.timing.status_echo)
        patience = self.timing.reconcile if self._connection.hears else min(1.0, self.timing.reconcile)
        if now - self._last_reconcile >= patience:
            for flight in list(self.flights.values()):
                self._look(flight)
            self._last_reconcile = time.monotonic()
            self._suspect = None
        if self.flights and now - self._last_news > self.timing.stall:
            self._stalled()

    def _look(self, flight: Flight) -> None:
        if flight.prompt_id not in self.flights:
            return
        where, entry = self.client.find(flight.prompt_id)
        self._patience.answered()
        if where == "done" and entry is not None:
            self._settle(flight, entry)
        elif where == "running":
            flight.started = True
        elif where == "absent":
            self._vanish(flight)

    def _vanish(self, flight: Flight) -> None:
        """Neither waiting, running nor done: the server was restarted, or somebody cleared its queue."""
        job = flight.job
        died_with_it = flight.prompt_id == self._suspect
        trouble = self._patience.trouble(job.id)
        deaths = int(self.journal.row(job.id)["losses"]) + int(died_with_it)
        if deaths >= MAX_DEATHS or trouble > MAX_TROUBLE:
            reason = "the server died twice while running this job" if died_with_it else "the server keeps losing it"
            del self.flights[flight.prompt_id]
            self._fail(job, "server.poison", reason)
            return
        self._warn(f"job {job.index} was lost there; queueing it again")
        self._give_back(flight, "lost", losses=int(died_with_it))

    def _give_back(self, flight: Flight, verdict: str, attempts: int = 0, losses: int = 0) -> None:
        self.flights.pop(flight.prompt_id, None)
        self.journal.back(flight.job.id, verdict, attempts, losses)
        self.source.give_back(flight.job, self.name if verdict == "job.error" else None)

    # ---- the end of a job

    def _settle(self, flight: Flight, entry: dict[str, Any] | None = None) -> None:
        entry = entry or self.client.history(flight.prompt_id)
        if entry is None:
            flight.look_at = time.monotonic() + 0.1
            return
        del self.flights[flight.prompt_id]
        outcome = judge(entry, flight.graph)
        if outcome.kind == "success":
            self._collect(flight, entry, outcome.text)
        elif outcome.kind == "out_of_memory":
            self._retry(flight, "job.out_of_memory", outcome.text, most=2)
            self.client.free()
        elif outcome.kind == "disk_full":
            # Every further job would say so.
            self._give_back(flight, "disk full")
            raise disk_full(self.client.url, outcome.text)
        elif outcome.kind == "interrupted":
            self._retry(flight, "job.interrupted", outcome.text, most=2)
        else:
            # The same values on the same server would fail the same way.
            self._retry(flight, "job.error", outcome.text, most=2 if self._other_servers else 1)

    def _collect(self, flight: Flight, entry: dict[str, Any], blocked: str) -> None:
        # The next job goes first, so that the server computes while this one is fetched and verified.
        trouble = self._top_up_before_commit()
        self._fetch(flight, entry, blocked)
        if trouble is not None:
            raise trouble

    def _fetch(self, flight: Flight, entry: dict[str, Any], blocked: str) -> None:
        try:
            record = self.collector.of(flight.job).collect(self.client, flight.job, flight.graph, entry, flight.wall)
        except NothingKept as error:
            self._draw_again(flight.job, error)
            return
        except NotAPair as error:
            self._fail(flight.job, "job.no_pair", f"{error}" + (f" ({blocked})" if blocked else ""))
            return
        except Unclear as error:
            self._retry(flight, "job.not_fetched", str(error), most=2)
            return
        except Rejected as error:
            self._fail(flight.job, "job.not_fetched", str(error))
            return
        except (Unreachable, StorageError, ServerError):
            self.source.give_back(flight.job)
            with contextlib.suppress(StorageError):
                self.journal.back(flight.job.id, "not fetched")
            raise
        self.source.finish(self.collector.of(flight.job).pairs_of(entry))
        self.emit("done", {"job": flight.job, "record": record})

    def _draw_again(self, job: Job, why: NothingKept) -> None:
        """No draw of this round will do: the next round takes other seeds, up to MOST_ROUNDS."""
        self.journal.refuse(job.id, job.round, job.seed, why.refused, whole=True)
        if job.round + 1 >= MOST_ROUNDS or not job.seeds:
            rounds = f" in {job.round + 1} rounds of draws" if job.round else ""
            code = "job.nothing_visible" if why.nothing_visible else "job.refused"
            self._fail(job, code, f"no pair was kept{rounds}: {why}")
            return
        self.emit("redraw", {"job": job, "reason": str(why)})
        self.journal.back(job.id, "refused")
        self.source.give_back(job.redrawn(job.round + 1))

    def _top_up_before_commit(self) -> Exception | None:
        """What goes wrong with the next job must not lose the one that is done."""
        try:
            self._top_up()
        except (Unreachable, Unclear) as error:
            self._patience.warn_once(str(error))
        except (ServerError, StorageError) as error:
            return error
        return None

    def _retry(self, flight: Flight, code: str, text: str, most: int) -> None:
        if int(self.journal.row(flight.job.id)["attempts"]) + 1 >= most:
            self._fail(flight.job, code, text)
            return
        self._warn(f"job {flight.job.index}: {text}; trying once more")
        self._give_back(flight, code, attempts=1)

    def _fail(self, job: Job, code: str, text: str) -> None:
        self.journal.failed(job.id, code, text)
        self.source.finish()
        self.emit("failed", {"job": job, "code": code, "text": text})

    # ---- a server in trouble

    def _wait_for_return(self, error: Exception) -> None:
        self._warn(f"no answer; waiting for it ({error})")
        self._connection.wait_for_return(self.timing.give_up, self._ends, self._revive)
        self._suspect_running()
        self._last_reconcile = 0.0
        self._last_news = time.monotonic()

    def _suspect_running(self) -> None:
        """The connection broke. If the server died, then while it ran the job that had started; failing such news
        (it dies with the connection), while it ran the oldest one."""
        running = [flight for flight in self.flights.values() if flight.started] or list(self.flights.values())
        if running and self._suspect is None:
            self._suspect = running[0].prompt_id

    def _stalled(self) -> None:
        """A live HTTP side says nothing about the worker behind it."""
        for flight in list(self.flights.values()):
            if self.client.find(flight.prompt_id)[0] != "running":
                continue
            self.client.interrupt(flight.prompt_id)
            self.stop.wait(min(self.timing.wind_down, self.timing.stall))
            if self.client.find(flight.prompt_id)[0] == "running":
                raise server_error(
                    "server.stalled",
                    f"the server at {self.client.url} has been running one job for {self.timing.stall:.0f} s without "
                    "a sign of life, and does not react to an interruption",
                    where=f"job {flight.job.index} ({flight.job.source.photo.relative})",
                    expected="progress messages",
                    mend="restart that server, then run the same command again: it goes on where it stopped",
                )
            self._look(flight)
        self._last_news = time.monotonic()

    def _wind_down(self) -> None:
        """Ctrl-C: take our waiting jobs out of the queue, let the running one finish for a while, then interrupt it."""
        try:
            waiting = [f for f in self.flights.values() if self.client.find(f.prompt_id)[0] == "pending"]
            if waiting:
                self.client.delete_pending([flight.prompt_id for flight in waiting])
            for flight in waiting:
                self._give_back(flight, "cancelled")
            deadline = time.monotonic() + self.timing.wind_down
            asked = False
            while self.flights and time.monotonic() < deadline + 5.0:
                self._take_messages()
                for flight in list(self.flights.values()):
                    self._look(flight)
                    if time.monotonic() > deadline and not asked:
                        self.client.interrupt(flight.prompt_id)
                        asked = True
        except (Unreachable, Unclear, Rejected):
            pass
        for flight in list(self.flights.values()):
            self._give_back(flight, "cancelled")
