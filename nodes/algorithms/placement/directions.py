"""In which direction a photo's own lines run: cracks follow the ribs of a nut, scratches the grain of wood."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: Weakest structure-tensor coherence at which the photo's own ribs set the cracks' direction.
_LEAST_COHERENCE = 0.25


def line_direction(
    photo: NDArray[np.uint8] | None, centre: tuple[float, float], radius: float, fallback: float
) -> float:
    """Direction of a photo's lines (ribs, grain, weave) around a place, by the structure tensor.

    Args:
        photo: ``[H, W, 3]`` uint8, or None.
        centre: (y, x), px.
        radius: of what is placed there, px; its surroundings of 1.5 radii are looked at.
        fallback: what to give where there is no photo, or where it is smooth; rad.

    Returns:
        rad, from the x axis towards the y axis.
    """
    if photo is None:
        return fallback
    reach = max(4, round(1.5 * radius))
    step = max(1, reach // 32)
    y, x = round(centre[0]), round(centre[1])
    colours = photo[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
    if min(colours.shape[:2]) < 8:
        return fallback
    window = colours.mean(axis=-1)
    window = ndimage.uniform_filter(window, step)[::step, ::step] if step > 1 else window
    gy, gx = np.gradient(window)
    yy, xx, xy = float((gy * gy).sum()), float((gx * gx).sum()), float((gx * gy).sum())
    strength = yy + xx
    if strength < 1e-9 or math.hypot(xx - yy, 2 * xy) / strength < _LEAST_COHERENCE:
        return fallback
    # The tensor's main direction is across the ribs.
    return 0.5 * math.atan2(2 * xy, xx - yy) + 0.5 * math.pi
