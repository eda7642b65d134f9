"""Fine lines that no latent model can draw at its working size, etched into the photo itself.

A real hole has one to three cracks of 6 to 12 px in a photo of 1024 px (specs: defect_synthesis 0.4). In a working
crop they are thinner than a latent cell: the model draws nothing there, and a label that shows them anyway teaches a
detector to find cracks in sound shell. So they are drawn where the photo has its full resolution: dark and jagged, with
a shade beside them and, here and there, the light edge of broken shell.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

#: The bottom of a crack, as a share of the colour around it: light does not reach it.
_BOTTOM = 0.2

#: A crack's width, as a share of the mask's, where it is widest; and how much it changes along the way.
_WIDTH, _WIDTH_CHANGE = 0.5, 0.3

#: The shade beside a crack, where the shell bends into it: its strength, and how far it reaches in half widths.
_SHADE, _REACH = 0.28, 1.4

#: How far a crack leaves the middle of its mask, as a share of the mask's half width: shell breaks in short steps.
_JAGGED = 0.7

#: Relative roughness of a crack's depth along its way.
_RAGGED = 0.2

#: The faintest of several lines, as a share of the strength that is asked for: cracks of one hole differ in depth.
_FAINTEST = 0.6

#: Most that a broken edge is lighter than the surface, and the share of a crack's way that has one.
_EDGE_LIGHT, _EDGE_SHARE = 0.35, 0.3

#: Distance around the line, in px, over which the colour around it is averaged.
_AROUND = 12.0


def joined(lines: NDArray[np.bool_], place: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Lengthen each line to the defect that it belongs to: a model seldom fills the mask that the lines leave from.

    Args:
        lines: ``[H, W]``, fine lines.
        place: ``[H, W]``, where the painted defect is.

    Returns:
        ``[H, W]``, without what lies on the defect itself.
    """
    if not place.any():
        return lines
    away, (to_y, to_x) = ndimage.distance_transform_edt(~place, return_indices=True)
    canvas = Image.fromarray(lines)
    draw = ImageDraw.Draw(canvas)
    pieces, count = ndimage.label(lines, np.ones((3, 3)))
    for number in range(1, count + 1):
        rows, columns = np.nonzero(pieces == number)
        nearest = int(np.argmin(away[rows, columns]))
        y, x = int(rows[nearest]), int(columns[nearest])
        if away[y, x] > 1.5:
            # A line's area over its length is its width.
            length = max(1, int(np.hypot(np.ptp(rows), np.ptp(columns))))
            width = max(1, round(len(rows) / length))
            draw.line([(x, y), (int(to_x[y, x]), int(to_y[y, x]))], fill=1, width=width)
    return np.asarray(canvas, bool) & ~place


def line_depth(line: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float32]:
    """How deep a fine line is at each pixel: 1 along its middle, fading to 0 at its edge.

    The mask says where the line runs; drawn as it stands it would be a band with stairs. So its middle is displaced by
    fractions of its width, its width changes along the way, and its edge is one pixel of transition, as a lens gives.

    Args:
        line: ``[H, W]``, thin parts of a mask.
        rng: of the roughness.

    Returns:
        ``[H, W]`` float32, 0..1; more than two pixels outside the line it is 0.
    """
    if not line.any():
        return np.zeros(line.shape, np.float32)
    inside = ndimage.distance_transform_edt(np.pad(line, 1))[1:-1, 1:-1]
    half = max(1.0, float(np.percentile(inside[line], 90)))
    signed = inside - ndimage.distance_transform_edt(~line)
    signed = ndimage.gaussian_filter(np.clip(signed, -3.0 * half, None), 0.5 * half)
    rows, columns = np.indices(line.shape, np.float32)
    step = _JAGGED * half
    signed = ndimage.map_coordinates(
        signed,
        [rows + step * _waves(line.shape, 1.5 * half, rng), columns + step * _waves(line.shape, 1.5 * half, rng)],
        order=1,
        mode="nearest",
    )
    width = half * _WIDTH * np.clip(1.0 + _WIDTH_CHANGE * _waves(line.shape, 4.0 * half, rng), 0.3, 1.5)
    # The middle of the smoothed mask lies a little below `half`; the line is what is within `width` of it.
    soft = max(1.0, 0.5 * half)
    depth = np.clip((signed - (0.8 * half - width)) / soft + 0.5, 0.0, 1.0)
    depth = np.maximum(depth, _SHADE * np.clip((signed - (0.8 - _REACH) * half) / soft + 0.5, 0.0, 1.0))
    depth = np.where(ndimage.distance_transform_edt(~line) <= 2.0, depth, 0.0)
    return np.clip(depth * (1.0 + _RAGGED * _waves(line.shape, 3.0 * half, rng)), 0.0, 1.0).astype(np.float32)


def _waves(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth noise of standard deviation 1, ``[H, W]``; `sigma` px wide."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), sigma)
    return np.asarray(noise / max(1e-9, float(noise.std())), np.float32)


def etched(
    image: NDArray[np.floating], line: NDArray[np.bool_], strength: float, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Draw fine lines into a picture.

    Args:
        image: ``[H, W, 3]``, 0..1.
        line: ``[H, W]``.
        strength: 0 draws nothing, 1 goes down to a fifth of the surroundings' brightness.
        seed: of the roughness.

    Returns:
        The picture ``[H, W, 3]`` float32, and where it was touched ``[H, W]``.
    """
    photo = np.asarray(image, np.float32)
    rng = np.random.default_rng([seed & 0xFFFFFFFFFFFFFFFF, 0xE7])
    pieces, count = ndimage.label(line, np.ones((3, 3)))
    strengths = np.concatenate([[1.0], rng.uniform(_FAINTEST, 1.0, count)])
    # A line's depth ends a pixel or two outside it: there its own strength counts, too.
    nearest = ndimage.distance_transform_edt(pieces == 0, return_distances=False, return_indices=True)
    depth = line_depth(line, rng) * (strength * strengths[pieces[tuple(nearest)]]).astype(np.float32)
    lit = strength * _edge_light(depth, rng)
    touched = (depth > 0.02) | (lit > 0.02)
    if not touched.any():
        return photo, touched
    around = ndimage.gaussian_filter(photo, (_AROUND, _AROUND, 0.0), truncate=2.0)
    weight, lit = np.where(touched, depth, 0.0)[..., None], np.where(touched, lit, 0.0)[..., None]
    bright = photo + lit * (1.0 - photo) * around
    return (bright + weight * (np.minimum(photo, _BOTTOM * around) - bright)).astype(np.float32), touched


def _edge_light(depth: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """How much lighter the broken edge beside a crack is, here and there on one of its sides; ``[H, W]``, 0..1."""
    turn = rng.uniform(0.0, 2.0 * np.pi)
    beside = ndimage.shift(ndimage.gaussian_filter(depth, 0.7), (1.5 * np.sin(turn), 1.5 * np.cos(turn)), order=1)
    waves = _waves(depth.shape, 6.0, rng)
    some = np.clip((waves - np.quantile(waves, 1.0 - _EDGE_SHARE)) / 0.5, 0.0, 1.0)
    return np.asarray(_EDGE_LIGHT * some * np.clip(beside - depth, 0.0, 1.0), np.float32)
