"""Ctrl-C and SIGTERM: at any moment one orderly end.

Python turns Ctrl-C into an exception wherever the main thread happens to be. Inside an import it may come out as an
ImportError, inside a destructor it is printed and forgotten, at the very end it spoils the exit. So the fact that it
came is kept here, and whoever catches the exception asks.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]

_asked = 0
_patient = False


def asked() -> bool:
    """Whether somebody wanted this process to end."""
    return _asked > 0


def watch() -> None:
    """From now on a signal raises KeyboardInterrupt in the main thread, also one that Python would have lost."""
    global _asked
    _asked = 0
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        # A program in the background of a script, or under nohup, is meant not to hear it.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _hear)
    sys.unraisablehook = _lost


def _hear(number: int, frame: FrameType | None) -> None:
    global _asked
    _asked += 1
    if not _patient or _asked > 1:
        raise KeyboardInterrupt


def _lost(problem: Any) -> None:
    """An exception in a destructor or callback: nobody can catch it. A Ctrl-C is raised again, in a better place."""
    if issubclass(problem.exc_type, KeyboardInterrupt):
        # Not from in here: it would come at once, and be lost again.
        again = threading.Timer(0.05, _thread.interrupt_main)
        again.daemon = True
        again.start()
    elif not asked():
        sys.__unraisablehook__(problem)


@contextlib.contextmanager
def patient() -> Iterator[None]:
    """Inside, the first signal is only noted (see `asked`); the second one interrupts."""
    global _patient
    _patient = True
    try:
        yield
    finally:
        _patient = False


def ignore() -> None:
    """For the last moments, in which the exit code is known and nothing is left to stop."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def leave_at_once(number: int, frame: FrameType | None) -> None:
    """While modules are loaded there is nothing to put in order, and an exception could come out as another one."""
    os.write(2, b"interrupted\n")
    os._exit(130)


def watch_loading() -> None:
    """The handler for the time before `watch`."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, leave_at_once)
