"""Whatever a server or a proxy before it does, the run ends, and says what the person at the keyboard can do."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from defectforge.runner.errors import BAD_REQUEST, NO_SERVER, OK, SOME_JOBS_FAILED
from defectforge.runner.servers import transport
from defectforge.runner.servers.listener import message_of
from defectforge.runner.servers.worker import Timing

#: Seconds within which a run ends after its last pair.
SOON = 10.0


@pytest.fixture
def front(start: Callable[..., Any], raw_module: Any) -> Iterator[Callable[..., Any]]:
    """A proxy on bare sockets before a server that does nothing wrong itself."""
    fronts = []

    def begin(on_websocket: Callable[..., None]) -> Any:
        fronts.append(raw_module.RawFront(start().url, on_websocket))
        return fronts[-1]

    yield begin
    for made in fronts:
        made.stop()


def never_closes(raw: Any, connection: socket.socket, head: bytes, closing: threading.Event) -> None:
    raw.accept(connection, head)
    closing.wait(120)


def never_answers(raw: Any, connection: socket.socket, head: bytes, closing: threading.Event) -> None:
    closing.wait(120)


def floods(raw: Any, connection: socket.socket, head: bytes, closing: threading.Event) -> None:
    raw.accept(connection, head)
    noise = raw.text_frame(b'{"type": "progress", "data": {"value": 1, "max": "x", "prompt_id": 3}}') * 50
    while not closing.is_set():
        connection.sendall(noise)


def talks_nonsense(raw: Any, connection: socket.socket, head: bytes, closing: threading.Event) -> None:
    raw.accept(connection, head)
    for frame in (b"[1]", b"{", b'{"type": "status", "data": [1]}', b'{"data": 3}', b"null", b"\xff\xfe"):
        connection.sendall(raw.text_frame(frame))
    connection.sendall(b"\xff" * 64)
    closing.wait(120)


def stops_in_a_frame(raw: Any, connection: socket.socket, head: bytes, closing: threading.Event) -> None:
    raw.accept(connection, head)
    connection.sendall(bytes([0x81, 120]) + b'{"type"')
    closing.wait(120)


@pytest.mark.parametrize("on_websocket", [never_closes, never_answers, floods, talks_nonsense, stops_in_a_frame])
def test_a_run_ends_soon_after_its_last_pair(
    front: Any, go: Any, raw_module: Any, recorder: Any, pairs: Any, tmp_path: Path, on_websocket: Any
) -> None:
    server = front(lambda *arguments: on_websocket(raw_module, *arguments))
    last_pair: list[float] = []
    keep = recorder.event
    recorder.event = lambda name, data: (
        last_pair.append(time.monotonic()) if name == "done" else None,
        keep(name, data),
    )
    assert go(server) == OK
    assert time.monotonic() - last_pair[-1] < SOON
    pairs(tmp_path / "out").assert_whole(4)
    ours = [thread.name for thread in threading.enumerate() if thread.name.startswith("worker ")]
    assert ours == [], "no worker was left behind"


def test_a_second_server_that_fell_silent_does_not_hold_the_run(
    start: Any, front: Any, go: Any, pairs: Any, tmp_path: Path, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers while the run is prepared; then it takes every request and says nothing."""
    monkeypatch.setattr(transport, "TIMEOUT", (1.0, 1.0))
    sound, other = start(), front(lambda connection, head, closing: closing.wait(120))
    recorder.begin = lambda *_: other.mute.set()
    began = time.monotonic()
    assert go(sound, other, timing=Timing(reconcile=0.3, give_up=600.0)) == OK
    assert time.monotonic() - began < 60
    pairs(tmp_path / "out").assert_whole(4)


def answering(status: int, path: str, times: int = 10**9, **more: Any) -> Callable[[web.Request], web.Response | None]:
    """A proxy that answers for `path` (its beginning) in the server's place, so many times."""
    left = [times]

    def intercept(request: web.Request) -> web.Response | None:
        if not request.path.startswith(path) or left[0] <= 0:
            return None
        left[0] -= 1
        return web.Response(status=status, **more)

    return intercept


