"""Files that are whole or not there: written under another name, synced, renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

#: Straight to the system: a buffer between would cost more than a file of this size does.
WRITE = os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0)


def part_of(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file in one step. Whatever stops it, no half of it is left behind. Raises OSError."""
    part = part_of(path)
    try:
        write_synced(part, data)
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_synced(path: Path | str, data: bytes) -> None:
    """Write a file that is on the disk when this returns. Raises OSError."""
    descriptor = os.open(path, WRITE | os.O_TRUNC, 0o666)
    try:
        _write(descriptor, data)
    finally:
        os.close(descriptor)


def append_synced(path: Path, data: bytes) -> None:
    """Put bytes at the end of a file, all or none, on the disk when this returns. Raises OSError."""
    descriptor = os.open(path, WRITE | os.O_APPEND, 0o666)
    try:
        whole = os.fstat(descriptor).st_size
        try:
            _write(descriptor, data)
        except OSError:
            # A full disk takes a part of it: take it back, others may read this file now.
            with contextlib.suppress(OSError):
                os.truncate(path, whole)
                if not whole:
                    path.unlink()  # nothing was there, or nothing was in it
            raise
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)


def sync_folder(folder: Path | str) -> None:
    """Makes a rename durable; Windows has no such call."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Listing:
    """Which files lie below a folder, as they lay when first asked: one listing a folder, not one look a file."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[str, set[str]] = {}

    def __contains__(self, name: str) -> bool:
        return self.holds((name,))

    def holds(self, names: Iterable[str]) -> bool:
        """Whether all of them are there."""
        for name in names:
            folder, _, file = name.rpartition("/")
            there = self._folders.get(folder)
            if there is None:
                there = self._folders[folder] = self._listed(folder)
            if file not in there:
                return False
        return True

    def _listed(self, folder: str) -> set[str]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(self._root / folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
        return set()
