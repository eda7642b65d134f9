"""Shapes of holes: a ragged core and thin cracks, as polygons, and drawing them on a part.

The numbers come from measured label masks of real hazelnut holes: not discs but chipped openings (circularity
0.59-0.76, eccentricity 0.49-0.80, solidity 0.91-0.95) with up to three thin cracks along the ribs of the shell, which
are 6-31 % of the labelled area.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

#: Points on the outline of a core.
_OUTLINE_POINTS = 128

#: Harmonics of the outline above the ellipse: the low ones make it lopsided, the high ones chipped.
_LOW_HARMONICS = range(2, 6)
_HIGH_HARMONICS = range(6, 22)
_LOW_AMPLITUDE = 0.10
_HIGH_AMPLITUDE = 0.015

#: Eccentricity of the core's ellipse.
_ECCENTRICITY = (0.45, 0.78)

#: Full width of a crack where it leaves the core, as a share of the part's diameter (6-12 px at 700 px).
_CRACK_WIDTH = (0.0085, 0.0170)

#: Length of all cracks together, as a share of the part's diameter; version 0.1's, and what `length` multiplies.
_CRACKS_LENGTH = (0.17, 0.65)

#: Standard deviation of a crack's direction: from the ribs' (start) and from one step to the next (wander), in rad.
_CRACK_START = 0.20
_CRACK_WANDER = 0.12

#: Least share of a hole that lies on the part; what sticks out is cut off.
_LEAST_ON_PART = 0.98


@dataclass(frozen=True)
class HoleShape:
    """A hole around the origin, in px.

    Attributes:
        core: ``[N, 2]`` outline of the core, (y, x).
        cracks: one ``[M, 3]`` path for each crack: (y, x, half width), from inside the core outwards.
    """

    core: NDArray[np.float64]
    cracks: tuple[NDArray[np.float64], ...]


def draw_core(rng: np.random.Generator, area: float) -> NDArray[np.float64]:
    """A ragged closed outline of the given area (px^2) around the origin, ``[N, 2]`` as (y, x).

    A Fourier series of the radius on an ellipse: a plain ellipse would be too smooth, white noise too jagged.
    """
    angle = np.linspace(0, 2 * math.pi, _OUTLINE_POINTS, endpoint=False)
    radius = np.ones_like(angle)
    for harmonics, amplitude in ((_LOW_HARMONICS, _LOW_AMPLITUDE), (_HIGH_HARMONICS, _HIGH_AMPLITUDE)):
        order = np.array(harmonics)
        # Falls with the order, so that chips are small and the outline stays one of lumps, not of spikes.
        size = rng.normal(0.0, 1.0, order.size) / order
        size *= amplitude / math.sqrt(float(np.mean(1.0 / np.square(order))))
        phase = rng.uniform(0, 2 * math.pi, order.size)
        radius = radius + (size[:, None] * np.cos(order[:, None] * angle + phase[:, None])).sum(axis=0)
    radius = np.maximum(radius, 0.35)
    eccentricity = rng.uniform(*_ECCENTRICITY)
    ratio = math.sqrt(math.sqrt(1.0 - eccentricity**2))
    turn = rng.uniform(0, math.pi)
    u, v = radius * np.cos(angle) / ratio, radius * np.sin(angle) * ratio
    outline = np.stack([u * math.sin(turn) + v * math.cos(turn), u * math.cos(turn) - v * math.sin(turn)], axis=-1)
    return outline * math.sqrt(area / polygon_area(outline))


def draw_cracks(
    rng: np.random.Generator,
    count: int,
    core_radius: float,
    part_diameter: float,
    direction: float,
    length: float = 1.0,
) -> tuple[NDArray[np.float64], ...]:
    """Thin tapering cracks that leave the core to both sides along `direction`.

    Args:
        rng: source of all randomness.
        count: number of cracks.
        core_radius: px; a crack starts at half of it, inside the core.
        part_diameter: px, the measure of width and length.
        direction: angle of the ribs, rad, from the x axis towards the y axis.
        length: 1: all of them together are 0.17 to 0.65 of the diameter long; 2: twice as long.

    Returns:
        ``[M, 3]`` paths of (y, x, half width), one point about every 2 px.
    """
    if count == 0:
        return ()
    total = rng.uniform(*_CRACKS_LENGTH) * length * part_diameter
    parts = rng.dirichlet(np.full(count, 4.0))
    first_side = int(rng.integers(2))
    cracks = []
    for index in range(count):
        heading = direction + math.pi * ((first_side + index) % 2) + rng.normal(0.0, _CRACK_START)
        way = total * parts[index] + core_radius * 0.5
        steps = max(3, round(way / 2.0))
        drift = np.cumsum(rng.normal(0.0, _CRACK_WANDER, steps)) * 0.5
        # A crack follows the ribs: the walk is pulled back to its heading instead of drifting off like a free one.
        bend = heading + drift * np.exp(-np.abs(drift))
        stride = way / steps
        start = core_radius * 0.5
        y = math.sin(heading) * start + np.cumsum(np.sin(bend)) * stride
        x = math.cos(heading) * start + np.cumsum(np.cos(bend)) * stride
        half = 0.5 * max(1.0, rng.uniform(*_CRACK_WIDTH) * part_diameter)
        # Real cracks keep their width and end abruptly.
        taper = np.sqrt(1.0 - np.linspace(0.0, 1.0, steps) ** 6)
        wobble = 1.0 + 0.25 * np.sin(np.cumsum(rng.normal(0.0, 0.5, steps)))
        cracks.append(np.stack([y, x, np.maximum(half * taper * wobble, 0.5)], axis=-1))
    return tuple(cracks)


def polygon_area(outline: NDArray[np.float64]) -> float:
    """Area inside a closed outline ``[N, 2]``, by the shoelace formula."""
    y, x = outline[:, 0], outline[:, 1]
    return 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))


def rasterise(
    shape: HoleShape, centre: tuple[float, float], core_scale: float = 1.0
) -> tuple[NDArray[np.bool_], int, int]:
    """Draw a hole in the smallest box that holds it.

    Args:
        shape: the hole.
        centre: (y, x) in the picture, px.
        core_scale: factor on the size of the core alone.

    Returns:
        The box ``[h, w]`` bool, and the picture's row and column of its first pixel (may be negative).
    """
    points = np.concatenate([shape.core * core_scale, *(crack[:, :2] for crack in shape.cracks)])
    margin = 2.0 + max((float(crack[:, 2].max()) for crack in shape.cracks), default=0.0)
    low = np.floor(points.min(axis=0) + centre - margin).astype(int)
    high = np.ceil(points.max(axis=0) + centre + margin).astype(int) + 1
    canvas = Image.new("L", (int(high[1] - low[1]), int(high[0] - low[0])))
    draw = ImageDraw.Draw(canvas)
    offset = np.asarray(centre) - low
    draw.polygon(_xy(shape.core * core_scale + offset), fill=1)
    for crack in shape.cracks:
        path = crack[:, :2] + offset
        tangent = np.gradient(path, axis=0)
        normal = np.stack([tangent[:, 1], -tangent[:, 0]], axis=-1)
        normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
        side = normal * crack[:, 2:]
        draw.polygon(_xy(np.concatenate([path + side, (path - side)[::-1]])), fill=1)
        # The one pixel wide line keeps a crack in one piece where its polygon gets thinner than a pixel.
        draw.line(_xy(path), fill=1, width=1)
    return np.asarray(canvas, bool), int(low[0]), int(low[1])


def inside_picture(
    box: NDArray[np.bool_], top: int, left: int, shape: tuple[int, ...]
) -> tuple[NDArray[np.bool_], int, int]:
    """The part ``[h, w]`` of a drawn box that lies inside a picture of `shape`, and its first row and column there.

    `top` and `left` may be negative, or beyond the picture: then nothing is left of the box.
    """
    cut_top, cut_left = max(0, -top), max(0, -left)
    kept = box[cut_top : max(cut_top, shape[0] - top), cut_left : max(cut_left, shape[1] - left)]
    return kept, max(0, top), max(0, left)


def points_on(path: NDArray[np.float64], centre: tuple[float, float], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which points ``[N]`` of a path ``[N, 2 or 3]``, px from `centre` (y, x), lie on a mask ``[H, W]``."""
    y, x = (np.round(path[:, axis] + centre[axis]).astype(int) for axis in (0, 1))
    on = (y >= 0) & (y < mask.shape[0]) & (x >= 0) & (x < mask.shape[1])
    on[on] = mask[y[on], x[on]]
    return np.asarray(on)