@pytest.mark.parametrize("status", [401, 403, 407])
@pytest.mark.parametrize("path", ["/", "/prompt", "/upload", "/view", "/history"])
def test_a_server_that_wants_a_log_in_is_told_once_with_the_way_in(
    start: Any, go: Any, recorder: Any, status: int, path: str
) -> None:
    assert go(start(intercept=answering(status, path))) == NO_SERVER
    text = "\n".join(recorder.lines)
    assert text.count("does not let us in") == 1
    assert "--header-file" in text and "http://USER:PASSWORD@HOST" in text
    assert recorder.of("failed") == [], "no job is to blame"


def test_what_is_too_big_says_which_limit(start: Any, go: Any, recorder: Any) -> None:
    assert go(start(intercept=answering(413, "/upload", times=1))) == SOME_JOBS_FAILED
    (failure,) = recorder.of("failed")
    assert "--max-upload-size" in failure["text"] and "client_max_body_size" in failure["text"]


@pytest.mark.parametrize("headers", [{"Retry-After": "0"}, {"Retry-After": "Fri, 01 Jan 2021 00:00:00 GMT"}, {}])
@pytest.mark.parametrize("path", ["/system_stats", "/prompt", "/upload", "/view"])
def test_too_many_requests_are_waited_for(
    start: Any, go: Any, pairs: Any, tmp_path: Path, recorder: Any, headers: dict[str, str], path: str
) -> None:
    assert go(start(intercept=answering(429, path, times=2, headers=headers))) == OK
    pairs(tmp_path / "out").assert_whole(4)
    assert any("429" in warning["text"] for warning in recorder.of("warning"))


def test_a_wait_without_end_is_no_wait(start: Any, go: Any, recorder: Any) -> None:
    assert go(start(intercept=answering(429, "/prompt", headers={"Retry-After": "86400"}))) == NO_SERVER
    assert "raise the limit of the proxy" in "\n".join(recorder.lines)


def test_a_gateway_without_a_server_behind_it_is_named(start: Any, go: Any, recorder: Any) -> None:
    assert go(start(intercept=answering(502, "/", text="<html>Bad Gateway</html>"))) == NO_SERVER
    text = "\n".join(recorder.lines)
    assert "answered 502" in text and "behind that gateway" in text and "html" not in text


def test_a_gateway_that_hiccups_costs_nothing(start: Any, go: Any, pairs: Any, tmp_path: Path) -> None:
    assert go(start(intercept=answering(503, "/prompt", times=1))) == OK
    pairs(tmp_path / "out").assert_whole(4)


def test_a_server_that_answers_every_upload_with_an_error_is_given_up_soon(start: Any, go: Any, recorder: Any) -> None:
    server = start(intercept=answering(500, "/upload"))
    assert go(server, count=4) in (NO_SERVER, SOME_JOBS_FAILED)
    assert len(recorder.of("failed")) <= 2
    assert "a full disk there" in "\n".join(recorder.lines)


@pytest.mark.parametrize(
    "text",
    ["[Errno 28] No space left on device: 'x.png'", "[Errno 122] Disk quota exceeded", "[WinError 112] There is ..."],
)
def test_a_full_disk_on_the_server_is_told_once(start: Any, go: Any, recorder: Any, text: str) -> None:
    server = start(fail=dict.fromkeys(range(100), "OSError"), fail_text=text)
    assert go(server) == NO_SERVER
    assert "\n".join(recorder.lines).count("is full") == 1
    assert recorder.of("failed") == []
    assert go(start()) == OK, "the same command goes on"


def redirecting(status: int, target: Callable[[web.Request], str], path: str = "/") -> Callable[..., Any]:
    def intercept(request: web.Request) -> web.Response | None:
        if not request.path.startswith(path):
            return None
        return web.Response(status=status, headers={"Location": target(request)})

    return intercept


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_the_same_server_elsewhere_is_followed_once_and_for_all(
    start: Any, go: Any, pairs: Any, tmp_path: Path, recorder: Any, status: int
) -> None:
    real = start()
    old = start(intercept=redirecting(status, lambda request: real.url + request.path_qs))
    assert go(old) == OK
    pairs(tmp_path / "out").assert_whole(4)
    assert len(real.posted) == 4 and old.posted == []
    assert any("redirects to" in warning["text"] for warning in recorder.of("warning"))
    assert all(record["server"]["kind"] == "comfyui" for record in pairs(tmp_path / "out").records)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("path", ["/prompt", "/upload", "/view"])
