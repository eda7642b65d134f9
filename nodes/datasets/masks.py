"""The one place where a mask file is cut: which pixels of a photo are the defect.

Annotation tools write masks as 0/255, 0/1, 1 bit, 16 bits, palettes, in a colour, in the alpha channel, feathered, or
as JPEG. So a mask is read by what varies in it, and cut at half of its own range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import ReadError
from .levels import deep_values, has_alpha, is_negative
from .names import shown
from .pictures import Opened, opened, turned, upright_size

#: A label over more of its photo than this is more likely the ground than the defect.
LARGEST_USUAL_SHARE = 0.5

#: Share of in-between levels above which a "mask" is more likely a photo.
_SOFT_SHARE = 0.25

#: Largest level of a mask that numbers its kinds of defect (VisA: 1, 2, 3, ...) instead of grading them.
_MOST_KINDS = 31

#: Colours are different kinds of defect up to this number; more of them are shades.
_MOST_COLOURS = 16


@dataclass(frozen=True)
class Mask:
    """Where the defect is.

    Attributes:
        area: ``[H, W]`` bool, of the upright photo.
        notes: what was assumed, and what looks wrong without being so for sure; one sentence each, with the file.
    """

    area: NDArray[np.bool_]
    notes: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Share of the photo that is marked."""
        return float(self.area.mean())


class ConstantMaskError(ReadError):
    """A mask of one level throughout, the level in `level`."""

    def __init__(self, level: float) -> None:
        what = "marks nothing" if level == 0 else f"has one level throughout ({level:g})"
        super().__init__(
            "data.mask_constant",
            f"{what}, so it says nothing about where something is",
            expected="a mask with one part of the photo marked and the rest not",
            mend="Draw the mask again, or take its photo out of the dataset",
        )
        self.level = level


def read_masks(
    paths: Sequence[Path],
    photo: Path,
    stored: tuple[int, int],
    orientation: int = 1,
    limit: int | None = None,
    of_part: bool = False,
) -> Mask:
    """The union of the masks of one photo.

    Args:
        paths: one or more mask files.
        photo: for messages.
        stored: width and height of the photo in its file.
        orientation: of the photo, EXIF's: a mask of the stored size is turned with the photo, an upright one is not.
        limit: most pixels; by default that of `pictures.max_pixels`.
        of_part: they mark the part, not a defect: a texture's part may be all of its photo.

    Raises:
        ReadError: not readable, of another size than the photo, or constant (of a part: black).
    """
    area = np.zeros(upright_size(stored, orientation)[::-1], bool)
    notes: list[str] = []
    for path in paths:
        with opened(path, limit) as file:
            turn = _turn(file, path, photo, stored, orientation, file.notes)
            try:
                area |= turned(_cut(file), turn)
            except ConstantMaskError as error:
                if not of_part or error.level <= 0:
                    raise
                area[:] = True
        notes += [f"{shown(path.name)}: {text}" for text in file.notes]
    share = float(area.mean())
    if share > LARGEST_USUAL_SHARE and not of_part:
        names = ", ".join(shown(path.name) for path in paths[:3])
        notes.append(f"{names}: marks {share:.0%} of the photo as defect; is the mask inverted (white ground)?")
    return Mask(area, tuple(notes))


def _turn(file: Opened, path: Path, photo: Path, stored: tuple[int, int], orientation: int, notes: list[str]) -> int:
    """The orientation by which a mask is to be turned, so that it lies on its upright photo."""
    wanted, size = upright_size(stored, orientation), file.picture.size
    if file.orientation != 1:
        # The mask says itself how it is meant to be seen.
        turn = file.turn
    elif orientation != 1 and stored != wanted and size == stored:
        turn = orientation
    else:
        turn = 1
        if orientation != 1 and stored == wanted == size:
            notes.append("its photo is stored turned, and the size does not tell whether the mask is: taken as upright")
    if upright_size(size, turn) != wanted:
        raise ReadError(
            "data.mask_size",
            f"is {size[0]}x{size[1]} px but its photo {shown(str(photo))} is {wanted[0]}x{wanted[1]} px",
            path,
            expected="a mask of its photo's size",
            mend="Make the mask again, or take the photo out of the dataset",
        )
    return turn


