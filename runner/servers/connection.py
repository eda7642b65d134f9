"""All that connects a worker with its server: HTTP, WebSocket, what was uploaded, whether the socket still hears."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator

from ..errors import ServerError
from .client import Client
from .listener import MOST_MESSAGES, Listener, Message
from .uploads import Uploads


class Connection:
    """One server, or after `move_to` its successor."""

    def __init__(self, client: Client, warn: Callable[[str], None]) -> None:
        self.client, self._warn = client, warn
        self.uploads = Uploads(client)
        self._inbox: queue.Queue[Message] = queue.Queue(MOST_MESSAGES)
        self._listener = Listener(client.http.address, client.client_id, self._inbox)
        self._asked: float | None = None

    def open(self) -> None:
        self._listener.start()
        self._listener.tried.wait(timeout=10)

    def close(self) -> None:
        self._listener.stop()

    def messages(self, timeout: float) -> Iterator[Message]:
        """What has come in, up to a handful; waits at most `timeout` seconds for the first one."""
        try:
            yield self._inbox.get(timeout=timeout)
            # Bounded: a server that talks without a pause must not keep the worker from its work.
            for _ in range(100):
                yield self._inbox.get_nowait()
        except queue.Empty:
            return

    @property
    def hears(self) -> bool:
        """Whether a WebSocket is open. Without one only asking tells what became of a job."""
        return self._listener.connected.is_set()

    def expect_echo(self) -> None:
        """A job is about to be queued: the server tells every client so with a `status`."""
        self._asked = time.monotonic()

    def check_hearing(self, patience: float) -> None:
        """Open a new socket where the echo did not come. A socket that the server forgot stays open, answers pings,
        and gets nothing at all."""
        asked = self._asked
        if asked is None or time.monotonic() < asked + patience:
            return
        self._asked = None
        if self._listener.last_status >= asked:
            return
        self.client.ping()  # answers once the server's event loop is free: a busy one is slow, not deaf
        time.sleep(0.3)
        if self._listener.last_status < asked and self._listener.connected.is_set():
            self._warn("the WebSocket is deaf; opening a new one")
            self._listener.reopen()

    def wait_for_return(
        self, give_up: float, stopped: Callable[[float], bool], revive: Callable[[], str] | None
    ) -> None:
        """Back off until the server answers again; one of our own is started anew if it is dead.

        Args:
            stopped: waits so many seconds and says whether to stop waiting altogether.

        Raises:
            ServerError: it stayed away longer than `give_up` seconds, or died too often.
        """
        deadline, pause = time.monotonic() + give_up, 0.2
        while True:
            if revive is not None:
                self._move_to(revive())
            try:
                self.client.info()
                break
            except ServerError as error:
                if time.monotonic() > deadline or error.problems[0].code == "server.login":
                    raise
            if stopped(pause):
                break
            pause = min(pause * 2, 5.0)
        # What it had may be gone with it.
        self.uploads.clear()

    def _move_to(self, url: str) -> None:
        if url == self.client.url:
            return
        self._listener.stop()
        successor = Client(url, self.client.client_id)
        successor.http.wait, successor.http.say = self.client.http.wait, self.client.http.say
        self.client = successor
        self.uploads = Uploads(self.client)
        self._listener = Listener(self.client.http.address, self.client.client_id, self._inbox)
        self.open()
