"""Start of the embedded server process: arguments, nodes, listening, and a clean end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

from aiohttp import web

from ....nodes import host as node_host
from .. import core_nodes, folders, follows
from ..api import standin
from ..execution.registry import PackNode, Registry
from ..host import EmbeddedHost
from .server import EmbeddedServer

log = logging.getLogger("defectforge.embedded")

#: How long a stopping server waits for a node that does not look at the interruption.
STOP_SECONDS = 5.0


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    base = folders.default_models_directory().parent / "server"
    parser = argparse.ArgumentParser(
        prog="python -m defectforge.runner.embedded",
        description="A local server that speaks ComfyUI's protocol and runs DefectForge's nodes.",
    )
    parser.add_argument("--listen", default="127.0.0.1", metavar="ADDRESS", help="address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8189, help="0 picks a free one (default: %(default)s)")
    parser.add_argument("--models", type=Path, action="append", default=[], metavar="DIR", help="repeatable")
    parser.add_argument("--input", type=Path, default=base / "input", metavar="DIR")
    parser.add_argument("--output", type=Path, default=base / "output", metavar="DIR")
    parser.add_argument(
        "--temp", type=Path, metavar="DIR", help="previews go to a new folder in it, removed at the end"
    )
    parser.add_argument("--data", type=Path, action="append", default=[], metavar="DIR", help="dataset; repeatable")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument(
        "--follow",
        default=follows.COMFYUI_VERSION,
        choices=follows.CHOICES,
        help="the ComfyUI whose pixels are followed; an older one repeats older pictures (default: %(default)s)",
    )
    parser.add_argument("--parent-pid", type=int, metavar="PID", help="stop when that process ends")
    return parser.parse_args(arguments)


def pack_version() -> str:
    try:
        return version("defectforge")
    except PackageNotFoundError:
        return "unknown"


def load_registry() -> Registry:
    """Core nodes and this pack's nodes. `standin.install` and `node_host.install` come first."""
    from ....nodes.extension import DefectForgeExtension

    registry = Registry(core_nodes.load().values())
    for node in asyncio.run(DefectForgeExtension().get_node_list()):
        registry.add(PackNode(node))
    return registry


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Until the event loop takes over: an end while loading leaves no folder behind either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    temp_parent = options.temp
    if temp_parent is not None:
        temp_parent.mkdir(parents=True, exist_ok=True)
    temp = Path(tempfile.mkdtemp(prefix="defectforge-", dir=temp_parent))
    try:
        place = folders.Folders(
            input=options.input,
            output=options.output,
            temp=temp,
            models=folders.model_roots(options.models),
            data=options.data,
        )
        place.create()
        # Before the seconds that loading takes: a port that is taken is told at once, and early clients just wait.
        listener = _listener(options.listen, options.port)
        folders.use(place)
        follows.use(options.follow)
        host = EmbeddedHost(pack_version(), options.device)
        node_host.install(host)
        standin.install()
        server = EmbeddedServer(load_registry(), place, host)
        asyncio.run(_serve(server, listener, options.parent_pid))
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return 0


def _listener(address: str, port: int) -> socket.socket:
    try:
        return socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    except (OSError, UnicodeError, OverflowError) as problem:
        raise SystemExit(f"cannot listen on {address}, port {port}: {problem}. Choose another --port.") from problem


def leave(code: int) -> NoReturn:
    """End the process at once.

    Taking down an interpreter with torch in it costs seconds, and would wait for a node that cannot be interrupted.
    """
    sys.stdout.flush()
    logging.shutdown()
    os._exit(code)


async def _serve(server: EmbeddedServer, listener: socket.socket, parent_pid: int | None) -> None:
    """Listen until a signal, or the end of the parent process."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in ("SIGINT", "SIGTERM"):
        # Windows has no signal handlers in its event loop; there the process is simply ended.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(getattr(signal, name), stop.set)
    if parent_pid is not None:
        _watch_parent(parent_pid, lambda: loop.call_soon_threadsafe(stop.set))
    runner = web.AppRunner(server.app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        _announce(listener)
        await stop.wait()
        log.info("stopping")
        if not await asyncio.to_thread(server.worker.stop, STOP_SECONDS):
            log.warning("a node still computes; it is left behind")
    finally:
        await runner.cleanup()


def _announce(listener: socket.socket) -> None:
    """One line for whoever started this process: where it listens."""
    address, port = listener.getsockname()[:2]
    shown = "127.0.0.1" if address == "0.0.0.0" else f"[{address}]" if ":" in address else address
    ready: dict[str, Any] = {"event": "ready", "url": f"http://{shown}:{port}", "pid": os.getpid()}
    print(json.dumps(ready), flush=True)
    log.info("listening on %s", ready["url"])


def _watch_parent(pid: int, ended: Any) -> None:
    import psutil

    def alive() -> bool:
        # A parent that died unwaited-for remains as a zombie, so its mere existence is not enough.
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        return False

    def watch() -> None:
        while alive():
            threading.Event().wait(0.5)
        log.info("the process %d that started this server has ended", pid)
        ended()

    threading.Thread(target=watch, name="parent", daemon=True).start()