def _cut(file: Opened) -> NDArray[np.bool_]:
    """Where the stored mask marks a defect."""
    picture, notes = file.picture, file.notes
    if has_alpha(picture):
        rgba = np.asarray(picture.convert("RGBA"))
        if rgba[..., 3].min() < rgba[..., 3].max():
            return _by_alpha(rgba, notes)
        picture = picture.convert("RGB")
    if picture.mode == "P":
        return _by_palette(picture, notes)
    if picture.mode.startswith("I") or picture.mode == "F":
        values = deep_values(picture)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ReadError(
                "data.mask_values", "holds values that are no numbers (NaN or infinite)", mend="Save it anew"
            )
        # A negative of any depth: its own range turned round.
        area = _half(values, notes)
        return ~area if is_negative(picture) else area
    if picture.mode in ("1", "L"):
        return _half(np.asarray(picture.convert("L")), notes)
    return _by_colour(np.asarray(picture.convert("RGB")), notes)


def _half(values: NDArray[Any], notes: list[str]) -> NDArray[np.bool_]:
    """Cut at half of the values' own range; small whole numbers are kinds of defect, of which each counts."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise ConstantMaskError(low)
    if values.dtype.kind != "f" and low == 0 and 1 < high <= _MOST_KINDS:
        notes.append(f"its levels 0 to {high:g} are read as numbers of kinds of defect: each above 0 counts")
        return np.asarray(values > 0)
    quarter = (high - low) / 4.0
    soft = float(np.mean((values > low + quarter) & (values < high - quarter)))
    if soft > _SOFT_SHARE:
        notes.append(f"{soft:.0%} of it are shades between black and white: is it a mask at all?")
    return np.asarray(values >= low + 2.0 * quarter)


def _by_alpha(rgba: NDArray[np.uint8], notes: list[str]) -> NDArray[np.bool_]:
    area = _half(rgba[..., 3], notes)
    colours = rgba[area, :3]
    if len(colours) and int(np.ptp(colours, axis=0).max()) > 64:
        notes.append("it is read by its transparency (opaque is the defect), though its colours vary as well")
    return area


def _by_palette(picture: Image.Image, notes: list[str]) -> NDArray[np.bool_]:
    """A palette's entries are kinds: all that is not the ground counts."""
    entries = np.asarray(picture)
    used = np.unique(entries)
    if len(used) == 1:
        raise ConstantMaskError(float(used[0]))
    flat = picture.getpalette("RGB") or []
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(flat) // 3] = np.asarray(flat, np.uint8).reshape(-1, 3)
    if not np.ptp(palette[used].astype(int), axis=1).any():
        # Grey entries: the levels count, not their order in the palette.
        return _half(palette[entries][..., 0], notes)
    if len(used) > _MOST_COLOURS:
        return _by_colour(palette[entries], notes)
    black = [entry for entry in used if not palette[entry].any()]
    if black:
        return ~np.isin(entries, black)
    ground = int(used[0])
    notes.append(f"its palette has no black; entry {ground} is taken as the ground")
    return np.asarray(entries != ground)


def _by_colour(rgb: NDArray[np.uint8], notes: list[str]) -> NDArray[np.bool_]:
    """Cut at half of the way from the ground's colour to the farthest one; few plain colours are kinds of defect."""
    packed = (rgb[..., 0].astype(np.uint32) << 16) | (rgb[..., 1].astype(np.uint32) << 8) | rgb[..., 2]
    codes, counts = np.unique(packed, return_counts=True)
    if len(codes) == 1:
        raise ConstantMaskError(float(rgb.max()))
    colours = np.stack([codes >> 16, (codes >> 8) & 255, codes & 255], axis=-1).astype(np.int32)
    if not (colours[:, :1] != colours).any():
        return _half(rgb[..., 0], notes)
    # Black is the ground wherever a good part of the picture is black; else the most frequent colour is.
    dark = colours.max(axis=1) <= 16
    if counts[dark].sum() >= 0.05 * counts.sum():
        ground = np.zeros(3, np.int32)
    else:
        ground = colours[int(np.argmax(counts))]
        notes.append("it has no black ground; its most frequent colour is taken as the ground")
    distance = np.abs(colours - ground).max(axis=1)
    plain = len(codes) <= _MOST_COLOURS
    marked = distance > 16 if plain else distance >= distance.max() / 2.0
    return np.asarray(marked[np.searchsorted(codes, packed)])
