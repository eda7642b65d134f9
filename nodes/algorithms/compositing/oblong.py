"""The crop for masks that no square inside the photo can hold: several holes along an oblong part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..masks import bounding_box
from .crops import LEAST_CONTEXT, Window, shift_inside


def is_too_long(denoise: NDArray[np.float32]) -> bool:
    """Whether a mask ``[H, W]`` is longer than the photo's short side."""
    box = bounding_box(denoise > 0)
    return box is not None and max(box[2] - box[0], box[3] - box[1]) > min(denoise.shape)


def window_along(denoise: NDArray[np.float32]) -> Window:
    """The part of an oblong photo that holds a long mask: the photo's whole short side, and room at both ends.

    Args:
        denoise: ``[H, W]``, 0..1, not empty.
    """
    height, width = denoise.shape
    box = bounding_box(denoise > 0)
    assert box is not None
    starts, ends, lengths = (box[1], box[0]), (box[3], box[2]), (width, height)
    axis = 0 if width > height else 1
    side = min(lengths[axis], max(min(lengths), round((ends[axis] - starts[axis]) * LEAST_CONTEXT)))
    start = shift_inside((starts[axis] + ends[axis] - side) // 2, side, lengths[axis])
    return Window(start, 0, side, height) if axis == 0 else Window(0, start, width, side)
