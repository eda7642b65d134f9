"""From the requested mask to what a model is asked to paint: as wide as it can draw, in units of its own crop.

`grow` and `feather` in photo px mean another thing at each crop scale: 6 px are a hair in a photo of 4000 px and a
third of the hole in one of 256. Here they are px of the *working crop*. What is thinner there than a latent cell cannot
be drawn (specs: defect_synthesis 0.5): it is set apart as fine lines, which `etch` draws into the photo itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..masks import grow_and_feather, zeros
from .crops import LATENT_CELL, box_and_side

Bools = NDArray[np.bool_]

#: Rounds in which crop scale and mask settle; they hang on each other by the grown rim only.
_ROUNDS = 3

_EIGHT = np.ones((3, 3), bool)


@dataclass(frozen=True)
class Paintable:
    """What of a requested mask a model paints.

    Attributes:
        denoise: ``[H, W]`` float32, 0..1: the denoise mask.
        drawable: ``[H, W]``: the requested mask without its fine lines.
        fine: ``[H, W]``: lines too thin for the model, beside a drawable part.
        enlarged: photo px for each px of the working crop.
    """

    denoise: NDArray[np.float32]
    drawable: Bools
    fine: Bools
    enlarged: float


def paintable(
    requested: Bools, size: int, context: float = 0.0, grow: float = 1.0, feather: float = 2.0, thinnest: float = 1.0
) -> Paintable:
    """Make the denoise mask of a requested mask for a working crop of `size` px.

    A piece of the mask with a part of at least `thinnest` latent cells loses its thinner lines to `fine`. A piece that
    is thin all over (a scratch) is painted whole, and its denoise mask is widened to that thickness.

    Args:
        requested: ``[H, W]``.
        size: side of the working crop, px (the model's native size).
        context: as `crops.window_around` takes it.
        grow: px of the crop by which the full-strength part reaches beyond the mask.
        feather: px of the crop over which it fades out.
        thinnest: latent cells that a drawable part is thick; 0 asks for everything.

    Raises:
        ValueError: an empty mask, a negative length, or a mask that no square crop can hold.
    """
    if min(grow, feather, thinnest) < 0:
        raise ValueError(f"grow {grow:g}, feather {feather:g} and thinnest {thinnest:g} cannot be negative")
    photo = requested.shape
    wide = max(grow, thinnest * LATENT_CELL / 2.0)
    box, side = box_and_side(requested, requested, size, context, photo)
    enlarged = side / size
    for _ in range(_ROUNDS):
        # Nothing beyond the mask's surroundings matters: of a photo of 100 MP each array would take 400 MB.
        margin = int(np.ceil((wide + feather) * enlarged)) + 2
        here = (
            slice(max(0, box[0] - margin), box[2] + margin),
            slice(max(0, box[1] - margin), box[3] + margin),
        )
        thick, thin, fine = _split(requested[here], thinnest * LATENT_CELL * enlarged)
        denoise = np.maximum(
            grow_and_feather(thick, grow * enlarged, feather * enlarged),
            grow_and_feather(thin, wide * enlarged, feather * enlarged),
        )
        drawable = thick | thin
        found = box_and_side(denoise, drawable, size, context, photo)[1] / size
        if abs(found - enlarged) <= 0.02 * enlarged:
            break
        enlarged = found
    return Paintable(_in(photo, here, denoise), _in(photo, here, drawable), _in(photo, here, fine), enlarged)


def _in(photo: tuple[int, ...], here: tuple[slice, slice], part: NDArray[Any]) -> NDArray[Any]:
    """A part of a photo's mask as a mask of the whole photo; zeros that are never written to take no memory."""
    whole: NDArray[Any] = zeros(photo) if part.dtype == np.float32 else np.zeros(photo, part.dtype)
    whole[here] = part
    return whole


def _split(requested: Bools, thickness: float) -> tuple[Bools, Bools, Bools]:
    """(parts at least so thick, pieces that are thin all over, thin lines beside a thick part)."""
    none = np.zeros_like(requested)
    if thickness <= 1.0:
        return requested, none, none
    radius = thickness / 2.0
    eroded = ndimage.distance_transform_edt(np.pad(requested, 1))[1:-1, 1:-1] >= radius
    if not eroded.any():
        return none, requested, none
    # Grown back a little further than it was eroded: the ragged outline belongs to the core, only lines do not.
    thick = requested & (ndimage.distance_transform_edt(~eroded) <= 1.25 * radius)
    pieces, _ = ndimage.label(requested, _EIGHT)
    thin = requested & ~np.isin(pieces, np.unique(pieces[eroded]))
    lines = requested & ~thick & ~thin
    chips = _short(lines, thickness)
    return thick | chips, thin, lines & ~chips


def _short(lines: Bools, thickness: float) -> Bools:
    """Pieces that are no line: chips of the outline, not longer than the model's finest detail is thick."""
    pieces, count = ndimage.label(lines, _EIGHT)
    short = np.zeros(lines.shape, bool)
    for number, box in enumerate(ndimage.find_objects(pieces, count), 1):
        if np.hypot(*(side.stop - side.start for side in box)) < 1.5 * thickness:
            short[box] |= pieces[box] == number
    return short
