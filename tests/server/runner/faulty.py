"""A scripted server for faults that a real one does not make on demand. It answers at once with drawn pairs."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiohttp import WSMsgType, web
from PIL import Image


@dataclass
class Script:
    """Which faults to make; numbers count down or name jobs by their order of arrival, from 0."""

    answer_500_but_queue: set[int] = field(default_factory=set)
    answer_500: set[int] = field(default_factory=set)
    answer_never_but_queue: set[int] = field(default_factory=set)
    """Queued, and the connection breaks before the answer."""
    answer_node_errors: set[int] = field(default_factory=set)
    lose: set[int] = field(default_factory=set)
    fail: dict[int, str] = field(default_factory=dict)  # job -> exception type
    never_finish: set[int] = field(default_factory=set)
    ignore_interrupts: bool = False
    empty_history_answers: int = 0
    drop_socket_before: set[int] = field(default_factory=set)
    deaf: bool = False
    spoil: Callable[[int, dict[str, bytes]], dict[str, bytes]] | None = None
    die_while_running: int = 0
    seconds_away: float = 1.0
    forget_inputs: bool = False
    """A restart finds an empty input folder."""
    intercept: Callable[[web.Request], web.StreamResponse | None] | None = None
    """Answers in the server's place where it gives something, as a proxy before it would."""
    fail_text: str = "it did not work"
    seconds: float = 0.02
    """How long a job takes; it sleeps."""
    announce: bool = False
    """Tell what nodes made over the socket, too, as ComfyUI does."""
    refuse: Callable[[int], str | None] | None = None
    """Why every draw of a job is refused; None where it is kept."""


def pictures(photo: bytes) -> dict[str, bytes]:
    try:
        with Image.open(io.BytesIO(photo)) as opened:
            image = opened.convert("RGB")
    except Exception:  # a photo that only this server cannot read
        image = Image.new("RGB", (16, 16))
    mask = Image.new("L", image.size, 0)
    mask.paste(255, (2, 2, 8, 8))
    return {"image": as_png(image), "mask": as_png(mask)}


def as_png(picture: Image.Image | np.ndarray) -> bytes:
    buffer = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(buffer, format="PNG")
    return buffer.getvalue()


