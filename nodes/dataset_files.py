"""Datasets on the server's disk: read only under allowed folders, by the addresses that the node's inputs make."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import host
from .datasets import reader
from .datasets.disk import Disk
from .datasets.layouts import SPLITS
from .datasets.names import GOOD, GOOD_NAMES, check_name, nearest, nfc, shown

#: The inputs of Load MVTec Photo that name one photo.
PHOTO = ("root", "category", "split", "type", "index")


@dataclass(frozen=True)
class Found:
    """One photo of a dataset, its path relative to the root, and how many photos there are of its type."""

    photo: reader.Photo
    relative: str
    count: int

    @property
    def path(self) -> Path:
        """The photo's file."""
        return self.photo.path

    @property
    def masks(self) -> tuple[Path, ...]:
        """The files of its masks; none for a good part."""
        return self.photo.masks

    def fingerprint(self) -> str:
        """Changes when the photo, a mask of it, or the number of photos does."""
        digest = hashlib.sha256(str(self.count).encode())
        for path in (self.path, *self.masks):
            stat = path.stat()
            digest.update(f"|{path}|{stat.st_size}|{stat.st_mtime_ns}".encode("utf-8", "backslashreplace"))
        return digest.hexdigest()


def allowed_roots() -> list[Path]:
    """Folders under which datasets may be read: the input folder, then the registered ones."""
    program = host.current()
    return [program.input_directory(), *program.dataset_roots()]


def candidate_roots(root: str) -> list[Path]:
    """The folders that `root` may mean, best first; one or more.

    Args:
        root: absolute, or relative to the input folder or a registered folder; empty means all of these.

    Raises:
        ValueError: outside the allowed folders, or not there.
    """
    roots = allowed_roots()
    try:
        given = Path(root).expanduser() if root else None
    except RuntimeError as error:
        raise ValueError(f"root: '{shown(root)}' names a user's folder that is not known here ({error}).") from error
    if given is None:
        candidates = list(roots)
    elif given.is_absolute():
        candidates = [given]
    else:
        candidates = [folder / given for folder in roots]
    listed = ", ".join(str(folder) for folder in roots)
    inside = [path for path in candidates if is_inside(path, roots)]
    if not inside:
        raise ValueError(
            f"root: '{shown(root)}' is outside the folders that may be read: {listed}. Move or copy the dataset there, "
            f"register its folder as '{host.DATASET_FOLDER_KIND}' in extra_model_paths.yaml, or name it in the "
            f"environment variable {host.DATA_VARIABLE} of the server."
        )
    existing = [path for path in inside if path.is_dir()]
    if not existing:
        raise ValueError(f"root: there is no folder '{shown(root)}' under {listed}. Check the spelling of the path.")
    return existing


def open_disk() -> Disk:
    """A look at the disk that does not follow links out of the allowed folders."""
    roots = allowed_roots()
    return Disk(lambda path: is_inside(path, roots))


def all_categories(bases: Iterable[Path], disk: Disk) -> dict[str, tuple[Path, reader.Category]]:
    """{name: (root, category)}: each category from the first of the roots that has it.

    A folder that is laid out as a dataset comes before a mere folder of photos of the same name.
    """
    bases = list(bases)
    found: dict[str, tuple[Path, reader.Category]] = {}
    for look in (reader.categories_in_trees, reader.categories):
        for base in bases:
            for name, category in look(base, disk).items():
                found.setdefault(name, (base, category))
    return found


def find_category(root: str, category: str, disk: Disk) -> tuple[Path, reader.Category]:
    """(root, category) of one category.

    Args:
        root: as `candidate_roots` takes it.
        category: its name.
        disk: of `open_disk`.

    Raises:
        ValueError: not there, with the nearest name that is.
    """
    check_name(category, "category")
    bases = candidate_roots(root)
    for base in bases:
        # The others need not be looked at: folders may be many, and far away.
        for found in reader.categories_in_trees(base, disk, only=category).values():
            return base, found
    known = all_categories(bases, disk)
    if nfc(category) in known:
        return known[nfc(category)]
    _refuse_links(disk, category)
    if not known:
        raise no_categories(bases, disk)
    base = next(iter(known.values()))[0]
    raise ValueError(f"category: {base} has no '{shown(category)}'; {nearest(category, list(known))}.")


def find_photo(root: str, category: str, split: str, defect_type: str, index: int) -> Found:
    """Find one photo of a dataset.

    Raises:
        ValueError: any part of the request that does not exist, with the nearest name that does.
    """
    check_name(defect_type, "type")
    check_name(category, "category")
    if split not in SPLITS:
        raise ValueError(f"split: '{shown(split)}' is unknown; expected one of {', '.join(SPLITS)}")
    disk = open_disk()
    base, found = find_category(root, category, disk)
    types = found.types(split)
    if nfc(defect_type) not in types and defect_type.lower() in GOOD_NAMES and GOOD in types:
        defect_type = GOOD  # by the name that the dataset's own folder has
    if nfc(defect_type) not in types:
        _refuse_links(disk, defect_type)
        if not types:
            others = [name for name in SPLITS if found.types(name)]
            raise ValueError(
                f"split: {shown(str(found.folder))} has no '{split}', read as {found.layout.title}; "
                f"{nearest(split, others)}."
            )
        raise ValueError(
            f"type: {shown(str(found.folder))} has no '{shown(defect_type)}' in '{split}'; "
            f"{nearest(defect_type, types)}."
        )
    count = found.count(split, defect_type)
    where = ", ".join(shown(str(folder)) for folder in found.folders_of(split, defect_type))
    if not count:
        raise ValueError(f"type: {where} holds no pictures (png, jpg, bmp, tif, webp).")
    if not 0 <= index < count:
        raise ValueError(f"index: {index} is out of range; {where} holds {count} pictures: 0 to {count - 1}.")
    photo = found.photo(split, defect_type, index)
    for path in (photo.path, *photo.masks):
        _require_inside(path)
    return Found(photo, photo.path.relative_to(base).as_posix(), count)


def no_categories(bases: list[Path], disk: Disk) -> ValueError:
    """Why none of the roots is a folder that a dataset can be read from."""
    error = reader.why_empty(bases[0], disk)
    return ValueError(f"root: {error}")


def is_inside(path: Path, roots: list[Path]) -> bool:
    """Whether a path, its links followed, lies under one of the folders."""
    real = path.resolve()
    return any(real.is_relative_to(root.resolve()) for root in roots)


def _refuse_links(disk: Disk, name: str) -> None:
    """A name that is there, but leads out, is said to lead out."""
    for path in disk.forbidden:
        if nfc(path.name) == nfc(name):
            _require_inside(path)


def _require_inside(path: Path) -> None:
    # A link inside an allowed folder must not lead out of all of them.
    roots = allowed_roots()
    if not is_inside(path, roots):
        raise ValueError(
            f"{shown(str(path))} leads to {shown(str(path.resolve()))}, outside the folders that may be read: "
            f"{', '.join(map(str, roots))}."
        )
