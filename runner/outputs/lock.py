"""One run at a time on a folder: a lock that the system takes back when the process ends, also under kill -9."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class InUse(Exception):
    """Another process (or another journal of this one) holds the folder."""


class FolderLock:
    """Held from the start until `release`. The file goes with it; one that a killed process left is taken over."""

    def __init__(self, path: Path) -> None:
        """Raises InUse, OSError."""
        self._path = path
        while True:
            self._file = path.open("ab")
            try:
                _lock(self._file)
                if _same(self._file, path):
                    return
            except BaseException:
                self._file.close()
                raise
            # Removed by its last holder between our opening and our locking: that lock is worth nothing.
            self._file.close()

    def release(self) -> None:
        with contextlib.suppress(OSError):
            if fcntl is not None:
                self._path.unlink(missing_ok=True)
        self._file.close()


def is_held(path: Path) -> bool:
    """Whether somebody works in the folder right now."""
    try:
        with path.open("rb") as file:
            _lock(file)
    except InUse:
        return True
    except OSError:
        return False
    return False


def _lock(file: BinaryIO) -> None:
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError) as error:
        raise InUse from error


def _same(file: BinaryIO, path: Path) -> bool:
    if fcntl is None:
        return True
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False
