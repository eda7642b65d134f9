"""What a dataset folder holds, for choosing in the window: names, numbers of photos, thumbnails.

The same folders are read, under the same names and in the same order, as `dataset_files.find_photo` reads them: what is
listed here is what the node loads.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from .algorithms.overlay import overlay
from .algorithms.pixels import from_u8, to_pil
from .dataset_files import Found, all_categories, candidate_roots, no_categories, open_disk
from .datasets import pictures
from .datasets.layouts import SPLITS
from .datasets.names import check_name, natural_key

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
    bases, disk = candidate_roots(root), open_disk()
    listing: Listing = {}
    found = all_categories(bases, disk)
    for name in sorted(filter(_is_name, found), key=natural_key):
        category = found[name][1]
        counts = {
            split: {type_: category.count(split, type_) for type_ in category.types(split) if _is_name(type_)}
            for split in SPLITS
        }
        filled = {split: {type_: n for type_, n in types.items() if n} for split, types in counts.items()}
        if any(filled.values()):
            listing[name] = {split: types for split, types in filled.items() if types}
    if not listing:
        raise no_categories(bases, disk)
    return listing


def _is_name(name: str) -> bool:
    try:
        check_name(name, "name")
    except ValueError:
        return False
    return True


def thumbnail(found: Found, with_mask: bool = False, side: int = THUMBNAIL_SIZE) -> bytes:
    """A small JPEG of a photo, upright and in the colours that the node loads; on request with its mask drawn on it.

    Args:
        found: the photo.
        with_mask: whether its ground truth is drawn on it.
        side: greatest length of its longer side, in px.

    Raises:
        ValueError: the photo does not decode.
    """
    plain = pictures.thumbnail(found.path, side)
    mask = _mask_of(found) if with_mask else None
    if mask is None:
        return plain
    small = pictures.read_photo(plain)
    # Any defect in a thumbnail's pixel counts: a small hole must not vanish.
    marked = np.asarray(mask.resize(small.size, Image.Resampling.BOX)) > 0
    drawn = overlay(from_u8(small.pixels)[None], from_u8(marked.astype(np.uint8) * 255)[None])
    buffer = io.BytesIO()
    to_pil(drawn[0]).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _mask_of(found: Found) -> Image.Image | None:
    """The ground truth as 0 and 255; None where there is none or it cannot be read (a run of the node says why)."""
    try:
        mask = found.photo.read_mask(found.photo.read())
    except (ValueError, OSError):
        return None
    return None if mask is None else Image.fromarray(mask.area.astype(np.uint8) * 255)
