"""Plain HTTP to one host, with nothing between: `http.client` on kept-alive connections.

urllib3 does the rest (TLS, proxies); what it does around a small answer costs more than the answer. A run makes three
requests for each job.
"""

from __future__ import annotations

import errno
import http.client
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from urllib3.exceptions import DecodeError
from urllib3.response import DeflateDecoder, GzipDecoder
from urllib3.util import wait_for_read

DECODERS: dict[str, Callable[[], Any]] = {"gzip": GzipDecoder, "x-gzip": GzipDecoder, "deflate": DeflateDecoder}
BLOCK = 1 << 16
"""Bytes that are decoded at once: a few of them can become a thousand times as many."""
#: A server that refuses an upload in the middle closes its side; what it said before is still to be read.
ANSWERED_EARLY = (errno.EPIPE, errno.ECONNRESET, errno.EPROTOTYPE)
IN_A_TARGET = "/?%&=:;@!$'()*+,~-._"


class Plain:
    """Thread-safe: each request has a connection to itself."""

    def __init__(self, host: str, port: int, timeout: tuple[float, float], most: int) -> None:
        """`timeout`: seconds to connect, and between two parts of an answer. `most`: idle connections that are kept."""
        self._host, self._port, self._most = host, port, most
        self._connect, self._read = timeout
        self._idle: deque[http.client.HTTPConnection] = deque()

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | None,
        headers: Mapping[str, str],
        whole_body: Callable[[Any], bytes],
        most_bytes: int,
    ) -> tuple[int, dict[str, str], bytes]:
        """(status, headers by lower-case names, decoded body).

        Raises:
            OSError, http.client.HTTPException, urllib3's DecodeError, ValueError.
        """
        if not target.isascii() or not target.isprintable() or " " in target:
            target = quote(target, safe=IN_A_TARGET)
        connection = self._taken()
        try:
            try:
                connection.request(method, target, body, dict(headers))
            except OSError as error:
                if error.errno not in ANSWERED_EARLY:
                    raise
            reply = connection.getresponse()
            content = whole_body(reply)
            if reply.length:
                raise http.client.IncompleteRead(content, reply.length)
            reply.close()
            received = {name.lower(): text for name, text in reply.headers.items()}
            content = _decoded(content, received.get("content-encoding", ""), most_bytes)
        except BaseException:
            connection.close()  # half an answer is still in it
            raise
        if reply.will_close or len(self._idle) >= self._most:
            connection.close()
        else:
            self._idle.append(connection)
        return reply.status, received, content

    def _taken(self) -> http.client.HTTPConnection:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            # What says something unasked has closed its side, or will not be understood.
            if connection.sock is not None and not wait_for_read(connection.sock, timeout=0.0):
                return connection
            connection.close()
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._connect)
        connection.connect()
        connection.sock.settimeout(self._read)
        return connection


def _decoded(content: bytes, encoding: str, most_bytes: int) -> bytes:
    """Raises DecodeError, OSError."""
    for name in reversed([part.strip().lower() for part in encoding.split(",")]):
        if name in ("", "identity") or not content:
            continue
        if name not in DECODERS:
            raise DecodeError(f"the answer is encoded as {name[:20]!r}")
        decoder, parts, size = DECODERS[name](), [], 0
        try:
            for begin in range(0, len(content), BLOCK):
                parts.append(decoder.decompress(content[begin : begin + BLOCK]))
                size += len(parts[-1])
                if size > most_bytes:
                    raise OSError(f"the answer is larger than {most_bytes >> 20} MB")
            content = b"".join([*parts, decoder.flush()])
        except zlib.error as error:
            raise DecodeError(f"the answer is not encoded as {name}, as it says") from error
    return content
