"""Thin cracks that leave a defect which is there already: shell that is pierced breaks along its ribs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..directions import line_direction
from ..frame import part_frame
from ..hole_shapes import HoleShape, draw_cracks, inside_picture, points_on, rasterise
from .ground import Bools

#: Shorter paths (points, 2 px apart) are a nick in the defect's outline, no crack.
_LEAST_POINTS = 5

#: Points that a crack ends short of the part's edge, so that its own width stays on the part.
_SHORT_OF_EDGE = 2


def crack_lines(
    defect: Bools, part: Bools, photo: NDArray[np.uint8] | None, rng: np.random.Generator, most: int
) -> Bools:
    """Draw 0 to `most` cracks that leave a defect to both sides, along the photo's lines.

    Args:
        defect: ``[H, W]``, not empty.
        part: ``[H, W]``, the object mask; a crack ends where it does.
        photo: ``[H, W, 3]`` uint8, for the direction of its lines; None: the part's longer axis.
        rng: source of all randomness.
        most: greatest number of cracks.

    Returns:
        ``[H, W]``, without the defect itself; empty where the number drawn is 0, or no crack has room.
    """
    lines = np.zeros(part.shape, bool)
    count = int(rng.integers(most + 1))
    if count == 0:
        return lines
    rows, columns = np.nonzero(defect)
    centre, radius = (float(rows.mean()), float(columns.mean())), math.sqrt(rows.size / math.pi)
    frame = part_frame(part)
    direction = line_direction(photo, centre, radius, frame.axis)
    found = draw_cracks(rng, count, radius, 2.0 * frame.radius, direction)
    paths: list[NDArray[np.float64]] = []
    for path in found:
        kept = _apart(_on_part(path, centre, part), paths)
        if len(kept) >= _LEAST_POINTS:
            paths.append(kept)
    if not paths:
        return lines
    box, top, left = inside_picture(*rasterise(HoleShape(np.zeros((3, 2)), tuple(paths)), centre), part.shape)
    lines[top : top + box.shape[0], left : left + box.shape[1]] = box
    return lines & part & ~defect


def _on_part(path: NDArray[np.float64], centre: tuple[float, float], part: Bools) -> NDArray[np.float64]:
    """The path up to the part's edge."""
    on = points_on(path, centre, part)
    return path if on.all() else path[: max(0, int(np.argmin(on)) - _SHORT_OF_EDGE)]


def _apart(path: NDArray[np.float64], others: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The path from where it no longer runs in another crack: two in one would be a gash. There it branches off."""
    start = 0
    for other in others:
        distance = np.hypot(path[:, None, 0] - other[None, :, 0], path[:, None, 1] - other[None, :, 1])
        near = np.flatnonzero((distance - other[None, :, 2]).min(axis=1) < path[:, 2])
        start = max(start, int(near[-1]) + 1 if near.size else 0)
    return path[start:]
