"""A server that a run launched: started, started anew where it died, and swept up behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ...errors import server_error

if TYPE_CHECKING:
    from ...embedded.launch import RunningServer

#: Deaths in a row without a job in between; after these somebody should look.
MAX_DEATHS = 3
PREFIX = "defectforge-run-"
#: What ends a server with its run.
GUARD = (sys.executable, str(Path(__file__).with_name("guard.py")))

Start = Callable[[Path], "RunningServer"]


class Launched:
    """One server process after another. Its uploads, results and log lie in `folder`."""

    def __init__(self, name: str, start: Start, folder: Path) -> None:
        """
        Args:
            name: as messages call it.
            start: starts it with its files in a folder, and waits until it answers. Raises ServerError.
        """
        self.name, self._start, self.folder = name, start, folder
        self._running: RunningServer | None = None
        self._deaths = 0
        self._stopped = False
        self._lock = threading.Lock()

    def start(self) -> str:
        """Raises ServerError."""
        running = self._start(self.folder)
        with self._lock:
            self._running = running
            stopped = self._stopped
        if stopped:  # meanwhile
            running.stop()
        return running.url

    def address(self, anew: bool = False) -> str:
        """The address to go on with: the present one while the process lives, else that of a new process.

        Args:
            anew: end it first; it hangs.

        Raises:
            ServerError: it died too often, or does not start.
        """
        running = self._running
        if running is not None:
            if anew:
                running.stop()
            if running.process.poll() is None:
                return running.url
            self._deaths += 1
            if self._deaths > MAX_DEATHS:
                self._deaths = 0  # the pauses grow, the tries go on
                raise server_error(
                    "server.keeps_dying",
                    f"{self.name} ended {MAX_DEATHS + 1} times in a row (exit code {running.process.returncode})",
                    where=f"its log ends with:\n{running.tail()}",
                    expected="a server that keeps running",
                    mend="look at that log; a machine that runs out of memory kills it: close other programs, or use "
                    "--server URL of a bigger machine",
                )
            running.stop()
        return self.start()

    def worked(self, files: Iterable[dict[str, Any]]) -> None:
        """A job of it was committed: its files are not needed here any more, and it is well."""
        self._deaths = 0
        for file in files:
            if file.get("type") == "output":
                place = self.folder / "output" / str(file.get("subfolder", "")) / str(file.get("filename", ""))
                with contextlib.suppress(OSError):
                    place.unlink()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            running, self._running = self._running, None
        if running is not None:
            running.stop()


class RunFolder:
    """A temporary folder named after this process; those of runs that were killed are removed."""

    def __init__(self) -> None:
        sweep()
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


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
