"""One server's worker: keeps a few jobs there (one runs, the others wait), follows them, hands on what they give.

WebSocket messages tell at once, but a drop loses them and some sockets go deaf; so every few seconds, and after every
reconnect, each job in flight is looked up (history, queue, history). Lost jobs are queued again and cost no attempt.
A server in trouble is left alone for longer and longer, and never given up: it may be back at three in the morning.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable

from ..errors import RequestError, ServerError, StorageError, server_error
from ..outputs.journal import Journal
from ..plans.plan import Job
from ..plans.source import JobSource
from .answers import Refused, Rejected, Unclear, Unreachable
from .client import Client
from .connection import Connection
from .listener import Message
from .local.launched import Launched
from .standing import AWAY, NEEDS_HELP, TRIAL, UP, Standings
from .work.breaker import Breaker
from .work.collect import Collector
from .work.committing import Committing
from .work.fetching import Fetching
from .work.flight import Flight, Timing
from .work.jobs import MOST_ROUNDS, Emit
from .work.trouble import Trouble
from .work.window import Window

__all__ = ["MOST_ROUNDS", "Timing", "Worker"]

#: What a server is looked at again for soon: it may be starting.
COMES_BACK = ("server.unreachable", "server.broken", "server.starting")
HICCUP = (0.1, 0.3, 0.6)
LONGEST_HICCUP = 3.0

Accepts = Callable[[Job], bool]


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
        self.depth, self._launched, self._admit, self.lost = depth, launched, admit, lost
        self._standings, self._collector = standings, collector
        self.stop = threading.Event()
        self.hurry = threading.Event()
        """With `stop`: leave at once, whatever is running."""
        self.error: StorageError | None = None
        self.crash: Exception | None = None
        self._connection = Connection(client, self._warn)
        client.http.wait, client.http.say = self._ends, self._warn
        self._trouble = Trouble(client.url, self.timing.give_up, self._say)
        self._breaker = Breaker()
        self.window = Window(
            self.name, source, journal, collector, self._connection, self._trouble, emit, lambda: standings.several
        )
        self._returned: queue.SimpleQueue[tuple[Flight, Exception | None]] = queue.SimpleQueue()
        self.window.fetching = self._fetching = Fetching(
            self.name, lambda: self._connection.client, collector, committing.put, self._hand_back
        )
        self._last_reconcile = time.monotonic()
        self._was_connected = self._unsure = False
        standings.set(self.name, UP if lost is None else AWAY, lost)
        source.join(self.name, accepts if lost is None else lambda job: False)

    @property
    def client(self) -> Client:
        return self._connection.client

    def run(self) -> None:
        self._fetching.start()
        try:
            if self.lost is not None:
                self._wait_for_return(self.lost)
            self._connection.open()
            while not self.source.all_finished and not self.stop.is_set():
                try:
                    self._step()
                except (Unreachable, ServerError) as error:
                    self._outage(error)
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
            if self._unsure:
                self._identify()
            self.window.top_up(1 if self._breaker.on_trial else self.depth)
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
            self._unsure = True
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
                self._breaker.worked()
                self._stand(UP)
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

    # ---- a server in trouble

    def _stand(self, state: str, error: ServerError | None = None) -> None:
        if self._standings.set(self.name, state, error):
            self.emit(
                "server",
                {"server": self.client.url, "state": state, "text": error.problems[0].what if error else ""},
            )

    def _outage(self, error: Unreachable | ServerError) -> None:
        """Returns once the server works again, or the run ends."""
        self.window.suspect_running()
        if isinstance(error, Unreachable):
            if self._was_a_hiccup():
                self._last_reconcile = 0.0
                self._unsure = True
                return
            self._warn(f"no answer; waiting for it ({error})")
            lost = server_error(
                "server.unreachable",
                f"no server answers any more at {self.client.url}",
                where=str(error),
                expected="the server that answered before",
                mend="start it again, and run the same command: it goes on where it stopped",
            )
        else:
            lost = error
        self._wait_for_return(lost, dead=isinstance(error, Refused))
        self.window.last_news = time.monotonic()
        self._last_reconcile = 0.0

    def _was_a_hiccup(self) -> bool:
        """Whether it answers again within a second. Too many of these in a row are none any more."""
        if self._breaker.hiccup():
            return False
        began = time.monotonic()
        for pause in HICCUP:
            if self._ends(pause):
                return True
            if time.monotonic() - began > LONGEST_HICCUP:
                return False
            with contextlib.suppress(Unclear, Rejected, Unreachable, ServerError):
                self.client.ping()
                return True
        return False

    def _wait_for_return(self, lost: ServerError, dead: bool = False) -> None:
        """The breaker is open: look again after longer and longer pauses, for ever."""
        ours_again = self._launched is not None and lost.problems[0].code == "server.stalled"
        while True:
            comes_back = lost.problems[0].code in COMES_BACK or ours_again
            self._stand(AWAY if comes_back else NEEDS_HELP, lost)
            if not comes_back or self._standings.others_work(self.name):
                self.window.release(dead)
            if self._ends(self._breaker.pause(for_people=not comes_back)):
                return
            try:
                if self._launched is not None:
                    self._connection.move_to(self._launched.address(ours_again))
                    ours_again = False
                self._back()
                return
            except ServerError as error:
                lost = error
            except (Unreachable, Unclear, Rejected) as error:
                lost = server_error("server.unreachable", f"no answer from {self.client.url}", where=str(error))

    def _back(self) -> None:
        """It answers. It may be another program with other nodes now.

        Raises:
            ServerError, Unreachable, Unclear, Rejected.
        """
        self._admit_again()
        self.window.sweep_strays()
        self._breaker.half_open()
        self._stand(TRIAL)

    def _identify(self) -> None:
        """The connection broke, and is there again.

        Raises:
            ServerError: what is there now cannot do our jobs.
            Unreachable, Unclear, Rejected.
        """
        try:
            self._admit_again()
        except ServerError as error:
            if error.problems[0].code in COMES_BACK:
                raise Unreachable(error.problems[0].what) from error
            raise

    def _admit_again(self) -> None:
        self._collector.told(self.client.info())
        if self._admit is not None:
            try:
                self.source.join(self.name, self._admit(self.client))
            except RequestError as error:
                raise ServerError(error.problems) from error
        # What it had may be gone.
        self._connection.uploads.clear()
        self._unsure = False

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
