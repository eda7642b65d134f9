"""Masks and pictures looked up through a map of places: what a moved mask is, to half a pixel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
#: From places (y, x) on the target picture to those on the source picture.
Back = Callable[[Floats, Floats], tuple[Floats, Floats]]


def moved_mask(mask: Bools, back: Back, shape: tuple[int, int], box: tuple[int, int, int, int]) -> Bools:
    """The mask alone, moved: what `transplant` gives as its label."""
    rows = slice(max(0, box[0] - 3), min(shape[0], box[2] + 3))
    columns = slice(max(0, box[1] - 3), min(shape[1], box[3] + 3))
    y, x = np.mgrid[rows, columns].astype(np.float64)
    at = np.stack(back(y, x))
    out = np.zeros(shape, bool)
    out[rows, columns] = (depth_at(mask, at) > 0) & inside(at, mask.shape)
    return out


def depth_at(mask: Bools, at: Floats, margin: float = 4.0) -> Floats:
    """Distance to the mask's outline at the places (y, x), in px of the mask: above 0 inside.

    Exact to half a pixel and smooth, unlike the mask itself. Farther than `margin` outside it only says "farther".
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    pad = int(np.ceil(margin)) + 2
    # Only the mask's surroundings: a defect covers a few percent of a photo.
    crop = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], pad)
    distance = ndimage.distance_transform_edt(crop) - ndimage.distance_transform_edt(~crop)
    smooth = distance - np.sign(distance) * 0.5
    places = [at[0] - rows[0] + pad, at[1] - columns[0] + pad]
    return np.asarray(ndimage.map_coordinates(smooth, places, order=1, mode="nearest"), np.float64)


def sampled(picture: NDArray[np.floating], at: Floats, order: int = 1) -> Floats:
    """The picture at the places (y, x); beyond its edge its edge."""
    low = [max(0, int(np.floor(axis.min())) - 8) for axis in at]
    high = [int(np.ceil(axis.max())) + 9 for axis in at]
    low = [min(start, size - 1) for start, size in zip(low, picture.shape, strict=True)]
    high = [max(stop, start + 1) for stop, start in zip(high, low, strict=True)]
    window = np.asarray(picture[low[0] : high[0], low[1] : high[1]], np.float64)
    places = [at[0] - low[0], at[1] - low[1]]
    return np.asarray(ndimage.map_coordinates(window, places, order=order, mode="nearest"), np.float64)


def inside(at: Floats, shape: tuple[int, ...]) -> Bools:
    return np.asarray((at[0] >= -0.5) & (at[0] <= shape[0] - 0.5) & (at[1] >= -0.5) & (at[1] <= shape[1] - 0.5), bool)
