"""Defects that are areas: hole, spot, stain, dent, chip. Each draws one of unit area along the x axis."""

from __future__ import annotations

import math

import numpy as np

from ..hole_shapes import draw_core, draw_cracks
from .drawing import Shape, blob, centred

#: Real holes cover a median of 4.1 % of their part: a hole of unit area is on a part of this diameter.
_PART_OF_A_HOLE = 2.0 * math.sqrt(1.0 / 0.041 / math.pi)


def hole(rng: np.random.Generator) -> Shape:
    """A ragged opening with up to three thin cracks along x, by the statistics of real hazelnut holes."""
    count = int(rng.integers(4))
    area = 0.94 if count == 0 else rng.uniform(0.72, 0.92)
    radius = math.sqrt(area / math.pi)
    cracks = draw_cracks(rng, count, radius, 60.0 * _PART_OF_A_HOLE, 0.0) if count else ()
    # Drawn at sixty times its size, where a step of the walk is short against it.
    small = [np.stack([crack[:, 0], crack[:, 1], crack[:, 2]], axis=-1) / 60.0 for crack in cracks]
    budget = (1.0 - area) * 1.4
    strokes = []
    for crack in small:
        steps = np.hypot(*np.diff(crack[:, :2], axis=0).T)
        used = np.cumsum(steps * 2.0 * crack[1:, 2])
        length = 1 + int(np.searchsorted(used, budget / max(1, count)))
        if length >= 4:
            strokes.append(crack[: length + 1])
    return centred([draw_core(rng, area)], strokes)


def spot(rng: np.random.Generator) -> Shape:
    """Contamination: an irregular grain, at times with one to three smaller ones beside it."""
    main = blob(rng, rng.uniform(0.3, 0.85), 0.16, 0.05)
    outlines = [main]
    for _ in range(int(rng.integers(4))):
        size, angle = rng.uniform(0.12, 0.35), rng.uniform(0, 2 * math.pi)
        away = rng.uniform(0.85, 1.3)
        outlines.append(
            blob(rng, rng.uniform(0.2, 0.8), 0.15, 0.04, 48) * size
            + away * np.array([math.sin(angle), math.cos(angle)])
        )
    return centred(outlines, [])


def stain(rng: np.random.Generator) -> Shape:
    """A soft spread of liquid or colour: one to three smooth lobes that run into each other."""
    outlines = [blob(rng, rng.uniform(0.3, 0.8), 0.12, 0.0)]
    for _ in range(int(rng.integers(3))):
        angle, size = rng.uniform(0, 2 * math.pi), rng.uniform(0.4, 0.75)
        lobe = blob(rng, rng.uniform(0.2, 0.7), 0.10, 0.0) * size
        outlines.append(lobe + 0.42 * np.array([math.sin(angle), math.cos(angle)]))
    return centred(outlines, [])


def dent(rng: np.random.Generator) -> Shape:
    """A pressed-in place: nearly an ellipse."""
    return centred([blob(rng, rng.uniform(0.2, 0.75), 0.05, 0.0)], [])


def chip(rng: np.random.Generator) -> Shape:
    """What breaks off at an edge: a jagged half-moon, its long side along x, on the edge."""
    return centred([blob(rng, rng.uniform(0.6, 0.9), 0.12, 0.05)], [])
