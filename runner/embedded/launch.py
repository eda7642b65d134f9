"""Start an embedded server as a subprocess, and stop it. Imports neither torch nor aiohttp."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ..errors import server_error

PROGRAM = Path(__file__).with_name("__main__.py")
#: Lines of the log that an error message shows.
TAIL_LINES = 20


@dataclass
class RunningServer:
    """A server that answers at `url`. Use it as a context manager, or call `stop`."""

    url: str
    process: subprocess.Popen[str]
    log: Path

    def stop(self, timeout: float = 10.0) -> None:
        """Ask the process to end (SIGTERM), and end it by force when it has not after `timeout` seconds."""
        if self.process.stdin is not None:
            # A guard stands between: it ends the server when this pipe closes (see servers/local/guard.py).
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        elif self.process.poll() is None:
            self.process.terminate()
        if self.process.poll() is None:
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The end of the server's log."""
        return log_tail(self.log, lines)

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(
    *,
    models: Iterable[Path] = (),
    input: Path | None = None,
    output: Path | None = None,
    temp: Path | None = None,
    data: Iterable[Path] = (),
    device: str | None = None,
    follow: str | None = None,
    listen: str = "127.0.0.1",
    port: int = 0,
    log: Path | None = None,
    timeout: float = 120.0,
    program: Path = PROGRAM,
    environment: Mapping[str, str] | None = None,
    guard: Sequence[str] = (),
) -> RunningServer:
    """Start a server and wait until it listens; it ends with this process at the latest.

    Args:
        models: folders with `checkpoints`, `loras`, ...; none means the default one (`DEFECTFORGE_MODELS`).
        data: datasets that nodes may read beside the input folder.
        follow: the ComfyUI whose pixels are followed (`follows.CHOICES`); the newest one by default.
        port: 0 picks a free one.
        log: file that gets the server's messages; a temporary one by default.
        timeout: seconds within which it has to listen.
        program: script to run; another one may register further core nodes before it calls `app.main`.
        environment: variables beside those of this process.
        guard: a command that runs the server's command behind it, until its standard input closes.

    Raises:
        ServerError: it ended or did not listen in time; the message holds the end of its log.
    """
    command = [*guard, sys.executable, str(program)]
    command += ["--listen", listen, "--port", str(port), "--parent-pid", str(os.getpid())]
    single = {"--input": input, "--output": output, "--temp": temp, "--device": device, "--follow": follow}
    for option, value in single.items():
        if value is not None:
            command += [option, str(value)]
    for option, values in (("--models", models), ("--data", data)):
        for entry in values:
            command += [option, str(entry)]
    if log is None:
        handle, name = tempfile.mkstemp(prefix="defectforge-server-", suffix=".log")
        os.close(handle)
        log = Path(name)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as messages:
        # Its own process group: a Ctrl-C in the terminal is for the client, which then stops the server in order.
        process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE if guard else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=messages,
            text=True,
            start_new_session=True,
        )
    server = RunningServer("", process, log)
    try:
        server.url = _ready_url(process, log, timeout)
    except BaseException:
        server.stop()
        raise
    return server


def _ready_url(process: subprocess.Popen[str], log: Path, timeout: float) -> str:
    """Wait for the line that says where the server listens; a thread keeps the pipe empty afterwards."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        # Closed by `stop`, possibly while this thread still reads.
        try:
            for line in process.stdout:
                lines.put(line)
        except ValueError:
            pass
        lines.put(None)

    threading.Thread(target=read, name="server output", daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=timeout)
        except queue.Empty:
            raise server_error(
                "server_slow", f"the embedded server did not listen within {timeout:g} s", **_log_note(log)
            ) from None
        if line is None:
            code = process.wait()
            raise server_error(
                "server_died", f"the embedded server ended while starting (exit code {code})", **_log_note(log)
            )
        try:
            message = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(message, dict) and message.get("event") == "ready":
            return str(message["url"])


def _log_note(log: Path) -> dict[str, str]:
    return {"where": f"its log, {log}, ends with:\n{log_tail(log)}", "mend": "see the last line of that log"}


def log_tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log file; of a traceback only what went wrong, the rest is for developers in the log."""
    try:
        return "\n".join(_without_frames(log.read_text("utf-8", "replace").splitlines())[-lines:]) or "(it is empty)"
    except OSError as problem:
        return f"(it cannot be read: {problem})"


def _without_frames(lines: list[str]) -> list[str]:
    kept: list[str] = []
    inside = False
    for line in lines:
        if line.startswith("Traceback (most recent call last)"):
            inside = True
        elif inside and line and not line[0].isspace():
            inside = False
        if not inside:
            kept.append(line)
    return kept
