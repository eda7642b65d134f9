"""The server's WebSocket in a thread: messages about our jobs go into a queue; it reconnects by itself.

Nothing is buffered by the server, so messages are hints: what a drop swallowed is found again in /history.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlparse

import websocket

from .client import LOOPBACK


@dataclass(frozen=True)
class Message:
    """A text message of the server, or our own "connected" / "disconnected"."""

    type: str
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def prompt_id(self) -> str:
        return str(self.data.get("prompt_id", ""))


class Listener:
    """Keeps one WebSocket open and puts every message into `inbox`."""

    def __init__(self, url: str, client_id: str, inbox: queue.Queue[Message]) -> None:
        scheme, _, rest = url.partition("://")
        self._address = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/ws?clientId={client_id}"
        self._loopback = urlparse(url).hostname in LOOPBACK
        self._inbox = inbox
        self._socket: websocket.WebSocket | None = None
        self._stopped = threading.Event()
        self.connected = threading.Event()
        self.last_status = 0.0
        """time.monotonic() of the last `status`: every queued job must be echoed by one."""
        self._thread = threading.Thread(target=self._run, name=f"listen {url}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self.reopen()
        self._thread.join(timeout=5)

    def reopen(self) -> None:
        """Close the present connection; the thread opens a new one. Mends a socket that is open but deaf."""
        present = self._socket
        if present is not None:
            with contextlib.suppress(Exception):
                present.close()

    def _run(self) -> None:
        pause = 0.1
        while not self._stopped.is_set():
            try:
                self._socket = self._connect()
                pause = 0.1
                self.connected.set()
                self._inbox.put(Message("connected"))
                self._receive(self._socket)
            except (websocket.WebSocketException, OSError):
                pass
            finally:
                if self.connected.is_set():
                    self.connected.clear()
                    self._inbox.put(Message("disconnected"))
            self._stopped.wait(pause)
            pause = min(pause * 2, 5.0)

    def _connect(self) -> websocket.WebSocket:
        # Without an Origin: a server behind another name would refuse ours (403).
        no_proxy = ["*"] if self._loopback else None
        return websocket.create_connection(self._address, timeout=10, suppress_origin=True, http_no_proxy=no_proxy)

    def _receive(self, socket: websocket.WebSocket) -> None:
        # Silence is normal while a model loads; the worker's reconciliation tells silence from death.
        socket.settimeout(None)
        while not self._stopped.is_set():
            frame = socket.recv()
            if isinstance(frame, bytes):
                continue  # previews
            if frame == "":
                raise websocket.WebSocketConnectionClosedException("closed")
            with contextlib.suppress(ValueError, AttributeError):
                content = json.loads(frame)
                if content.get("type") == "status":
                    self.last_status = time.monotonic()
                self._inbox.put(Message(str(content.get("type")), dict(content.get("data") or {})))