def trim_cracks(shape: HoleShape, centre: tuple[float, float], free: NDArray[np.bool_], most_area: float) -> HoleShape:
    """End each crack where it would leave the free part, and keep all of them within their share of the area."""
    cracks = []
    budget = most_area
    for crack in shape.cracks:
        inside = points_on(crack, centre, free)
        length = len(crack) if inside.all() else int(np.argmin(inside))
        stride = np.hypot(*np.diff(crack[:, :2], axis=0).T)
        outside_core = np.hypot(crack[1:, 0], crack[1:, 1]) > math.sqrt(polygon_area(shape.core) / math.pi)
        used = np.cumsum(stride * 2 * crack[1:, 2] * outside_core)
        length = min(length, 1 + int(np.searchsorted(used, budget)))
        if length >= 3 and used[length - 2] > 0:
            # Two points short of the edge, so that the crack's own width stays on the part.
            kept = crack[: max(3, length - 2)]
            cracks.append(kept)
            budget -= float(used[len(kept) - 2])
    return HoleShape(shape.core, tuple(cracks))


def draw_within(
    shape: HoleShape, centre: tuple[float, float], area: float, part: NDArray[np.bool_], free: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], int, int, float] | str:
    """Draw a hole of the wanted area; a string says why the place will not do."""
    scale = 1.0
    box, top, left = rasterise(shape, centre, scale)
    core = polygon_area(shape.core)
    for _ in range(3):
        # Cracks and raster take or give some area; the core makes up for it.
        missing = area - float(np.count_nonzero(box))
        if abs(missing) <= 0.01 * area:
            break
        scale = math.sqrt(max(0.25, scale * scale + missing / core))
        box, top, left = rasterise(shape, centre, scale)
    drawn = int(np.count_nonzero(box))
    box, top, left = inside_picture(box, top, left, part.shape)
    window = (slice(top, top + box.shape[0]), slice(left, left + box.shape[1]))
    if np.count_nonzero(box & part[window]) < _LEAST_ON_PART * drawn:
        return f"less than {_LEAST_ON_PART:.0%} of the hole would lie on the part"
    kept = box & free[window]
    if np.count_nonzero(kept) < _LEAST_ON_PART * drawn:
        return "it would reach into the keep-out mask or another hole"
    labels, count = ndimage.label(kept, structure=np.ones((3, 3)))
    if count > 1:
        # What the cut left hanging by no pixel is dust (under 2 % of the hole), not a second defect.
        kept = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return kept, top, left, scale


def _xy(points: NDArray[np.float64]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for y, x in points]
