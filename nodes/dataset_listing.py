"""What a dataset folder holds, for choosing in the window: names, numbers of photos, thumbnails.

The same folders are read, under the same names and in the same order, as `dataset_files.find_photo` reads them: what is
listed here is what the node loads.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from PIL import Image

from .algorithms.overlay import overlay
from .algorithms.pixels import from_pil, to_pil
from .dataset_files import (
    Photo,
    allowed_roots,
    candidate_roots,
    folders,
    is_category,
    is_inside,
    no_categories,
    open_picture,
)
from .datasets import mvtec

#: Longest side of a thumbnail in pixels.
THUMBNAIL_SIZE = 192

#: {category: {split: {type: number of photos}}}
Listing = dict[str, dict[str, dict[str, int]]]


def list_dataset(root: str) -> Listing:
    """All photos below a root, counted by category, split and type; folders without a photo are left out.

    Args:
        root: as `dataset_files.candidate_roots` takes it. Where it means several folders, each category is listed from
            the first one that has it, as the node loads it.

    Raises:
        ValueError: a root that may not be read, is not there, or holds no category.
        OSError: a folder that this process may not read.
    """
    bases = candidate_roots(root)
    names = {name for base in bases for name in folders(base) if _is_name(name)}
    listing: Listing = {}
    for name in sorted(names, key=mvtec.natural_key):
        base = next(base for base in bases if (base / name).is_dir())
        if is_category(base / name):
            splits = {split: _types(base, mvtec.split_folders(name, split)) for split in mvtec.SPLITS}
            if any(splits.values()):
                listing[name] = {split: types for split, types in splits.items() if types}
    if not listing:
        raise no_categories(bases[0])
    return listing


def _types(base: Path, split_folders: Iterable[PurePosixPath]) -> dict[str, int]:
    """{type: number of photos} of one split, from the first of its folders that has the type."""
    roots = allowed_roots()
    places: dict[str, Path] = {}
    for split in (base / folder for folder in split_folders):
        # A link may lead out of the folders that may be read: what is behind it is not even counted.
        if split.is_dir() and is_inside(split, roots):
            for name in filter(_is_name, folders(split)):
                places.setdefault(name, split / name)
    counts = {name: _count(places[name]) for name in mvtec.types(places) if is_inside(places[name], roots)}
    return {name: count for name, count in counts.items() if count}


def _count(folder: Path) -> int:
    return len(mvtec.pictures(entry.name for entry in folder.iterdir() if entry.is_file()))


def _is_name(name: str) -> bool:
    try:
        mvtec.check_name(name, "name")
    except ValueError:
        return False
    return True


def thumbnail(photo: Photo, with_mask: bool = False) -> bytes:
    """A small JPEG of a photo, in the colours that the node loads; on request with its ground truth drawn on it.

    Raises:
        ValueError: the photo does not decode.
    """
    picture = to_pil(from_pil(open_picture(photo.path)))
    mask = _mask_of(photo) if with_mask else None
    picture.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE), Image.Resampling.BOX, reducing_gap=2.0)
    if mask is not None:
        # Any defect in a thumbnail's pixel counts: a small hole must not vanish.
        small = mask.resize(picture.size, Image.Resampling.BOX).point(lambda level: 255 if level else 0)
        drawn = overlay(from_pil(picture)[None], from_pil(small)[..., 0][None])
        picture = to_pil(drawn[0])
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _mask_of(photo: Photo) -> Image.Image | None:
    """The ground truth as 0 and 255; None where there is none or it does not fit (a run of the node says why)."""
    if photo.mask is None:
        return None
    try:
        mask = open_picture(photo.mask).convert("L")
        fits = mask.size == open_picture(photo.path).size
    except (ValueError, OSError):
        return None
    return mask.point(lambda level: 255 if level else 0) if fits else None
