"""The MVTec AD folder layout: where a photo and its mask are, given what a folder holds. No file is touched here.

``ROOT/<category>/{train/good, test/<type>, ground_truth/<type>}``, masks named ``<photo>_mask.png``. MVTec AD 2
(``test_public/<type>``, masks beside them) and folders of the same shape with masks named like their photos are read
too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import PurePosixPath

#: The fifteen categories of MVTec AD; other datasets in the same layout have others.
CATEGORIES = (
    "bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw", "tile",
    "toothbrush", "transistor", "wood", "zipper",
)  # fmt: skip

#: The type that means "no defect".
GOOD = "good"

SPLITS = ("train", "test")

#: Folder names that count as a split, in order of preference.
_SPLIT_FOLDERS = {"train": ("train",), "test": ("test", "test_public")}

_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def check_name(name: str, what: str) -> None:
    """Refuse a name that could leave its folder.

    Raises:
        ValueError: empty, or with a path separator, a drive colon or dots only.
    """
    if not name or name.strip(". ") == "" or any(character in name for character in "/\\:\0"):
        raise ValueError(f"{what}: {name!r} is not a folder's bare name such as 'hazelnut' or 'hole'.")


def pictures(names: Iterable[str]) -> list[str]:
    """The picture files among a folder's names, in natural order (2 before 10), hidden files left out."""
    found = (name for name in names if name.lower().endswith(_PICTURE_SUFFIXES) and not name.startswith("."))
    return sorted(found, key=natural_key)


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """Sorting key that reads runs of digits as numbers."""
    return tuple((int(part), "") if part.isdigit() else (-1, part.lower()) for part in re.split(r"(\d+)", name))


def photo_folders(category: str, split: str, defect_type: str) -> list[PurePosixPath]:
    """Folders, relative to the root, that may hold the photos; the first that exists counts.

    Raises:
        ValueError: an unknown split, or a name that is a path.
    """
    check_name(defect_type, "type")
    return [folder / defect_type for folder in split_folders(category, split)]


def split_folders(category: str, split: str) -> list[PurePosixPath]:
    """Folders, relative to the root, that may hold the types of a split.

    Raises:
        ValueError: an unknown split, or a category that is a path.
    """
    check_name(category, "category")
    if split not in _SPLIT_FOLDERS:
        raise ValueError(f"split: {split!r} is unknown; expected one of {', '.join(SPLITS)}")
    return [PurePosixPath(category, folder) for folder in _SPLIT_FOLDERS[split]]


def types(names: Iterable[str]) -> list[str]:
    """The types among the folders of a split, in natural order; MVTec AD 2 keeps its masks beside them."""
    return sorted((name for name in names if name != "ground_truth"), key=natural_key)


def mask_paths(photo: PurePosixPath) -> list[PurePosixPath]:
    """Paths, relative to the root, that may hold a photo's mask; the first that exists counts. None for good parts.

    Args:
        photo: ``<category>/<split>/<type>/<file>``.
    """
    category, split, defect_type, file = photo.parts[-4:]
    if defect_type == GOOD or split == "train":
        return []
    folders = [
        PurePosixPath(*photo.parts[:-4], category, "ground_truth", defect_type),
        PurePosixPath(*photo.parts[:-4], category, split, "ground_truth", defect_type),
    ]
    stem = PurePosixPath(file).stem
    names = [f"{stem}_mask.png", f"{stem}.png", f"{stem}_mask{PurePosixPath(file).suffix}"]
    return [folder / name for folder in folders for name in dict.fromkeys(names)]


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint for a misspelt name: ``did you mean 'hole'? There are: crack, cut, hole, print``."""
    if not known:
        return "there is none at all"
    by_lower = {entry.lower(): entry for entry in known}
    close = get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.5)
    guess = f"did you mean {by_lower[close[0]]!r}? " if close else ""
    listed = ", ".join(sorted(known, key=natural_key)[:20]) + (", ..." if len(known) > 20 else "")
    return f"{guess}There are: {listed}"
