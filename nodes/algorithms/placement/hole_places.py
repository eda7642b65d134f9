"""Where on a part a hole may be: maps of how deep in the part each place lies, and of how likely holes are there.

Statistics of real label masks (hazelnut, type hole): a core's centre lies at 0.27-0.65 of the part's radius from the
centroid, never at the rim. The maps have at most 192 px a side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from .frame import NoPlaceError
from .surface import usual_surface

#: Longest side of the distance map in which places are looked for.
_MAP_SIDE = 192

#: Distance of real holes' centres from the part's centroid, as a share of the part's radius.
_RADIAL_RANGE = (0.27, 0.65)

#: Weight of places outside that range or off the usual surface: unlikely, but every part still gets its holes.
_UNUSUAL_WEIGHT = 0.02


@dataclass(frozen=True)
class PartMap:
    """A part in numbers, lengths in px of the photo; `radial` and `usual` are maps of `cell` px a cell.

    `radial` is the distance from the centroid in radii of the part, `usual` that to the nearest unusual surface in px.
    """

    mask: NDArray[np.bool_]
    area: int
    diameter: float
    axis: float
    cell: float
    radial: NDArray[np.float64]
    usual: NDArray[np.float64]


def measure(part: NDArray[np.bool_], photo: NDArray[np.uint8] | None) -> PartMap:
    """A part ``[H, W]``, with its surface where a photo ``[H, W, 3]`` uint8 (or a reduced copy of it) shows that.

    Raises:
        NoPlaceError: the mask is empty.
    """
    height, width = part.shape
    area = int(np.count_nonzero(part))
    if area == 0:
        raise NoPlaceError("The object mask is empty, so no hole can be placed. Check the object mask's preview.")
    small = _reduce(part)
    y, x = np.nonzero(small >= 0.5) if (small >= 0.5).any() else np.nonzero(small > 0)
    points = np.stack([y, x], axis=-1).astype(np.float64)
    cell = max(height / small.shape[0], width / small.shape[1])
    centroid = points.mean(axis=0)
    spread = np.cov((points - centroid).T) if len(points) > 1 else np.eye(2)
    values, vectors = np.linalg.eigh(spread)
    axis = math.atan2(vectors[0, int(np.argmax(values))], vectors[1, int(np.argmax(values))])
    diameter = 2.0 * math.sqrt(area / math.pi)
    rows, columns = np.indices(small.shape)
    radial = np.hypot(rows - centroid[0], columns - centroid[1]) * cell / (0.5 * diameter)
    usual = np.full(small.shape, np.inf)
    if photo is not None:
        reduced = np.asarray(Image.fromarray(photo).resize(small.shape[::-1], Image.Resampling.BOX))
        whole = small >= 0.5
        surface = usual_surface(reduced, whole)
        if not np.array_equal(surface, whole):
            usual = ndimage.distance_transform_edt(surface | ~whole) * cell
    return PartMap(part, area, diameter, axis, cell, radial, usual)


def _reduce(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Share of set pixels in each cell of a map of at most `_MAP_SIDE` cells a side."""
    height, width = mask.shape
    factor = _MAP_SIDE / max(height, width)
    if factor >= 1:
        return mask.astype(np.float32)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    picture = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    return np.asarray(picture, np.float32) / 255.0


def depth_of(part: PartMap, free: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance of each cell from the nearest place that is not free, in px of the photo."""
    # Padded, so that the picture's own border is a rim too.
    return np.asarray(ndimage.distance_transform_edt(np.pad(_reduce(free) > 0.99, 1))[1:-1, 1:-1] * part.cell)


def preference(part: PartMap, radius: float) -> NDArray[np.float64]:
    """Weight of each place: even in the *radius* of real holes, small but not zero elsewhere."""
    low, high = _RADIAL_RANGE
    usual = (part.radial >= low) & (part.radial <= high)
    weight = np.where(usual, 1.0, _UNUSUAL_WEIGHT) / np.maximum(part.radial, 0.1)
    return np.where(part.usual >= radius, weight, _UNUSUAL_WEIGHT * weight)
