"""From the requested mask to what a model is asked to paint: as wide as it can draw, in units of its own crop.

`grow` and `feather` in photo px mean another thing at each crop scale: 6 px are a hair in a photo of 4000 px and a
third of the hole in one of 256. Here they are px of the *working crop*. What is thinner there than a latent cell cannot
be drawn (specs: defect_synthesis 0.5): it is set apart as fine lines, which `etch` draws into the photo itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..masks import bounding_box, grow_and_feather
from .crops import LATENT_CELL, window_around

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
    enlarged = window_around(requested.astype(np.float32), requested, size, context).width / size
    for _ in range(_ROUNDS):
        thick, thin, fine = _split(requested, thinnest * LATENT_CELL * enlarged)
        wide = max(grow, thinnest * LATENT_CELL / 2.0)
        denoise = np.maximum(
            grow_and_feather(thick, grow * enlarged, feather * enlarged),
            grow_and_feather(thin, wide * enlarged, feather * enlarged),
        )
        drawable = thick | thin
        found = window_around(denoise, drawable, size, context).width / size
        if abs(found - enlarged) <= 0.02 * enlarged:
            break
        enlarged = found
    return Paintable(denoise, drawable, fine, enlarged)


def _split(requested: Bools, thickness: float) -> tuple[Bools, Bools, Bools]:
    """(parts at least so thick, pieces that are thin all over, thin lines beside a thick part)."""
    none = np.zeros_like(requested)
    box = bounding_box(requested)
    if thickness <= 1.0 or box is None:
        return requested, none, none
    # Nothing beyond the mask matters: a hole covers a few percent of a photo, and of 4000 px distances take seconds.
    here = (slice(box[0], box[2]), slice(box[1], box[3]))
    asked = requested[here]
    radius = thickness / 2.0
    eroded = ndimage.distance_transform_edt(np.pad(asked, 1))[1:-1, 1:-1] >= radius
    if not eroded.any():
        return none, requested, none
    thick, thin = none, none.copy()
    # Grown back a little further than it was eroded: the ragged outline belongs to the core, only lines do not.
    thick[here] = asked & (ndimage.distance_transform_edt(~eroded) <= 1.25 * radius)
    pieces, _ = ndimage.label(asked, _EIGHT)
    thin[here] = asked & ~np.isin(pieces, np.unique(pieces[eroded]))
    return thick, thin, requested & ~thick & ~thin