class FaultyServer:
    """ComfyUI's protocol as the runner uses it, on a thread of its own."""

    def __init__(
        self,
        object_info: dict[str, Any],
        script: Script,
        files: MutableMapping[str, bytes] | None = None,
        port: int = 0,
    ) -> None:
        self.object_info, self.script = object_info, script
        self.files: MutableMapping[str, bytes] = {} if files is None else files
        self.history: dict[str, Any] = {}
        self.pending: list[str] = []
        self.running: str | None = None
        self.posted: list[dict[str, Any]] = []
        self.executed: list[str] = []
        self.deleted: list[str] = []
        self.interrupted: list[str] = []
        self.freed = 0
        self.times: list[tuple[float, float]] = []
        """When each job began and ended."""
        self.connections = 0
        self._sockets: list[web.WebSocketResponse] = []
        self._loop = asyncio.new_event_loop()
        self._wake = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.url = ""
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.call(self._start(port))

    def call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=10)

    def stop(self) -> None:
        self.call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    async def _start(self, port: int) -> None:
        app = web.Application(client_max_size=1 << 27, middlewares=[self._before])
        get, post = web.get, web.post
        routes = [
            get("/system_stats", self._stats),
            get("/object_info", self._info),
            get("/history/{id}", self._get_history),
            get("/queue", self._get_queue),
            get("/view", self._view),
            get("/ws", self._ws),
            post("/queue", self._post_queue),
            post("/prompt", self._post_prompt),
            post("/upload/image", self._upload),
            post("/interrupt", self._interrupt),
            post("/free", self._free),
        ]
        app.add_routes(routes)
        # As ComfyUI: every route has a second address.
        app.add_routes([web.RouteDef(r.method, f"/api{r.path}", r.handler, r.kwargs) for r in routes])
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, reuse_address=True)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"
        self._work = asyncio.ensure_future(self._worker())

    @web.middleware
    async def _before(self, request: web.Request, handler: Any) -> web.StreamResponse:
        answer = self.script.intercept(request) if self.script.intercept is not None else None
        return answer if answer is not None else await handler(request)

    async def _stop(self) -> None:
        self._work.cancel()
        for socket in list(self._sockets):
            await socket.close()
        assert self._runner is not None
        await self._runner.cleanup()

    async def _restart(self) -> None:
        """As after kill -9: nothing is remembered, the address stays."""
        port = int(self.url.rpartition(":")[2])
        self._work.cancel()
        self.history.clear()
        self.pending.clear()
        self.running = None
        if self.script.forget_inputs:
            for name in [name for name in self.files if name.startswith("input/")]:
                del self.files[name]
        for socket in list(self._sockets):
            if socket._req is not None and socket._req.transport is not None:
                socket._req.transport.abort()
        assert self._runner is not None
        await self._runner.cleanup()
        await asyncio.sleep(self.script.seconds_away)
        await self._start(port)

    # ---- what the runner asks

    async def _stats(self, _: web.Request) -> web.Response:
        return web.json_response({"system": {"comfyui_version": "0.3.64", "python_version": "3"}, "devices": []})

    async def _info(self, _: web.Request) -> web.Response:
        return web.json_response(self.object_info)

    async def _get_queue(self, _: web.Request) -> web.Response:
        running = [[0, self.running, {}, {}, []]] if self.running else []
        pending = [[n, prompt_id, {}, {}, []] for n, prompt_id in enumerate(self.pending, 1)]
        return web.json_response({"queue_running": running, "queue_pending": pending})

    async def _post_queue(self, request: web.Request) -> web.Response:
        for prompt_id in (await request.json()).get("delete", []):
            self.deleted.append(prompt_id)
            if prompt_id in self.pending:
                self.pending.remove(prompt_id)
        return web.Response()

    async def _get_history(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        if prompt_id in self.history and self.script.empty_history_answers > 0:
            self.script.empty_history_answers -= 1
            return web.json_response({})
        entry = self.history.get(prompt_id)
        return web.json_response({prompt_id: entry} if entry else {})

    async def _view(self, request: web.Request) -> web.Response:
        query = request.query
        data = self.files.get(f"{query['type']}/{query['subfolder']}/{query['filename']}")
        return web.Response(body=data) if data is not None else web.Response(status=404)

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        upload = form["image"]
        assert isinstance(upload, web.FileField)
        self.files[f"input/{form['subfolder']}/{upload.filename}"] = upload.file.read()
        return web.json_response({"name": upload.filename, "subfolder": form["subfolder"], "type": "input"})

    async def _interrupt(self, request: web.Request) -> web.Response:
        prompt_id = (await request.json())["prompt_id"]
        self.interrupted.append(prompt_id)
        if not self.script.ignore_interrupts and self.running == prompt_id:
            self._finish(prompt_id, "error", [["execution_interrupted", {}]])
            self._wake.set()
        return web.Response()

    async def _free(self, request: web.Request) -> web.Response:
        await request.json()  # without a body: 500, as from ComfyUI
        self.freed += 1
        return web.Response()

    async def _post_prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        order = len(self.posted)
        self.posted.append(body)
        prompt_id = body["prompt_id"]
        if order not in self.script.lose | self.script.answer_500:
            self.pending.append(prompt_id)
        await self._tell("status", {"status": {"exec_info": {"queue_remaining": len(self.pending)}}})
        self._wake.set()
        if order in self.script.answer_never_but_queue:
            assert request.transport is not None
            request.transport.abort()
        if order in self.script.answer_500_but_queue | self.script.answer_500:
            return web.Response(status=500, text="Server got itself in trouble")
        errors = {}
        if order in self.script.answer_node_errors:
            errors = {"4": {"class_type": "X", "errors": [{"message": "Value not in list", "details": "mask"}]}}
        return web.json_response({"prompt_id": prompt_id, "number": order, "node_errors": errors})

    async def _ws(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connections += 1
        self._sockets.append(socket)
        if self.script.deaf and self.connections > 1:
            self.script.deaf = False
        if not self.script.deaf:
            await socket.send_json({"type": "status", "data": {"sid": request.query["clientId"]}})
        async for message in socket:
            if message.type is WSMsgType.ERROR:
                break
        self._sockets.remove(socket)
        return socket

    async def _tell(self, kind: str, data: dict[str, Any]) -> None:
        if self.script.deaf:
            return
        for socket in list(self._sockets):
            try:
                await socket.send_json({"type": kind, "data": data})
            except (ConnectionError, RuntimeError):
                continue

    # ---- what it does with jobs

    def order_of(self, prompt_id: str) -> int:
        return next(n for n, body in enumerate(self.posted) if body["prompt_id"] == prompt_id)

    async def _worker(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self.pending and self.running is None:
                await self._execute(self.pending.pop(0))

    async def _execute(self, prompt_id: str) -> None:
        order = self.order_of(prompt_id)
        self.running = prompt_id
        self.executed.append(prompt_id)
        began = time.time()
        await self._tell("execution_start", {"prompt_id": prompt_id})
        await asyncio.sleep(self.script.seconds)
        if self.script.die_while_running:
            self.script.die_while_running -= 1
            self._dying = asyncio.ensure_future(self._restart())
            await asyncio.sleep(60)
        if order in self.script.never_finish:
            await self._wake.wait()
            while self.running == prompt_id:
                self._wake.clear()
                await self._wake.wait()
            await self._tell("executing", {"node": None, "prompt_id": prompt_id})
            return
        if order in self.script.drop_socket_before:
            for socket in list(self._sockets):
                await socket.close()
        if order not in self.script.fail and not self._has_photo(order):
            error = {"node_id": "1", "exception_type": "FileNotFoundError", "exception_message": "no such photo"}
            self._finish(prompt_id, "error", [["execution_error", error]])
        elif order in self.script.fail:
            error = {
                "node_id": "3",
                "exception_type": self.script.fail[order],
                "exception_message": self.script.fail_text,
            }
            self._finish(prompt_id, "error", [["execution_error", error]])
        else:
            outputs = self._pair(prompt_id, order)
            self._finish(prompt_id, "success", [["execution_success", {}]], outputs)
            if self.script.announce:
                for node, output in outputs.items():
                    await self._tell("executed", {"prompt_id": prompt_id, "node": node, "output": output})
        self.times.append((began, time.time()))
        await self._tell("execution_success", {"prompt_id": prompt_id})
        await self._tell("executing", {"node": None, "prompt_id": prompt_id})

    def _finish(self, prompt_id: str, status: str, messages: list[Any], outputs: dict[str, Any] | None = None) -> None:
        self.history[prompt_id] = {"status": {"status_str": status, "messages": messages}, "outputs": outputs or {}}
        self.running = None

    def _has_photo(self, order: int) -> bool:
        root = self.posted[order]["prompt"]["1"]["inputs"]["root"]
        return any(name.startswith(f"input/{root}/") for name in self.files)

    def _pair(self, prompt_id: str, order: int) -> dict[str, Any]:
        graph = self.posted[order]["prompt"]
        reason = self.script.refuse(order) if self.script.refuse is not None else None
        if reason is not None:
            refused = {"draw": 0, "reason": reason, "scores": {"presence": 0.0}}
            return {"4": {"defectforge_pairs": [], "defectforge_refused": [refused]}}
        root = graph["1"]["inputs"]["root"]
        photo = next(data for name, data in self.files.items() if name.startswith(f"input/{root}/"))
        made = pictures(photo)
        if self.script.spoil is not None:
            made = self.script.spoil(order, made)
        folder = graph["4"]["inputs"]["filename_prefix"]
        pair: dict[str, Any] = {"record": {}}
        for role, data in made.items():
            self.files[f"output/{folder}/{role}.png"] = data
            pair[role] = {"filename": f"{role}.png", "subfolder": folder, "type": "output"}
        return {"4": {"defectforge_pairs": [pair]}} if made else {}
