"""Stands between a run and a server that it launched, so that no server outlives its run: `guard.py COMMAND...`.

The run holds the other end of this process's standard input. When the run ends, in whatever way, kill -9 included, the
system closes that end; then the server is ended with all that it started. On Linux the server also dies with this
process. Standard library only: it is run by its path, beside whatever Python the server has.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from types import FrameType

GRACE = 4.0
"""Seconds between the wish and the force."""
PR_SET_PDEATHSIG = 1


def die_with_guard() -> None:
    """In the server's process, before it becomes the server. Linux only; elsewhere the pipe alone must do."""
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() == 1:  # the guard died before this took effect
        os._exit(1)


def end(child: subprocess.Popen[bytes]) -> None:
    """Ask it, then force it, and everything in its process group."""
    _signal(child, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE)
    _signal(child, getattr(signal, "SIGKILL", signal.SIGTERM))


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(child.pid, number)
        elif child.poll() is None:
            child.kill() if number != signal.SIGTERM else child.terminate()


def main(command: list[str]) -> int:
    """Run the command until it ends, or until nobody wants it any more. Gives its exit code."""
    options: dict[str, object] = {}
    if os.name == "posix":
        options["start_new_session"] = True
    if sys.platform == "linux":
        # This process has one thread: the signal comes at the end of the thread that started the child.
        options["preexec_fn"] = die_with_guard
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)  # type: ignore[call-overload]

    def asked(number: int, frame: FrameType | None) -> None:
        threading.Thread(target=end, args=(child,), daemon=True).start()

    signal.signal(signal.SIGTERM, asked)
    with contextlib.suppress(ValueError, OSError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(0, 4096):
                pass
        end(child)

    threading.Thread(target=watch, daemon=True).start()
    while True:
        # In slices: a signal handler runs only between two of them where a wait is not interrupted.
        try:
            code = child.wait(0.5)
            break
        except subprocess.TimeoutExpired:
            continue
    _signal(child, getattr(signal, "SIGKILL", signal.SIGTERM))
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    # Not sys.exit: the watching thread sits in a read that ends only with the process.
    os._exit(main(sys.argv[1:]))