def test_a_redirect_in_the_middle_keeps_method_and_body(
    start: Any, go: Any, pairs: Any, tmp_path: Path, status: int, path: str
) -> None:
    """A POST that came as a GET would be answered with something else."""

    server = start(intercept=redirecting(status, lambda request: f"/api{request.path_qs}", path))
    assert go(server) == OK
    pairs(tmp_path / "out").assert_whole(4)
    assert len(server.posted) == 4


def test_a_page_to_log_in_is_explained(start: Any, go: Any, recorder: Any) -> None:
    target = "https://login.example/start?token=geheim"
    assert go(start(intercept=redirecting(302, lambda _: target))) == NO_SERVER
    text = "\n".join(recorder.lines)
    assert "https://login.example/start" in text and "--header-file" in text and "geheim" not in text


@pytest.mark.parametrize("target", ["http://[::1", "ftp://x/system_stats", "//", "http://h:99999/system_stats"])
def test_a_redirect_to_nowhere_is_explained(start: Any, go: Any, recorder: Any, target: str) -> None:
    assert go(start(intercept=redirecting(302, lambda _: target))) == NO_SERVER
    assert "error:" in "\n".join(recorder.lines)


def test_a_redirect_in_a_circle_ends(start: Any, go: Any, recorder: Any) -> None:
    assert go(start(intercept=redirecting(302, lambda request: request.path_qs))) == NO_SERVER
    assert "round in a circle" in "\n".join(recorder.lines)


def test_a_log_in_is_not_taken_to_another_host(start: Any, go: Any, recorder: Any) -> None:
    seen: list[str] = []

    def spy(request: web.Request) -> None:
        seen.append(str(request.headers))

    stranger = start(intercept=spy)
    server = start(intercept=redirecting(302, lambda request: stranger.url + request.path_qs))
    assert go(server.url.replace("//", "//user:geheim@")) == NO_SERVER
    assert seen == []
    assert "sends us elsewhere" in "\n".join(recorder.lines)


NONSENSE = ["", "null", "[]", "3", '"x"', "{}", "[" * 100_000, '{"a": 1', "\ud800".encode("utf-8", "surrogatepass")]


@pytest.mark.parametrize("body", NONSENSE, ids=range(len(NONSENSE)))
@pytest.mark.parametrize("path", ["/system_stats", "/object_info", "/queue", "/history", "/prompt", "/upload", "/view"])
def test_nonsense_is_an_answer_like_any_other(start: Any, go: Any, recorder: Any, path: str, body: Any) -> None:
    raw = body if isinstance(body, bytes) else body.encode()
    server = start(intercept=answering(200, path, times=3, body=raw, content_type="application/json"))
    assert go(server, count=1) in (OK, SOME_JOBS_FAILED, NO_SERVER, BAD_REQUEST)
    text = "\n".join(recorder.lines)
    assert "Traceback" not in text and "fault of DefectForge" not in text


@pytest.mark.parametrize(
    "entry", [{"status": 3}, {"status": {"messages": 3}}, {"outputs": [1]}, {"status": [], "x": 1}]
)
def test_a_history_entry_that_is_none_fails_that_job(start: Any, go: Any, recorder: Any, entry: Any) -> None:
    def intercept(request: web.Request) -> web.Response | None:
        prompt_id = request.path.rpartition("/")[2]
        return web.json_response({prompt_id: entry}) if request.path.startswith("/history") else None

    assert go(start(intercept=intercept), count=1) == SOME_JOBS_FAILED
    assert "fault of DefectForge" not in "\n".join(recorder.lines)


def test_a_websocket_that_a_proxy_refuses_is_told_once_and_results_come_all_the_same(
    start: Any, go: Any, pairs: Any, tmp_path: Path, recorder: Any
) -> None:
    assert go(start(intercept=answering(404, "/ws"))) == OK
    pairs(tmp_path / "out").assert_whole(4)
    assert sum("upgrades of /ws" in warning["text"] for warning in recorder.of("warning")) == 1


@pytest.mark.parametrize("frame", ["", "[1]", "3", "{", '{"data": [1], "type": 3}', "[" * 100_000])
def test_a_frame_may_be_anything(frame: str) -> None:
    message = message_of(frame)
    assert message is None or isinstance(message.data, dict)
