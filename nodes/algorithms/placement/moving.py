"""One map of places for a defect's mask and for its pixels alike, and both looked up through it, to half a pixel."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
#: From places (y, x) on the target picture to those on the source picture.
Back = Callable[[Floats, Floats], tuple[Floats, Floats]]


@dataclass(frozen=True)
class Motion:
    """A map from places on the target picture back to places on the source picture.

    Attributes:
        source: (y, x) around which the defect turns on its own picture, px.
        target: (y, x) where that point goes, px.
        angle: rad, from x towards y, after mirroring.
        mirrored: at the vertical axis through `source`.
        scale: factor on its size, in px.
        warp: ``[2, G, G]``, displacement in source px on a grid over the defect's surroundings.
        reach: half the side of the square that the grid spans, source px.
        stretch: ratio of its new length to its new width where it was square, and the direction of the length on its
            own photo, rad; its area stays.
    """

    source: tuple[float, float]
    target: tuple[float, float]
    angle: float
    mirrored: bool
    scale: float
    warp: NDArray[np.float64]
    reach: float
    stretch: tuple[float, float] = (1.0, 0.0)

    def back(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where on the source picture the places (y, x) of the target picture come from."""
        cos, sin = math.cos(self.angle) / self.scale, math.sin(self.angle) / self.scale
        dy, dx = y - self.target[0], x - self.target[1]
        across, down = cos * dx + sin * dy, -sin * dx + cos * dy
        if self.mirrored:
            across = -across
        down, across = self._stretched(down, across, 1.0 / self.stretch[0])
        if self.warp.any():
            side = self.warp.shape[-1] - 1
            grid = [np.clip((offset / self.reach + 1) * 0.5 * side, 0, side) for offset in (down, across)]
            moved = [ndimage.map_coordinates(layer, grid, order=3, mode="nearest") for layer in self.warp]
            down, across = down + moved[0], across + moved[1]
        return self.source[0] + down, self.source[1] + across

    def forth(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where the points ``[N, 2]`` (y, x) of the source picture go, the elastic jitter aside."""
        down, across = points[:, 0] - self.source[0], points[:, 1] - self.source[1]
        down, across = self._stretched(down, across, self.stretch[0])
        if self.mirrored:
            across = -across
        cos, sin = math.cos(self.angle) * self.scale, math.sin(self.angle) * self.scale
        return np.stack(
            [self.target[0] + sin * across + cos * down, self.target[1] + cos * across - sin * down], axis=-1
        )

    def _stretched(
        self, down: NDArray[np.float64], across: NDArray[np.float64], ratio: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if ratio == 1.0:
            return down, across
        cos, sin = math.cos(self.stretch[1]), math.sin(self.stretch[1])
        length, width = (cos * across + sin * down) * math.sqrt(ratio), (cos * down - sin * across) / math.sqrt(ratio)
        return sin * length + cos * width, cos * length - sin * width


def landing_box(motion: Motion, mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """A box (y0, x0, y1, x1) on the target, ends exclusive, that holds the moved mask; it may stick out."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    corners = np.array([[y, x] for y in (rows[0], rows[-1]) for x in (columns[0], columns[-1])], np.float64)
    moved = motion.forth(corners)
    # A cubic spline through the grid of the jitter overshoots its nodes a little.
    slack = 2.0 + motion.scale * math.sqrt(motion.stretch[0]) * 1.3 * float(np.abs(motion.warp).max())
    low, high = np.floor(moved.min(axis=0) - slack).astype(int), np.ceil(moved.max(axis=0) + slack).astype(int) + 1
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


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
