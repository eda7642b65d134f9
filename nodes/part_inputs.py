"""Where the part is, for nodes that take a mask of it or find it themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from .algorithms.masks import as_mask_batch, to_array
from .algorithms.placement.foreground import find_part
from .algorithms.placement.surface import usual_surface

#: Openings up to this share of the part belong to it; the bore of a metal nut stays open.
_OPENING = 0.05

#: Longest side of the map of the usual surface, and the weight of places off it.
_MAP_SIDE, _UNUSUAL = 192, 0.02


def part_of(
    photo: NDArray[np.uint8],
    given: Tensor | None,
    index: int,
    batch: int,
    name: str = "part_mask",
    largest_opening: float = _OPENING,
) -> NDArray[np.bool_]:
    """The mask of the part on photo `index` of a batch: the given one, else one that is found and can be trusted.

    Raises:
        ValueError: the given mask is empty or of another size, or no part is found.
    """
    height, width = photo.shape[:2]
    if given is None:
        try:
            return find_part(photo, largest_opening)
        except ValueError as error:
            raise ValueError(f"{name}, photo {index}: {error}") from error
    mask = to_array(as_mask_batch(given, batch, height, width, name)[index])
    if not mask.any():
        raise ValueError(f"{name}, photo {index}: the mask is empty, so there is no part to place anything on.")
    return mask


def usual_places(photo: NDArray[np.uint8], part: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """Weights of places: those off the part's usual surface (the base of a nut, a label) are rare. None: all alike."""
    step = max(1, -(-max(part.shape) // _MAP_SIDE))
    small = part[::step, ::step]
    if small.all() or not small.any():
        return None
    reduced = np.asarray(Image.fromarray(photo).resize(small.shape[::-1], Image.Resampling.BOX))
    return np.where(usual_surface(reduced, small) | ~small, 1.0, _UNUSUAL)
