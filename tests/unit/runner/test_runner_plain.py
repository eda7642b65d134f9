"""Plain HTTP without urllib3: connections are kept, answers are whole, and decoded, or an error."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import socket
import threading
import zlib
from collections.abc import Callable, Iterator

import pytest
from defectforge.runner.servers.plain import Plain
from defectforge.runner.servers.transport import _whole_body
from urllib3.exceptions import DecodeError

Serve = Callable[..., Plain]


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A server that answers the requests of each connection with these bytes, one after the other, and closes it."""
    listeners: list[socket.socket] = []

    def start(*connections: list[bytes]) -> Plain:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run() -> None:
            with contextlib.suppress(OSError):
                for answers in connections:
                    peer, _ = listener.accept()
                    for said in answers:
                        while b"\r\n\r\n" not in peer.recv(1 << 16):
                            pass
                        peer.sendall(said)
                    peer.close()

        threading.Thread(target=run, daemon=True).start()
        return Plain("127.0.0.1", listener.getsockname()[1], (5.0, 5.0), most=4)

    yield start
    for listener in listeners:
        listener.close()


def ask(plain: Plain, body: bytes | None = None, most: int = 1 << 20) -> tuple[int, dict[str, str], bytes]:
    return plain.ask("GET" if body is None else "POST", "/view?a=b", body, {}, _whole_body, most)


def test_a_connection_is_kept_and_a_closed_one_replaced(serve: Serve) -> None:
    plain = serve(
        [answer(b"one"), answer(b"", "Content-Type: a"), answer(b"three", "Connection: close")], [answer(b"4")]
    )
    assert [ask(plain)[2] for _ in range(4)] == [b"one", b"", b"three", b"4"]


def test_a_connection_that_the_server_closed_is_not_used_again(serve: Serve) -> None:
    plain = serve([answer(b"one")], [answer(b"two")])
    assert ask(plain)[2] == b"one"
    plain._idle[0].sock.recv(1, socket.MSG_PEEK)  # the end has arrived
    assert ask(plain)[2] == b"two"


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
def test_what_a_server_packs_is_unpacked(serve: Serve, pack: Callable[[bytes], bytes]) -> None:
    encoding = "gzip" if pack is gzip.compress else "deflate"
    plain = serve([answer(pack(b"a" * 9000), f"Content-Encoding: {encoding}")] * 2)
    assert ask(plain)[2] == b"a" * 9000
    with pytest.raises(OSError, match="larger"):
        ask(plain, most=100)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (answer(b"whole")[:-1], http.client.IncompleteRead),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", http.client.IncompleteRead),
        (answer(b"??", "Content-Encoding: gzip"), DecodeError),
        (answer(b"??", "Content-Encoding: br"), DecodeError),
        (b"nonsense\r\n\r\n", http.client.BadStatusLine),
        (b"", http.client.RemoteDisconnected),
    ],
    ids=["cut off", "cut off in a chunk", "no gzip", "unknown", "no HTTP", "nothing"],
)
def test_half_an_answer_is_none(serve: Serve, said: bytes, error: type[Exception]) -> None:
    plain = serve([said], [answer(b"next")])
    with pytest.raises(error):
        ask(plain)
    assert ask(plain)[2] == b"next", "on a connection of its own"


def test_an_upload_that_is_refused_before_its_end_says_why(serve: Serve) -> None:
    plain = serve([answer(b"too large", "Connection: close", status="413 Too Large")])
    status, _, content = ask(plain, body=b"x" * 100)
    assert (status, content) == (413, b"too large")
