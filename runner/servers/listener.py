"""The server's WebSocket in a thread: messages about our jobs go into a queue; it reconnects by itself.

Nothing is buffered by the server, so messages are hints: what a drop swallowed is found again in /history. For the same
reason nothing here may wait for the peer: no close handshake, no full queue.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import websocket

from .address import Address

MOST_MESSAGES = 10_000
"""Messages that wait to be read; a server that floods us loses the rest."""
CHATTER = '{"type": "progress_state"'
PROGRESS = '{"type": "progress"'
RECEIVE = 1 << 16
PROGRESS_EVERY = 0.1
"""Seconds between two messages of progress that are passed on."""


@dataclass(frozen=True)
class Message:
    """A text message of the server, or our own "connected", "disconnected", "refused", "alive" or "wake"."""

    type: str
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def prompt_id(self) -> str:
        return str(self.data.get("prompt_id", ""))


def message_of(frame: str) -> Message | None:
    """What a text frame says, or None for nonsense: custom nodes and proxies send what they like."""
    try:
        content = json.loads(frame)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    data = content.get("data")
    return Message(str(content.get("type")), data if isinstance(data, dict) else {})


class _Socket(websocket.WebSocket):
    """Takes what has come in at once. The library asks the system for each part of each frame by itself."""

    def _recv(self, bufsize: int) -> Any:
        return super()._recv(max(bufsize, RECEIVE))  # it keeps what is too much for the next frame


class Listener:
    """Keeps one WebSocket open and puts every message into `inbox`."""

    def __init__(self, address: Address, client_id: str, inbox: queue.SimpleQueue[Message]) -> None:
        self._address, self._client_id, self._inbox = address, client_id, inbox
        self._socket: websocket.WebSocket | None = None
        self._stopped = threading.Event()
        self.connected = threading.Event()
        self.tried = threading.Event()
        """Set once the first attempt to connect has ended, well or badly."""
        self.last_status = 0.0
        """time.monotonic() of the last `status`: every queued job must be echoed by one."""
        self._progress_after = self._alive_after = 0.0
        self._thread = threading.Thread(target=self._run, name=f"listen {address.url}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Does not wait for the peer; a thread that is stuck in connecting ends by its own timeout."""
        self._stopped.set()
        self.reopen()
        self._thread.join(timeout=1)

    def reopen(self) -> None:
        """Cut the present connection; the thread opens a new one. Mends a socket that is open but deaf.

        Cut, not closed: `close` waits for the peer's answer, and for ever behind a reading thread.
        """
        present = self._socket
        raw = present.sock if present is not None else None
        if raw is not None:
            with contextlib.suppress(OSError, ValueError):
                raw.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        pause = 0.1
        while not self._stopped.is_set():
            try:
                self._socket = self._connect()
                pause = 0.1
                self.connected.set()
                self.tried.set()
                self._put(Message("connected"))
                self._receive(self._socket)
            except websocket.WebSocketBadStatusException as error:
                self._put(Message("refused", {"status": error.status_code}))
            except (websocket.WebSocketException, OSError, ValueError):
                pass  # ValueError: bytes that are no text, a handshake that is no HTTP
            finally:
                self.tried.set()
                if self._socket is not None:
                    with contextlib.suppress(Exception):
                        self._socket.shutdown()
                    self._socket = None
                if self.connected.is_set():
                    self.connected.clear()
                    self._put(Message("disconnected"))
            self._stopped.wait(pause)
            pause = min(pause * 2, 5.0)

    def _put(self, message: Message) -> None:
        if self._inbox.qsize() < MOST_MESSAGES:
            self._inbox.put(message)

    def _connect(self) -> websocket.WebSocket:
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") if not self._address.is_loopback else None
        return websocket.create_connection(
            f"{self._address.websocket_url}/ws?clientId={self._client_id}",
            timeout=10,
            class_=_Socket,
            header=[f"{name}: {value}" for name, value in self._address.headers],
            # Without an Origin: a server behind another name would refuse ours (403).
            suppress_origin=True,
            # The address is where redirects have led already; another one would get our log-in.
            redirect_limit=0,
            http_no_proxy=["*"] if self._address.is_loopback else None,
            # In pure Python it takes longer than all the rest; what is no text fails at decoding all the same.
            skip_utf8_validation=True,
            sslopt={"ca_certs": bundle, "cert_reqs": ssl.CERT_REQUIRED} if bundle else None,
        )

    def _receive(self, present: websocket.WebSocket) -> None:
        # Silence is normal while a model loads; the worker's reconciliation tells silence from death.
        present.settimeout(None)
        while not self._stopped.is_set():
            frame = present.recv()
            if isinstance(frame, bytes):
                continue  # previews
            if frame == "":
                raise websocket.WebSocketConnectionClosedException("closed")
            now = time.monotonic()
            if frame.startswith(CHATTER) or (frame.startswith(PROGRESS) and now < self._progress_after):
                # A busy sampler says it hundreds of times a second; that it lives is all that matters of it.
                if now >= self._alive_after:
                    self._alive_after = now + 1.0
                    self._put(Message("alive"))
                continue
            message = message_of(frame)
            if message is None:
                continue
            if message.type == "progress":
                self._progress_after = now + PROGRESS_EVERY
            if message.type == "status":
                self.last_status = now
            self._put(message)
