"""A server in trouble is left alone for longer and longer, and never given up: it may be back at three in the morning.
When it answers again it may be another program, so it is checked like a new one, and one job shows whether it works."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from ...errors import RequestError, ServerError, server_error
from ...plans.plan import Job
from ..answers import Refused, Rejected, Unclear, Unreachable
from ..client import Client
from ..connection import Connection
from ..local.launched import Launched
from ..standing import AWAY, NEEDS_HELP, TRIAL, UP, Standings
from .breaker import Breaker
from .collect import Collector
from .window import Window

#: What a server is looked at again for soon: it may be starting.
COMES_BACK = ("server.unreachable", "server.broken", "server.starting")
HICCUP = (0.1, 0.3, 0.6)
LONGEST_HICCUP = 3.0

Accepts = Callable[[Job], bool]


class Recovery:
    """Belongs to one worker, and to its thread.

    Attributes:
        unsure: the connection broke since the server was last checked.
    """

    def __init__(
        self,
        name: str,
        connection: Connection,
        window: Window,
        collector: Collector,
        standings: Standings,
        ends: Callable[[float], bool],
        launched: Launched | None = None,
        admit: Callable[[Client], Accepts | None] | None = None,
    ) -> None:
        """
        Args:
            ends: waits so many seconds, and says whether the run ends.
            launched: the server, if we launched it.
            admit: checks a server that was away, and says which jobs it may have. Raises RequestError.
        """
        self._name, self._connection, self.window, self._collector = name, connection, window, collector
        self._standings, self._ends, self._launched, self._admit = standings, ends, launched, admit
        self._breaker = Breaker()
        self.unsure = False

    @property
    def client(self) -> Client:
        return self._connection.client

    @property
    def on_trial(self) -> bool:
        return self._breaker.on_trial

    def worked(self) -> None:
        """A job was done."""
        self._breaker.worked()
        self._stand(UP)

    def _stand(self, state: str, error: ServerError | None = None) -> None:
        if self._standings.set(self._name, state, error):
            self.window.emit(
                "server",
                {"server": self.client.url, "state": state, "text": error.problems[0].what if error else ""},
            )

    def outage(self, error: Unreachable | ServerError) -> None:
        """Returns once the server works again, or the run ends."""
        self.window.suspect_running()
        if isinstance(error, Unreachable):
            if self._was_a_hiccup():
                self.unsure = True
                return
            self.window.trouble.warn(f"no answer; waiting for it ({error})")
            lost = server_error(
                "server.unreachable",
                f"no server answers any more at {self.client.url}",
                where=str(error),
                expected="the server that answered before",
                mend="start it again, and run the same command: it goes on where it stopped",
            )
        else:
            lost = error
        self.wait_for_return(lost, dead=isinstance(error, Refused))
        self.window.last_news = time.monotonic()

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

    def wait_for_return(self, lost: ServerError, dead: bool = False) -> None:
        """The breaker is open: look again after longer and longer pauses, for ever."""
        ours_again = self._launched is not None and lost.problems[0].code == "server.stalled"
        while True:
            comes_back = lost.problems[0].code in COMES_BACK or ours_again
            self._stand(AWAY if comes_back else NEEDS_HELP, lost)
            if not comes_back or self._standings.others_work(self._name):
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

    def identify(self) -> None:
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
                self.window.source.join(self._name, self._admit(self.client))
            except RequestError as error:
                raise ServerError(error.problems) from error
        # What it had may be gone.
        self._connection.uploads.clear()
        self.unsure = False
