"""Our own server for a run: started on a free loopback port, started anew if it dies, stopped and swept at the end."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ..errors import server_error

if TYPE_CHECKING:
    from ..embedded.launch import RunningServer

NEEDED = ("torch", "aiohttp", "diffusers", "transformers")
MAX_RESTARTS = 3
PREFIX = "defectforge-run-"


class LocalServer:
    """Context manager. Uploads, results and the log live in a temporary folder that goes with it."""

    def __init__(self, models: Path | None, device: str | None = None) -> None:
        missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            raise server_error(
                "server.no_embedded",
                f"the embedded server cannot start: {', '.join(missing)} not installed",
                expected="a ComfyUI server given with --server, or the embedded server's dependencies",
                mend="pip install 'defectforge[runner,embedded]', or add --server URL",
            )
        self._models = [models] if models is not None else []
        self._device = device
        sweep()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self._running: RunningServer | None = None
        self._restarts = 0

    def start(self) -> str:
        from ..embedded import launch

        place = self._folder
        self._running = launch.start(
            models=self._models,
            input=place / "input",
            output=place / "output",
            temp=place / "temp",
            device=self._device,
            log=place / "server.log",
        )
        return self._running.url

    def revive(self) -> str:
        """The address to go on with: the present one while the process lives, else that of a new process.

        Raises:
            ServerError: it died too often.
        """
        assert self._running is not None
        if self._running.process.poll() is None:
            return self._running.url
        if self._restarts >= MAX_RESTARTS:
            raise server_error(
                "server.keeps_dying",
                f"the embedded server ended {self._restarts + 1} times (exit code {self._running.process.returncode})",
                where=f"its log ends with:\n{self._running.tail()}",
                expected="a server that keeps running",
                mend="look at that log; a machine that runs out of memory kills it: close other programs, or use "
                "--server URL of a bigger machine",
            )
        self._restarts += 1
        self._running.stop()
        return self.start()

    def stop(self) -> None:
        if self._running is not None:
            self._running.stop()
            self._running = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> LocalServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def sweep() -> None:
    """Remove the folders of runs that were killed: their process is gone."""
    if os.name != "posix":
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        pid = folder.name[len(PREFIX) :].partition("-")[0]
        if not pid.isdigit():
            continue
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except PermissionError:
            continue
