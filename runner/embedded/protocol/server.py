"""The HTTP routes: ComfyUI's protocol as far as headless clients use it, each route also under `/api`."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import math
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from ...checkpoints.lora_files import metadata_of
from ..execution.prompt_queue import PromptQueue
from ..execution.registry import Registry
from ..execution.worker import Worker
from ..folders import MODEL_FOLDERS, Folders
from ..host import EmbeddedHost
from . import files, system
from .origin import origin_only
from .sockets import Sockets
from .validation import Verdict, error, validate_prompt

log = logging.getLogger(__name__)

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
MAX_UPLOAD_SIZE = 100 * 1024 * 1024


class BadRequest(Exception):
    """The request itself is wrong, before any node is looked at."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.body = {"error": error("invalid_request", message, details), "node_errors": {}}


class EmbeddedServer:
    """One server: routes, queue, worker and WebSockets around a registry of nodes."""

    def __init__(self, registry: Registry, folders: Folders, host: EmbeddedHost) -> None:
        self.registry = registry
        self.folders = folders
        self.host = host
        self.features = {"supports_preview_metadata": True, "max_upload_size": MAX_UPLOAD_SIZE}
        self.sockets = Sockets(self.features)
        self.queue = PromptQueue(self._queue_changed)
        self.worker = Worker(self.queue, registry, self.sockets)
        self._number = 0
        self.app = web.Application(client_max_size=MAX_UPLOAD_SIZE, middlewares=[origin_only, _errors])
        self._add_routes()
        self.app.on_startup.append(self._start)
        self.app.on_shutdown.append(self._stop)

    def _add_routes(self) -> None:
        routes: list[tuple[str, str, Callable[[web.Request], Awaitable[web.StreamResponse]]]] = [
            ("GET", "/", self.root),
            ("GET", "/ws", self.websocket),
            ("GET", "/prompt", self.get_prompt),
            ("POST", "/prompt", self.post_prompt),
            ("GET", "/queue", self.get_queue),
            ("POST", "/queue", self.post_queue),
            ("GET", "/history", self.get_history),
            ("POST", "/history", self.post_history),
            ("GET", "/history/{prompt_id}", self.get_history_entry),
            ("POST", "/interrupt", self.post_interrupt),
            ("POST", "/free", self.post_free),
            ("POST", "/upload/image", self.upload_image),
            ("POST", "/upload/mask", self.upload_mask),
            ("GET", "/view", self.view),
            ("GET", "/object_info", self.object_info),
            ("GET", "/object_info/{node_class}", self.object_info_entry),
            ("GET", "/embeddings", self.embeddings),
            ("GET", "/models", self.model_kinds),
            ("GET", "/models/{folder}", self.models),
            ("GET", "/view_metadata/{folder}", self.metadata),
            ("GET", "/features", self.get_features),
            ("GET", "/system_stats", self.system_stats),
        ]
        for method, path, handler in routes:
            for full_path in (path, f"/api{path}"):
                if method == "GET" and path != "/ws":
                    # HEAD too: it tells whether a file is there without sending it.
                    self.app.router.add_get(full_path, handler)
                else:
                    self.app.router.add_route(method, full_path, handler)

    async def _start(self, app: web.Application) -> None:
        self.sockets.attach(asyncio.get_running_loop())
        self.worker.start()

    async def _stop(self, app: web.Application) -> None:
        await self.sockets.close()

    # Status

    def _status(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": self.queue.remaining()}}

    def _queue_changed(self) -> None:
        self.sockets.send("status", {"status": self._status()}, None)

    def _greeting(self, client_id: str) -> list[tuple[str, dict[str, Any]]]:
        greeting: list[tuple[str, dict[str, Any]]] = [("status", {"status": self._status(), "sid": client_id})]
        run = self.worker.running
        if run is not None and run.client_id == client_id and run.node_id is not None:
            greeting.append(("executing", {"node": run.node_id, "prompt_id": run.prompt_id}))
        return greeting

    async def root(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"server": "defectforge-embedded", "version": self.host.version})

    async def websocket(self, request: web.Request) -> web.StreamResponse:
        socket: web.StreamResponse = await self.sockets.serve(request, self._greeting)
        return socket

    async def get_features(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.features)

    async def system_stats(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(system.stats(self.host.version, self.host.device()))

    # Prompts

    async def get_prompt(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._status())

    async def post_prompt(self, request: web.Request) -> web.StreamResponse:
        body = await _json_object(request)
        if "prompt" not in body:
            refused = error("no_prompt", "No prompt provided", "No prompt provided")
            return web.json_response({"error": refused, "node_errors": {}}, status=400)
        extra_data = _extra_data(body)
        targets = body.get("partial_execution_targets")
        if targets is not None and not isinstance(targets, list):
            raise BadRequest("partial_execution_targets must be a list of node ids", f"not {type(targets).__name__}")
        number = self._take_number(body)
        prompt_id = str(body.get("prompt_id") or uuid.uuid4())
        verdict: Verdict = validate_prompt(body["prompt"], self.registry, targets)
        if verdict.error is not None:
            log.warning("prompt refused: %s", verdict.error["message"])
            return _json({"error": verdict.error, "node_errors": verdict.node_errors}, status=400)
        self.queue.put(number, prompt_id, body["prompt"], extra_data, verdict.outputs)
        return _json({"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors})

    def _take_number(self, body: dict[str, Any]) -> float:
        if "number" in body:
            try:
                number = float(body["number"])
            except (TypeError, ValueError):
                number = math.nan
            if not math.isfinite(number):
                raise BadRequest("number must be a number", repr(body["number"]))
            return number
        # In front of everything: smaller than all numbers that were given out.
        taken = -self._number if body.get("front") else self._number
        self._number += 1
        return taken

    async def get_queue(self, request: web.Request) -> web.StreamResponse:
        running, pending = self.queue.listing()
        return _json({"queue_running": running, "queue_pending": pending})

    async def post_queue(self, request: web.Request) -> web.StreamResponse:
        body = await _json_object(request)
        if body.get("clear"):
            self.queue.clear()
        if "delete" in body:
            self.queue.delete(_ids(body["delete"]))
        return web.Response()

    async def post_interrupt(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await _json_object(request)
        except BadRequest:
            body = {}
        self.worker.interrupt(body.get("prompt_id") or None)
        return web.Response()

    async def post_free(self, request: web.Request) -> web.StreamResponse:
        body = await _json_object(request)
        for flag in ("unload_models", "free_memory"):
            if body.get(flag):
                self.queue.set_flag(flag)
        return web.Response()

    # History

    async def get_history(self, request: web.Request) -> web.StreamResponse:
        try:
            max_items = int(request.query["max_items"]) if "max_items" in request.query else None
            offset = int(request.query.get("offset", -1))
        except ValueError as problem:
            raise BadRequest("max_items and offset must be whole numbers", str(problem)) from problem
        return _json(self.queue.history(max_items=max_items, offset=offset))

    async def get_history_entry(self, request: web.Request) -> web.StreamResponse:
        return _json(self.queue.history(request.match_info["prompt_id"]))

    async def post_history(self, request: web.Request) -> web.StreamResponse:
        body = await _json_object(request)
        if body.get("clear"):
            self.queue.clear_history()
        if "delete" in body:
            self.queue.delete_history(_ids(body["delete"]))
        return web.Response()

    # Files

    async def upload_image(self, request: web.Request) -> web.StreamResponse:
        fields = await request.post()
        return web.json_response(await asyncio.to_thread(files.save_upload, fields, self.folders))

    async def upload_mask(self, request: web.Request) -> web.StreamResponse:
        fields = await request.post()
        return web.json_response(await asyncio.to_thread(files.save_mask, fields, self.folders))

    async def view(self, request: web.Request) -> web.StreamResponse:
        return await asyncio.to_thread(files.view, request, self.folders)

    # What there is

    async def object_info(self, request: web.Request) -> web.StreamResponse:
        return _json({node.node_id: node.info() for node in self.registry})

    async def object_info_entry(self, request: web.Request) -> web.StreamResponse:
        node = self.registry.get(request.match_info["node_class"])
        return _json({} if node is None else {node.node_id: node.info()})

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        names = self.folders.model_filenames("embeddings")
        return web.json_response([name.rsplit(".", 1)[0] for name in names])

    async def model_kinds(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(list(MODEL_FOLDERS))

    async def models(self, request: web.Request) -> web.StreamResponse:
        folder = request.match_info["folder"]
        if folder not in MODEL_FOLDERS:
            raise web.HTTPNotFound()
        return web.json_response(self.folders.model_filenames(folder))

    async def metadata(self, request: web.Request) -> web.StreamResponse:
        """What a safetensors file says about itself."""
        folder, name = request.match_info["folder"], request.query.get("filename", "")
        if folder not in MODEL_FOLDERS or not name.endswith(".safetensors"):
            raise web.HTTPNotFound()
        try:
            found = await asyncio.to_thread(metadata_of, self.folders.model_path(folder, name))
        except (OSError, ValueError) as error:
            raise web.HTTPNotFound() from error
        if not found:
            raise web.HTTPNotFound()
        return web.json_response(found)


@web.middleware
async def _errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except BadRequest as problem:
        return web.json_response(problem.body, status=400)
    except OSError as problem:
        if problem.errno not in DISK_FULL:
            raise
        log.error("the disk is full: %s", problem)
        return web.Response(status=507, text=str(problem.strerror))


def _json(data: Any, status: int = 200) -> web.Response:
    # Constants of a prompt are JSON already; what a node shows may hold more (a path, a number of numpy).
    return web.json_response(data, status=status, dumps=lambda value: json.dumps(value, default=str))


async def _json_object(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError) as problem:
        raise BadRequest("The body must be JSON", str(problem)) from problem
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object", f"not {type(body).__name__}")
    return body


def _extra_data(body: dict[str, Any]) -> dict[str, Any]:
    # null is taken as empty; in ComfyUI it ends the worker thread.
    extra_data = {} if body.get("extra_data") is None else body["extra_data"]
    if not isinstance(extra_data, dict):
        raise BadRequest("extra_data must be an object", f"not {type(extra_data).__name__}")
    extra_data = dict(extra_data)
    if body.get("client_id") is not None:
        extra_data["client_id"] = str(body["client_id"])
    return extra_data


def _ids(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise BadRequest("delete must be a list of prompt ids", f"not {type(value).__name__}")
    return [str(entry) for entry in value]
