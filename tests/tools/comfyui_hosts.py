"""The real ComfyUIs at hand: cores, the windows that lie beside each, and one running with this pack linked in.

`COMFYUI_PATH` names checkouts, with the path separator between them (default: comfy-cli's workspace ~/comfy/ComfyUI).
A checkout runs with .venv/bin/python in it, else `COMFYUI_PYTHON`, else this interpreter. Windows are its own installed
one, or every ``frontend-<version>/static`` in it (the `static` folder of the package comfyui-frontend-package).
`COMFYUI_WINDOWS` and `COMFYUI_RENDERERS` narrow the choice (``1.58.1``; ``classic``, ``nodes2``), separated by commas.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT = 300
#: The folder name is part of the URLs of help pages, templates and scripts.
PACK_FOLDER = "defectforge"
CLASSIC, NODES2 = "classic", "nodes2"
#: The first window whose nodes may be drawn by Vue ("Nodes 2.0") well enough to be compared.
FIRST_NODES2 = (1, 30)


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


@dataclass(frozen=True)
class Host:
    """One checkout of ComfyUI."""

    path: Path

    @property
    def version(self) -> str:
        found = re.search(r'__version__ = "([^"]+)"', (self.path / "comfyui_version.py").read_text("utf-8"))
        return found.group(1) if found else "unknown"

    @property
    def python(self) -> Path:
        own = self.path / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        return own if own.is_file() else Path(os.environ.get("COMFYUI_PYTHON") or sys.executable)

    def windows(self) -> dict[str, Path | None]:
        """Versions of the window and where their files lie, newest first; None: the installed one."""
        found = {path.parent.name.removeprefix("frontend-"): path for path in self.path.glob("frontend-*/static")}
        if not found:
            return {"own": None}
        return dict(sorted(found.items(), key=lambda item: numbers(item[0]), reverse=True))


@dataclass(frozen=True)
class Cell:
    """A core, and the window and renderer that look at it ("" where no window is looked at)."""

    host: Host
    window: str = ""
    renderer: str = ""

    @property
    def name(self) -> str:
        return "-".join(part for part in (self.host.version, self.window, self.renderer) if part)


def _wanted(variable: str) -> list[str]:
    return [part.strip() for part in os.environ.get(variable, "").split(",") if part.strip()]


def hosts() -> list[Host]:
    """The cores at hand, in the order in which they were named."""
    named = os.environ.get("COMFYUI_PATH") or str(Path.home() / "comfy" / "ComfyUI")
    paths = [Path(part).expanduser() for part in named.split(os.pathsep) if part.strip()]
    return [Host(path) for path in paths if (path / "main.py").is_file()]


def absent() -> str:
    """Why there is no core."""
    named = os.environ.get("COMFYUI_PATH") or "~/comfy/ComfyUI"
    return f"no ComfyUI at {named}: set COMFYUI_PATH to a checkout (or several), or install one with comfy-cli"


def cores() -> list[Cell]:
    return [Cell(host) for host in hosts()]


def cells() -> list[Cell]:
    """Every core with every window in each renderer that it has."""
    found = []
    windows, renderers = _wanted("COMFYUI_WINDOWS"), _wanted("COMFYUI_RENDERERS")
    for host in hosts():
        for window in host.windows():
            if windows and window not in windows:
                continue
            both = window == "own" or numbers(window) >= FIRST_NODES2
            for renderer in (CLASSIC, NODES2) if both else (CLASSIC,):
                if not renderers or renderer in renderers:
                    found.append(Cell(host, window, renderer))
    return found


@dataclass(frozen=True)
class ComfyUI:
    """A running server and its folders."""

    url: str
    base: Path
    models: Path
    log: Path
    cell: Cell

    @property
    def version(self) -> str:
        return self.cell.host.version

    def get(self, path: str) -> Any:
        response = requests.get(self.url + path, timeout=60)
        response.raise_for_status()
        return response.json()

    def text(self, path: str) -> str:
        response = requests.get(self.url + path, timeout=60)
        response.raise_for_status()
        response.encoding = "utf-8"
        return response.text

    def object_info(self) -> dict[str, Any]:
        info: dict[str, Any] = self.get("/object_info")
        return info

    def run(self, graph: dict[str, Any], timeout: float = 600) -> dict[str, Any]:
        """Queue a graph, wait for it, give its outputs; fails with the server's own words."""
        reply = requests.post(self.url + "/prompt", json={"prompt": graph, "extra_data": {}}, timeout=60)
        assert reply.status_code == 200, reply.text
        assert not reply.json()["node_errors"], reply.text
        prompt_id = reply.json()["prompt_id"]
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            entry = self.get(f"/history/{prompt_id}").get(prompt_id)
            if entry is not None:
                assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
                outputs: dict[str, Any] = entry["outputs"]
                return outputs
            time.sleep(0.2)
        raise AssertionError(f"nothing came back within {timeout} s; the server's log is {self.log}")


@contextlib.contextmanager
def running(
    cell: Cell,
    base: Path,
    models: Path,
    *options: str,
    pack: Path = ROOT,
    environment: Mapping[str, str] | None = None,
) -> Iterator[ComfyUI]:
    """A server with own folders under `base` on a free port, stopped at the end; `pack` is linked into custom_nodes.

    `environment` is the server's alone: a proxy that is set here for both keeps the tests from their own server.
    """
    for folder in ("input", "output", "temp", "user", "custom_nodes"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    (base / "models").symlink_to(models)
    if not (base / "custom_nodes" / PACK_FOLDER).exists():
        (base / "custom_nodes" / PACK_FOLDER).symlink_to(pack)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(cell.host.python), "main.py", "--cpu", "--disable-api-nodes", "--listen", "127.0.0.1"]
    command += ["--port", str(port), "--base-directory", str(base), *options]
    # Its default is in the checkout whatever the base folder is, and only one server at a time may have it.
    command += ["--database-url", f"sqlite:///{base / 'user' / 'comfyui.db'}"]
    window = cell.host.windows().get(cell.window)
    if window is not None:
        command += ["--front-end-root", str(window)]
    log = base / "log.txt"
    own = {
        **os.environ,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(min(2, os.cpu_count() or 1)),
        **(environment or {}),
    }
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=cell.host.path, stdout=out, stderr=subprocess.STDOUT, env=own)
    server = ComfyUI(f"http://127.0.0.1:{port}", base, models, log, cell)
    try:
        _wait(server, process)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(server: ComfyUI, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            if requests.get(server.url + "/system_stats", timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.3)
    tail = server.log.read_text(errors="replace")[-3000:]
    raise AssertionError(f"ComfyUI did not start (exit code {process.poll()}):\n{tail}")


def use_renderer(server: ComfyUI, *, missing_models: bool = False) -> None:
    """Set the renderer of the windows that are opened next; no tour, and no list of model files left out on purpose.

    `missing_models`: the list is what is tested.
    """
    settings = {
        "Comfy.TutorialCompleted": True,
        "Comfy.Workflow.ShowMissingModelsWarning": missing_models,
        "Comfy.VueNodes.Enabled": server.cell.renderer == NODES2,
    }
    requests.post(server.url + "/settings", json=settings, timeout=60).raise_for_status()
