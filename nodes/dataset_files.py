"""Datasets in MVTec layout on disk: found by name, read only under allowed folders."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image, UnidentifiedImageError

from . import host
from .datasets import mvtec


@dataclass(frozen=True)
class Photo:
    """One photo of a dataset: absolute paths, the path relative to the root, and how many photos its folder holds."""

    path: Path
    mask: Path | None
    relative: str
    count: int

    def fingerprint(self) -> str:
        """Changes when the photo, its mask, or the number of photos does."""
        digest = hashlib.sha256(str(self.count).encode())
        for path in (self.path, self.mask):
            if path is not None:
                stat = path.stat()
                digest.update(f"|{path}|{stat.st_size}|{stat.st_mtime_ns}".encode())
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
        raise ValueError(f"root: {root!r} names a user's folder that is not known here ({error}).") from error
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
            f"root: {root!r} is outside the folders that may be read: {listed}. Move or copy the dataset there, "
            f"register its folder as '{host.DATASET_FOLDER_KIND}' in extra_model_paths.yaml, or name it in the "
            f"environment variable {host.DATA_VARIABLE} of the server."
        )
    existing = [path for path in inside if path.is_dir()]
    if not existing:
        raise ValueError(f"root: there is no folder {root!r} under {listed}. Check the spelling of the path.")
    return existing


def dataset_root(root: str, category: str) -> Path:
    """The folder that holds the categories.

    Args:
        root: as `candidate_roots` takes it.
        category: the first folder that has it is preferred; then the first that has any category.

    Raises:
        ValueError: outside the allowed folders, or not there.
    """
    existing = candidate_roots(root)
    with_category = [path for path in existing if (path / category).is_dir()]
    with_any = [path for path in existing if any(is_category(path / name) for name in folders(path))]
    return [*with_category, *with_any, *existing][0]


def find_photo(root: str, category: str, split: str, defect_type: str, index: int) -> Photo:
    """Find one photo of a dataset in MVTec layout.

    Raises:
        ValueError: any part of the request that does not exist, with the nearest name that does.
    """
    places = mvtec.photo_folders(category, split, defect_type)
    base = dataset_root(root, category)
    if not (base / category).is_dir():
        known = [name for name in folders(base) if is_category(base / name)]
        if not known:
            raise no_categories(base)
        raise ValueError(f"category: {base} has no {category!r}; {mvtec.nearest(category, known)}.")
    _require_inside(base / category)
    folder = next((base / path for path in places if (base / path).is_dir()), None)
    if folder is None:
        raise _missing_type(base, places, category, split, defect_type)
    _require_inside(folder)
    names = mvtec.pictures(entry.name for entry in folder.iterdir() if entry.is_file())
    if not names:
        raise ValueError(f"type: {folder} holds no pictures (png, jpg, bmp, tif, webp).")
    if not 0 <= index < len(names):
        raise ValueError(
            f"index: {index} is out of range; {folder} holds {len(names)} pictures: 0 to {len(names) - 1}."
        )
    relative = PurePosixPath(folder.relative_to(base).as_posix()) / names[index]
    mask = next((base / path for path in mvtec.mask_paths(relative) if (base / path).is_file()), None)
    if mask is not None:
        _require_inside(mask)
    photo = folder / names[index]
    _require_inside(photo)
    return Photo(photo, mask, str(relative), len(names))


def no_categories(base: Path) -> ValueError:
    """Why a folder without any category is none that a dataset can be read from."""
    if is_category(base):
        return ValueError(
            f"root: {base} is the folder of one category; expected the folder above it. "
            f"Set root to {base.parent} and category to {base.name!r}."
        )
    return ValueError(
        f"root: {base} is not in MVTec AD layout; expected <category>/train/good and "
        f"<category>/test/<type> in it, found {', '.join(folders(base)[:8]) or 'no folders'}."
    )


def _missing_type(base: Path, places: list[PurePosixPath], category: str, split: str, defect_type: str) -> ValueError:
    parent = next((base / path.parent for path in places if (base / path.parent).is_dir()), None)
    if parent is None:
        return ValueError(
            f"split: {base / category} has no folder {split!r}; {mvtec.nearest(split, folders(base / category))}."
        )
    _require_inside(parent)
    known = mvtec.types(folders(parent))
    return ValueError(f"type: {parent} has no {defect_type!r}; {mvtec.nearest(defect_type, known)}.")


def open_picture(path: Path) -> Image.Image:
    """Read a picture entirely.

    Raises:
        ValueError: the file does not decode, with its path.
    """
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path} does not decode as a picture ({error}). It may be cut off or of another format than its name "
            "says: copy it again, or take it out of the dataset."
        ) from error


def is_inside(path: Path, roots: list[Path]) -> bool:
    """Whether a path, its links followed, lies under one of the folders."""
    real = path.resolve()
    return any(real.is_relative_to(root.resolve()) for root in roots)


def _require_inside(path: Path) -> None:
    # A link inside an allowed folder must not lead out of all of them.
    roots = allowed_roots()
    if not is_inside(path, roots):
        raise ValueError(
            f"{path} leads to {path.resolve()}, outside the folders that may be read: {', '.join(map(str, roots))}."
        )


def folders(path: Path) -> list[str]:
    """Names of the folders in a folder, hidden ones left out."""
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def is_category(path: Path) -> bool:
    """Whether a folder looks like one category of a dataset."""
    return any((path / name).is_dir() for name in ("train", "test", "test_public", "ground_truth"))
