"""A proxy on bare sockets before a server: WebSockets that no library would make, on top of working HTTP."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import socket
import threading
from collections.abc import Callable

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept(connection: socket.socket, head: bytes) -> None:
    """The server's side of the WebSocket handshake."""
    found = re.search(rb"(?i)sec-websocket-key: *([^\r\n]+)", head)
    assert found is not None
    key = base64.b64encode(hashlib.sha1(found.group(1) + MAGIC).digest())
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + key + b"\r\n\r\n"
    )


def text_frame(text: bytes) -> bytes:
    assert len(text) < 126
    return bytes([0x81, len(text)]) + text


class RawFront:
    """Passes HTTP on byte by byte; what opens /ws gets `on_websocket(connection, head, closing)` instead."""

    def __init__(self, target: str, on_websocket: Callable[[socket.socket, bytes, threading.Event], None]) -> None:
        host, _, port = target.rpartition("//")[2].partition(":")
        self._target = (host, int(port))
        self._on_websocket = on_websocket
        self.closing = threading.Event()
        self.mute = threading.Event()
        """Once set, nothing that the server answers gets through any more."""
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def stop(self) -> None:
        self.closing.set()
        for opened in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()

    def _serve(self) -> None:
        while not self.closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                part = connection.recv(65536)
                if not part:
                    return
                head += part
            if b" /ws" in head.split(b"\r\n")[0]:
                self._on_websocket(connection, head, self.closing)
                return
            behind = socket.create_connection(self._target)
            self._open.append(behind)
            behind.sendall(head)
            threading.Thread(target=pump, args=(behind, connection, self.mute), daemon=True).start()
            pump(connection, behind, threading.Event())


def pump(source: socket.socket, sink: socket.socket, mute: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(65536):
            if not mute.is_set():
                sink.sendall(part)
        sink.shutdown(socket.SHUT_WR)
