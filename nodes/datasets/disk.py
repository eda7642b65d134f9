"""What folders hold, seen through the reader's eyes: no litter, one spelling of each name, no way out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from .errors import ReadError
from .names import is_litter, is_picture, natural_key, nfc

#: Says whether a path, its links followed, may be read.
Allowed = Callable[[Path], bool]


def anywhere(_: Path) -> bool:
    """The rule of a program that reads for the person who started it."""
    return True


class Disk:
    """Lists folders, each once. What `allowed` forbids is neither listed nor looked into, but remembered."""

    def __init__(self, allowed: Allowed = anywhere) -> None:
        self.allowed = allowed
        self.forbidden: list[Path] = []
        self._folders: dict[Path, dict[str, Path]] = {}
        self._pictures: dict[Path, list[Path]] = {}

    def folders(self, path: Path) -> dict[str, Path]:
        """{name in NFC: folder} of the folders in a folder, in natural order.

        Raises:
            OSError: a folder that may not be read.
        """
        self._read(path)
        return self._folders[path]

    def pictures(self, path: Path) -> list[Path]:
        """The picture files right in a folder, in natural order.

        Raises:
            OSError: a folder that may not be read.
        """
        self._read(path)
        return self._pictures[path]

    def folder(self, path: Path, *names: str) -> Path | None:
        """A folder some steps down, whatever the case of its letters (datasets meet file systems that know none)."""
        here = path
        for name in names:
            found = self.folders(here)
            step = found.get(name) or next((found[real] for real in found if real.lower() == name.lower()), None)
            if step is None:
                return None
            here = step
        return here

    def all_pictures(self, path: Path) -> list[Path]:
        """The pictures in a folder and, large datasets being sharded, in its subfolders: shallow before deep."""
        found = [*self.pictures(path)]
        below = [picture for folder in self.folders(path).values() for picture in self.all_pictures(folder)]
        return found + sorted(below, key=lambda p: (len(p.parts), natural_key(p.relative_to(path).as_posix())))

    def _read(self, path: Path) -> None:
        if path in self._folders:
            return
        folders: dict[str, Path] = {}
        pictures: list[Path] = []
        if path.is_dir():
            with os.scandir(path) as entries:
                for entry in entries:
                    here = path / entry.name
                    if is_litter(entry.name):
                        continue
                    if entry.is_dir():
                        # Only a link can lead out; and a link to a folder above would be walked in circles.
                        if entry.is_symlink() and not (self.allowed(here) and _leads_elsewhere(here)):
                            self.forbidden.append(here)
                        elif nfc(entry.name) in folders:
                            raise ReadError(
                                "data.same_name",
                                "has a twin of the same name in another spelling of its accents",
                                here,
                                expected="one folder of each name",
                                mend="Rename one of the two",
                            )
                        else:
                            folders[nfc(entry.name)] = here
                    elif is_picture(entry.name) and entry.is_file():
                        pictures.append(here)
        self._folders[path] = dict(sorted(folders.items(), key=lambda item: natural_key(item[0])))
        self._pictures[path] = sorted(pictures, key=lambda p: natural_key(nfc(p.name)))


def _leads_elsewhere(link: Path) -> bool:
    return not link.parent.resolve().is_relative_to(link.resolve())
