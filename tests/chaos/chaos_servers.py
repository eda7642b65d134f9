"""The servers of the chaos: processes that can be killed, each behind a proxy whose connections can be cut."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
PATIENCE = 600.0

Start = Callable[[int], "subprocess.Popen[bytes]"]


def beside(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"chaos_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """One server process on a port that stays; `front` is the proxy through which the runner reaches it."""

    start: Start
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    front: Any = None

    def up(self) -> None:
        self.process = self.start(self.port)

    def kill(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/system_stats", timeout=5).close()
                return
            time.sleep(0.1)
        raise SystemExit(f"the server on port {self.port} does not answer")


def stub(folder: Path, object_info: Path, seconds: float) -> Start:
    def start(port: int) -> subprocess.Popen[bytes]:
        program = [sys.executable, str(HERE / "stub_server.py"), str(port), str(folder), str(object_info), str(seconds)]
        return subprocess.Popen(program, stdout=subprocess.DEVNULL, start_new_session=True)

    return start


def embedded(folder: Path) -> Start:
    def start(port: int) -> subprocess.Popen[bytes]:
        program = [sys.executable, str(ROOT / "runner" / "embedded" / "__main__.py"), "--port", str(port)]
        for kind in ("input", "output", "temp", "models"):
            program += [f"--{kind}", str(folder / kind)]
        return _logged([*program, "--device", "cpu", "--parent-pid", str(os.getpid())], folder)

    return start


def comfyui(folder: Path, home: Path) -> Start:
    base = folder / "base"
    (base / "custom_nodes").mkdir(parents=True)
    (base / "custom_nodes" / "defectforge").symlink_to(ROOT)
    python = home / ".venv" / "bin" / "python"

    def start(port: int) -> subprocess.Popen[bytes]:
        program = [str(python if python.exists() else sys.executable), str(home / "main.py"), "--cpu"]
        program += ["--disable-api-nodes", "--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(base)]
        program += ["--database-url", f"sqlite:///{base / 'db'}"]
        return _logged(program, folder)

    return start


def object_info_of(folder: Path) -> Path:
    """What an embedded server answers to /object_info, for stubs; it is started for that alone."""
    server, path = Server(embedded(folder / "embedded")), folder / "object_info.json"
    try:
        server.up()
        server.wait()
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/object_info", timeout=60) as answer:
            path.write_bytes(answer.read())
    finally:
        server.kill()
    return path


def _logged(program: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


class Front:
    """A proxy before a server, whose connections can be cut."""

    def __init__(self, port: int) -> None:
        raw = beside(ROOT / "tests" / "server" / "runner" / "raw.py")

        class Cuttable(raw.RawFront):  # type: ignore[name-defined,misc]
            def _handle(self, connection: socket.socket) -> None:
                # /ws passes through like everything else.
                with contextlib.suppress(OSError):
                    try:
                        behind = socket.create_connection(self._target)
                    except OSError:
                        connection.close()
                        return
                    self._open.append(behind)
                    raw.threading.Thread(target=raw.pump, args=(behind, connection, self.mute), daemon=True).start()
                    raw.pump(connection, behind, raw.threading.Event())

        self._front = Cuttable(f"http://127.0.0.1:{port}", lambda *_: None)
        self.url = self._front.url

    def drop(self) -> None:
        cut, self._front._open[:] = list(self._front._open), []
        for connection in cut:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def stop(self) -> None:
        self._front.stop()
