"""All that connects a worker with its server: HTTP, WebSocket, what was uploaded, whether the socket still hears."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator

from .client import Client
from .listener import Listener, Message
from .uploads import Uploads


class Connection:
    """One server, or after `move_to` its successor."""

    def __init__(self, client: Client, warn: Callable[[str], None]) -> None:
        self.client, self._warn = client, warn
        self.uploads = Uploads(client)
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._listener = Listener(client.http.address, client.client_id, self._inbox)
        self._asked: float | None = None

    def open(self) -> None:
        self._listener.start()
        # Without it a run goes on, too: a handshake that hangs must not hold it up.
        self._listener.tried.wait(timeout=2)

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

    def wake(self) -> None:
        """Whoever waits in `messages` has something else to do. From any thread."""
        self._inbox.put(Message("wake"))

    def move_to(self, url: str) -> None:
        """Go on with a successor of the server. Nothing happens if it has the same address."""
        if url == self.client.url:
            return
        self._listener.stop()
        successor = Client(url, self.client.client_id)
        successor.http.wait, successor.http.say = self.client.http.wait, self.client.http.say
        self.client = successor
        self.uploads = Uploads(self.client)
        self._listener = Listener(self.client.http.address, self.client.client_id, self._inbox)
        self.open()
