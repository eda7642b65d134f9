"""A log-in opens the server, over HTTP and WebSocket alike, and stands nowhere afterwards."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import psutil
import pytest
from aiohttp import web
from defectforge.runner.errors import BAD_REQUEST, NO_SERVER, OK

USER, PASSWORD, TOKEN = "operator", "S3cret:/p@ss?", "tok-9f8e7d6c5b4a"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
#: In every form in which they travel.
SECRETS = [PASSWORD, quote(PASSWORD, safe=""), BASIC, TOKEN]


class Guard:
    """A reverse proxy that lets in only who logs in; it sends what came with a refusal back, as careless ones do."""

    def __init__(self, target: str, wanted: dict[str, str]) -> None:
        self.target, self.wanted = target, wanted
        self.refused: list[str] = []
        self.sockets = 0
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def _start(self) -> int:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application(client_max_size=1 << 27)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port: int = self._runner.addresses[0][1]
        return port

    def stop(self) -> None:
        async def end() -> None:
            await self._session.close()
            await self._runner.cleanup()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        if any(request.headers.get(name) != value for name, value in self.wanted.items()):
            self.refused.append(request.path)
            echo = f"who are you? {request.headers.get('Authorization')} {request.headers.get('X-Key')}"
            return web.Response(status=401, text=echo, headers={"WWW-Authenticate": 'Basic realm="plant"'})
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._websocket(request)
        kept = {k: v for k, v in request.headers.items() if k not in (*self.wanted, "Host", "Content-Length")}
        body = await request.read()
        async with self._session.request(
            request.method, self.target + request.path_qs, data=body or None, headers=kept
        ) as answer:
            content = await answer.read()
            return web.Response(status=answer.status, body=content, content_type=answer.content_type)

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        self.sockets += 1
        here = web.WebSocketResponse()
        await here.prepare(request)
        async with self._session.ws_connect(self.target + request.path_qs) as there:
            waiting = asyncio.ensure_future(here.receive())
            async for message in there:
                if message.type is aiohttp.WSMsgType.TEXT:
                    await here.send_str(message.data)
                if waiting.done():
                    break
            waiting.cancel()
        return here


@pytest.fixture
def guard(embedded_server: Any) -> Iterator[Callable[..., Guard]]:
    made: list[Guard] = []

    def begin(**wanted: str) -> Guard:
        made.append(Guard(embedded_server.url, {name.replace("_", "-"): value for name, value in wanted.items()}))
        return made[-1]

    yield begin
    for one in made:
        one.stop()


@pytest.fixture
def line(nuts: Path, place_workflow: Path, tmp_path: Path) -> list[Any]:
    return ["run", place_workflow, "--data", nuts, "--category", "hazelnut", "--count", 3, "--out", tmp_path / "out"]


def assert_nowhere(folder: Path, *texts: str) -> None:
    """In no file below `folder` (the journal and its log among them), in no text."""
    read = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert any(name.endswith("run.sqlite") for name in read) or not (folder / "out").exists()
    for name, content in [*read.items(), *((f"text {n}", text.encode()) for n, text in enumerate(texts))]:
        for secret in SECRETS:
            assert secret.encode() not in content, f"{secret} in {name}"


def logged_in(guard: Guard) -> str:
    return f"http://{USER}:{quote(PASSWORD, safe='')}@{guard.host}"


@pytest.mark.parametrize("json_option", [[], ["--json"]], ids=["lines", "json"])
def test_user_and_password_of_the_address_log_in_and_are_nowhere(
    cli: Any, guard: Any, line: list[Any], tmp_path: Path, pairs: Any, json_option: list[str]
) -> None:
    door = guard(Authorization=f"Basic {BASIC}")
    done = cli(*line, "--server", logged_in(door), *json_option)
    assert done.returncode == OK, done.stderr + done.stdout
    pairs(tmp_path / "out").assert_whole(3)
    assert door.refused == [] and door.sockets >= 1, "HTTP and WebSocket alike"
    assert_nowhere(tmp_path, done.stdout, done.stderr)


def test_headers_of_a_file_and_of_the_environment_log_in_and_are_nowhere(
    cli: Any,
    guard: Any,
    line: list[Any],
    tmp_path: Path,
    environment: dict[str, str],
    tmp_path_factory: Any,
    pairs: Any,
) -> None:
    door = guard(Authorization=f"Bearer {TOKEN}", X_Key=PASSWORD)
    file = tmp_path_factory.mktemp("secret") / "headers"
    file.write_text(f"# for the plant\nAuthorization: Bearer {TOKEN}\n\n")
    environment["DEFECTFORGE_HEADERS"] = f"X-Key: {PASSWORD}\nAuthorization: Bearer another"
    done = cli(*line, "--server", door.host, "--header-file", file, "--json")
    assert done.returncode == OK, done.stdout
    pairs(tmp_path / "out").assert_whole(3)
    assert door.refused == [] and door.sockets >= 1
    again = cli("check", line[1], "--server", door.host, "--header-file", file)
    assert again.returncode == OK, again.stderr
    record = cli("rerun", f"{tmp_path / 'out'}/manifest.jsonl:1", "--server", door.host, "--header-file", file,
                 "--out", tmp_path / "again")  # fmt: skip
    assert record.returncode == OK, record.stderr
    assert_nowhere(tmp_path, *(text for d in (done, again, record) for text in (d.stdout, d.stderr)))


@pytest.mark.parametrize("json_option", [[], ["--json"]], ids=["lines", "json"])
def test_a_wrong_log_in_is_one_message_without_it(
    cli: Any, guard: Any, line: list[Any], tmp_path: Path, json_option: list[str]
) -> None:
    door = guard(Authorization="Basic other", X_Key="other")
    done = cli(*line, "--server", logged_in(door), *json_option)
    assert done.returncode == NO_SERVER
    assert "does not let us in" in done.stderr + done.stdout
    assert_nowhere(tmp_path, done.stdout, done.stderr)


def test_a_log_in_that_ends_in_the_middle_stops_the_run_and_the_journal_holds_no_secret(
    go: Any, start: Any, recorder: Any, tmp_path: Path, pairs: Any
) -> None:
    seen = [0]

    def expires(request: web.Request) -> web.Response | None:
        seen[0] += request.path == "/prompt"
        echo = request.headers.get("Authorization", "")
        return web.Response(status=401, text=echo) if seen[0] > 2 and request.path == "/prompt" else None

    server = start(intercept=expires)
    assert go(server.url.replace("//", f"//{USER}:{quote(PASSWORD, safe='')}@")) == NO_SERVER
    assert_nowhere(tmp_path, *recorder.lines, str(recorder.events))


def test_an_error_that_quotes_the_log_in_is_kept_without_it(go: Any, start: Any, recorder: Any, tmp_path: Path) -> None:
    def quotes(request: web.Request) -> web.Response | None:
        echo = f"bad request with {request.headers.get('Authorization')}"
        return web.Response(status=400, text=echo) if request.path == "/prompt" else None

    server = start(intercept=quotes)
    go(server.url.replace("//", f"//{USER}:{quote(PASSWORD, safe='')}@"))
    assert "bad request with ***" in recorder.of("failed")[0]["text"]
    assert_nowhere(tmp_path, *recorder.lines, str(recorder.events))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux lets a process change its title so")
def test_the_process_title_shows_no_password(spawn: Any, guard: Any, line: list[Any]) -> None:
    door = guard(Authorization=f"Basic {BASIC}")
    process: subprocess.Popen[str] = spawn(*line, "--count", 50, "--server", logged_in(door), "--json")
    assert process.stdout is not None
    assert process.stdout.readline(), "it has begun"
    with contextlib.suppress(psutil.NoSuchProcess):
        shown = "\n".join(psutil.Process(process.pid).cmdline())
        assert str(door.port) in shown
        assert not any(secret in shown for secret in SECRETS), shown


WRONG = [
    ("no colon here", "it is not 'Name: value'"),
    ("Host: other", "belongs to the protocol"),
    ("Content-Length: 3", "belongs to the protocol"),
    (f"Authorization : {TOKEN}\nX:", "line 2"),
    (f"X: {TOKEN}\x07", "characters that a header cannot have"),
    ("\x00\x01", "it is not 'Name: value'"),
    ("X: " + "y" * 70_000, "longer than any server takes"),
]


@pytest.mark.parametrize(("content", "expected"), WRONG)
def test_a_header_file_that_is_none_is_refused_without_its_values(
    cli: Any, line: list[Any], tmp_path: Path, content: str, expected: str
) -> None:
    file = tmp_path / "headers"
    file.write_text(content)
    done = cli(*line, "--server", "127.0.0.1:9", "--header-file", file)
    assert done.returncode == BAD_REQUEST, done.stderr
    assert expected in done.stderr and TOKEN not in done.stderr
    assert not (tmp_path / "out").exists()
