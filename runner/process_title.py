"""The command line as other users of the machine see it (`ps`, /proc/PID/cmdline): without passwords.

A password in a --server address is the user's own doing, and shows until this program has started; an address without
one and DEFECTFORGE_HEADERS or --header-file never show anything.
"""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path

LOGIN = re.compile(rb"(?:^|(?<=\0))(?:--server=)?(?:[A-Za-z][A-Za-z0-9+.-]*://)([^\0]*)@|(?<=\0--server\0)([^\0]*)@")


def hide_logins() -> None:
    """Overwrite the log-in of every address among this process's arguments. Linux only: elsewhere nothing happens."""
    if not sys.platform.startswith("linux") or not any("@" in argument for argument in sys.orig_argv):
        return
    import ctypes  # late: most addresses hold no log-in

    with contextlib.suppress(OSError, ValueError, IndexError):
        # Fields 48 and 49 of proc(5): where the arguments lie. The name, field 2, may hold anything but ends with ).
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        if 0 < start < end:
            for first, last in logins(ctypes.string_at(start, end - start)):
                ctypes.memset(start + first, ord("*"), last - first)


def logins(arguments: bytes) -> list[tuple[int, int]]:
    """Where log-ins stand in arguments that are separated by zero bytes."""
    return [match.span(match.lastindex or 0) for match in LOGIN.finditer(arguments)]
