"""How a ComfyUI of this machine is launched for a run: its own port and folders, our nodes in it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...embedded.launch import RunningServer, log_tail
from ...errors import request_error, server_error
from .launched import GUARD, Start

#: Seconds within which it has to answer; a ComfyUI with many packs takes minutes.
TIMEOUT = 600.0
PACK = Path(__file__).resolve().parents[3]
PYTHONS = (
    ".venv/bin/python",
    "venv/bin/python",
    ".venv/Scripts/python.exe",
    "venv/Scripts/python.exe",
    "../python_embeded/python.exe",
)


def comfyui(
    path: Path, arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None, cpu: bool = False
) -> Start:
    """
    Args:
        path: a checkout, with the virtual environment that it runs with in it (`.venv`, `venv` or the portable one), or
            one that runs with this Python.
        arguments: for its main.py, beside ours.
        environment: variables beside those of this process.
        cpu: there is no GPU for it.

    Raises:
        RequestError: there is no ComfyUI.
    """
    home = path.expanduser().resolve()
    options = home / "comfy" / "cli_args.py"
    if not (home / "main.py").is_file() or not options.is_file():
        raise request_error(
            "launch.no_comfyui",
            f"there is no ComfyUI in '{path}'",
            where=f"--comfyui {path}",
            expected="a folder with ComfyUI's main.py",
            mend="give the folder that holds main.py, or leave --comfyui away for the embedded server",
        )
    known = set(re.findall(r'"(--[a-z-]+)"', options.read_text("utf-8", "replace")))
    python = next((home / name for name in PYTHONS if (home / name).is_file()), Path(sys.executable))

    def start(folder: Path) -> RunningServer:
        port = free_port()
        command = [*GUARD, str(python), str(home / "main.py"), "--listen", "127.0.0.1", "--port", str(port)]
        for kind in ("input", "output", "temp", "user"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            if f"--{kind}-directory" in known:
                command += [f"--{kind}-directory", str(folder / kind)]
        if "--database-url" in known:
            # The one beside the checkout is locked by the first process that takes it.
            command += ["--database-url", f"sqlite:///{(folder / 'user' / 'comfyui.db').as_posix()}"]
        if "--disable-auto-launch" in known:
            command.append("--disable-auto-launch")
        if cpu and "--cpu" not in arguments:
            command.append("--cpu")
        if not has_pack(home):
            command += ["--extra-model-paths-config", str(_with_pack(folder))]
        log = folder / "server.log"
        with log.open("ab") as messages:
            process = subprocess.Popen(
                [*command, *arguments],
                cwd=home,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.PIPE,
                stdout=messages,
                stderr=messages,
                text=True,
                start_new_session=True,
            )
        server = RunningServer(f"http://127.0.0.1:{port}", process, log)
        try:
            _wait(server)
        except BaseException:
            server.stop()
            raise
        return server

    return start


def has_pack(home: Path) -> bool:
    """Whether DefectForge is among its custom nodes already."""
    for project in (home / "custom_nodes").glob("*/pyproject.toml"):
        with contextlib.suppress(OSError):
            if re.search(r'(?m)^name = "defectforge"', project.read_text("utf-8", "replace")):
                return True
    return False


def _with_pack(folder: Path) -> Path:
    """A further folder of custom nodes that holds this very pack, and the file that names it."""
    nodes = folder / "custom_nodes"
    nodes.mkdir(exist_ok=True)
    link = nodes / "defectforge"
    if not link.exists():
        try:
            link.symlink_to(PACK, target_is_directory=True)
        except OSError as error:
            raise server_error(
                "launch.no_link",
                f"DefectForge is not among that ComfyUI's custom nodes, and cannot be linked in: {error}",
                where=str(link),
                mend="install DefectForge in its custom_nodes",
            ) from error
    config = folder / "defectforge_paths.yaml"
    config.write_text(json.dumps({"defectforge": {"custom_nodes": str(nodes)}}), encoding="utf-8")
    return config


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(server: RunningServer) -> None:
    """Until it answers. Raises ServerError."""
    deadline = time.monotonic() + TIMEOUT
    ask = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        code = server.process.poll()
        if code is not None:
            raise server_error(
                "server.died_starting",
                f"ComfyUI ended while starting (exit code {code})",
                where=f"its log, {server.log}, ends with:\n{log_tail(server.log)}",
                mend="see the last lines of that log",
            )
        with contextlib.suppress(OSError, ValueError), ask.open(f"{server.url}/system_stats", timeout=5) as answer:
            if answer.status == 200 and server.process.poll() is None:
                return
        time.sleep(0.25)
    raise server_error(
        "server.slow",
        f"ComfyUI did not answer within {TIMEOUT:.0f} s",
        where=f"its log, {server.log}, ends with:\n{log_tail(server.log)}",
        mend="see the last lines of that log",
    )
