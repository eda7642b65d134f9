"""One server's worker: keeps a few jobs there (one runs, the others wait), follows them, hands on what they give.

WebSocket messages tell at once, but a drop loses them and some sockets go deaf; so every few seconds, and after every
reconnect, each job in flight is looked up (history, queue, history). Lost jobs are queued again and cost no attempt.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable

from ..errors import ServerError, StorageError, server_error
from ..outputs.journal import Journal
from ..plans.source import JobSource
from .answers import Rejected, Unclear, Unreachable
from .client import Client
from .connection import Connection
from .listener import Message
from .local.launched import Launched
from .standing import AWAY, UP, Standings
from .work.collect import Collector
from .work.committing import Committing
from .work.fetching import Fetching
from .work.flight import Flight, Timing
from .work.jobs import MOST_ROUNDS, Emit
from .work.recovery import Accepts, Recovery
from .work.trouble import Trouble
from .work.window import Window

__all__ = ["MOST_ROUNDS", "Accepts", "Timing", "Worker"]


class Worker(threading.Thread):
    """Runs jobs of `source` on one server until all are finished or `stop` is set."""

    def __init__(
        self,
        client: Client,
        source: JobSource,
        journal: Journal,
        collector: Collector,
        committing: Committing,
        standings: Standings,
        emit: Emit,
        timing: Timing | None = None,
        launched: Launched | None = None,
        admit: Callable[[Client], Accepts | None] | None = None,
        accepts: Accepts | None = None,
        depth: int = 2,
        lost: ServerError | None = None,
    ) -> None:
        """
        Args:
            launched: the server, if we launched it.
            admit: checks a server that was away, and says which jobs it may have. Raises RequestError.
            accepts: which jobs it may have now; None: all.
            lost: why it cannot be used yet.
        """
        super().__init__(name=f"worker {client.url}", daemon=True)
        self.source, self.journal, self.emit, self.timing = source, journal, emit, timing or Timing()
        self.depth, self._launched, self.lost = depth, launched, lost
        self._collector = collector
        self.stop = threading.Event()
        self.hurry = threading.Event()
        """With `stop`: leave at once, whatever is running."""
        self.error: StorageError | None = None
        self.crash: Exception | None = None
        self._connection = Connection(client, self._warn)
        client.http.wait, client.http.say = self._ends, self._warn
        self._trouble = Trouble(client.url, self.timing.give_up, self._say)
        self.window = Window(
            self.name, source, journal, collector, self._connection, self._trouble, emit, lambda: standings.several
        )
        self._recovery = Recovery(
            self.name, self._connection, self.window, collector, standings, self._ends, launched, admit
        )
        self._returned: queue.SimpleQueue[tuple[Flight, Exception | None]] = queue.SimpleQueue()
        self.window.fetching = self._fetching = Fetching(
            self.name, lambda: self._connection.client, collector, committing.put, self._hand_back
        )
        self._last_reconcile = time.monotonic()
        self._was_connected = False
        standings.set(self.name, UP if lost is None else AWAY, lost)
        source.join(self.name, accepts if lost is None else lambda job: False)

    @property
    def client(self) -> Client:
        return self._connection.client

    def run(self) -> None:
        self._fetching.start()
        try:
            if self.lost is not None:
                self._recovery.wait_for_return(self.lost)
            self._connection.open()
            while not self.source.all_finished and not self.stop.is_set():
                try:
                    self._step()
                except (Unreachable, ServerError) as error:
                    self._recovery.outage(error)
                    self._last_reconcile = 0.0
            if self.stop.is_set():
                self._wind_down()
        except StorageError as error:
            self.error = error
        except Exception as error:  # a thread's exception would be printed and forgotten: the main thread raises it
            self.crash = error
        finally:
            self.source.leave(self.name)
            self._fetching.stop()
            self._connection.close()

    def _step(self) -> None:
        try:
            if self._recovery.unsure:
                self._recovery.identify()
            self.window.top_up(1 if self._recovery.on_trial else self.depth)
            for message in self._connection.messages(self.window.due() if self._returned.empty() else 0.0):
                self._on(message)
            self._take_back()
            self._watch()
        except (Unclear, Rejected) as error:
            self._trouble.unclear(error)
            self.stop.wait(0.5)

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

    def _warn(self, text: str) -> None:
        self._trouble.warn(text)

    def _say(self, text: str) -> None:
        self.emit("warning", {"server": self.client.url, "text": text})

    # ---- following

    def _on(self, message: Message) -> None:
        if message.type == "refused":
            self._warn(
                f"the server refuses the WebSocket (HTTP {message.data['status']}): no progress is shown, and results "
                "are asked for every second; let the proxy before it pass on upgrades of /ws"
            )
        elif message.type == "disconnected":
            # Perhaps a restart: as another program, and without our uploads.
            self._recovery.unsure = True
            self._last_reconcile = 0.0
            self.window.suspect_running()
        elif message.type == "connected":
            if self._was_connected:
                self._last_reconcile = 0.0
            self._was_connected = True
        else:
            self.window.hear(message)

    def _hand_back(self, flight: Flight, error: Exception | None) -> None:
        """From the threads that fetch and commit."""
        self._returned.put((flight, error))
        self._connection.wake()

    def _take_back(self) -> None:
        trouble: Exception | None = None
        while True:
            try:
                flight, error = self._returned.get_nowait()
            except queue.Empty:
                break
            try:
                self.window.ended(flight, error)
            except (Unreachable, ServerError) as again:
                trouble = again  # once for all that came back with it
                continue
            if error is None:
                self._recovery.worked()
                if self._launched is not None:
                    self._launched.worked(self._collector.of(flight.job).files_of(flight))
        if trouble is not None:
            raise trouble

    def _watch(self) -> None:
        self.window.look_at_due()
        self._connection.check_hearing(self.timing.status_echo)
        patience = self.timing.reconcile if self._connection.hears else min(1.0, self.timing.reconcile)
        if time.monotonic() - self._last_reconcile >= patience:
            self.window.look_at_all()
            self._last_reconcile = time.monotonic()
        if self.window.flights and time.monotonic() - self.window.last_news > self.timing.stall:
            self._stalled()

    def _stalled(self) -> None:
        """A live HTTP side says nothing about the worker behind it."""
        for flight in list(self.window.flights.values()):
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
            flight.look_at = 0.0
        self.window.look_at_due()
        self.window.last_news = time.monotonic()

    def _wind_down(self) -> None:
        """Ctrl-C: take our waiting jobs out of the queue, let the running one finish for a while, then interrupt it."""
        window, flights = self.window, self.window.flights
        if self.hurry.is_set():
            # What runs there is found again in its history by the next run.
            return
        with contextlib.suppress(Unreachable, Unclear, Rejected, ServerError):
            waiting = [f for f in flights.values() if self.client.find(f.prompt_id)[0] == "pending"]
            if waiting:
                self.client.delete_pending([flight.prompt_id for flight in waiting])
            for flight in waiting:
                window.give_back(flight, "cancelled")
            deadline = time.monotonic() + self.timing.wind_down
            asked = False
            while not window.empty and time.monotonic() < deadline + 5.0:
                for message in self._connection.messages(0.2 if self._returned.empty() else 0.0):
                    self._on(message)
                self._take_back()
                window.look_at_all()
                if time.monotonic() > deadline and not asked:
                    asked = True
                    for flight in flights.values():
                        self.client.interrupt(flight.prompt_id)
        for flight in list(flights.values()):
            window.give_back(flight, "cancelled")
