"""Placing a defect inside the part's outline."""

from __future__ import annotations

import math

import numpy as np

from ..directions import line_direction
from . import ACROSS_LINES, ACROSS_PART, ALONG_LINES, ALONG_PART, AS_TYPE, DefectType
from .drawing import Shape
from .ground import AREA_TOLERANCE, Bools, Found, Ground, kept

#: Weight of places that are possible, but not where such defects are found.
UNUSUAL = 0.02


def inside(
    rng: np.random.Generator,
    ground: Ground,
    orientation: str,
    kind: DefectType,
    area: float,
    goal: tuple[float, float] | None,
) -> Found | str:
    assert kind.draw is not None
    shape, radius = kind.draw(rng), math.sqrt(area / math.pi)
    weights = np.where(ground.depth >= max(1.0, kind.rim * radius), 1.0, 0.0)
    rows, columns = np.indices(weights.shape)
    if goal is not None:
        # The real ones' place, as closely as the part allows.
        away = np.hypot(rows * ground.step - goal[0], columns * ground.step - goal[1])
        weights *= np.exp(-0.5 * np.square(away / (0.06 * ground.frame.radius))) + 1e-9
    elif kind.radial is not None and not ground.frame.whole:
        away = np.hypot(rows * ground.step - ground.frame.centre[0], columns * ground.step - ground.frame.centre[1])
        radial = away / ground.frame.radius
        fits = (radial >= kind.radial[0]) & (radial <= kind.radial[1])
        # Over the radius, so that each distance from the centre is as likely as the other.
        weights *= np.where(fits, 1.0, UNUSUAL) / np.maximum(radial, 0.1)
    if kind.usual and ground.usual is not ground.small and goal is None:
        weights *= np.where(ground.usual, 1.0, UNUSUAL)
    cumulative = np.cumsum(weights.ravel())
    if cumulative[-1] <= 0:
        return "nowhere is as far from the edge, the keep-out mask and other defects as its size asks"
    # Several places for one shape: a long crack fits in few, and drawing it again costs more than moving it.
    for _ in range(8):
        cell = min(int(np.searchsorted(cumulative, rng.uniform() * cumulative[-1], side="right")), weights.size - 1)
        row, column = divmod(cell, weights.shape[1])
        centre = ((row + rng.uniform()) * ground.step, (column + rng.uniform()) * ground.step)
        direction = _direction(rng, ground, orientation, kind, centre, radius)
        placed = shape.placed(math.sqrt(area), direction, centre)
        if not _on(placed, ground):
            continue
        drawn = _drawn(placed, shape, direction, centre, ground, area)
        if not isinstance(drawn, str):
            return (*drawn, direction)
    return "it would reach off the part, into the keep-out mask or into another defect"


def _direction(
    rng: np.random.Generator,
    ground: Ground,
    orientation: str,
    kind: DefectType,
    centre: tuple[float, float],
    radius: float,
) -> float:
    wish, spread = kind.lies if orientation == AS_TYPE else (orientation, 0.08)
    noise, any_way = rng.normal(0.0, 1.0) * spread, rng.uniform(-math.pi, math.pi)
    # Both ends are alike.
    half = math.pi if any_way > 0 else 0.0
    if wish in (ALONG_PART, ACROSS_PART):
        return ground.frame.axis + (math.pi / 2 if wish == ACROSS_PART else 0.0) + noise + half
    if wish in (ALONG_LINES, ACROSS_LINES):
        line = line_direction(ground.photo, centre, max(radius, 0.05 * ground.frame.radius), ground.frame.axis)
        return line + (math.pi / 2 if wish == ACROSS_LINES else 0.0) + noise + half
    return any_way


def _on(placed: Shape, ground: Ground) -> bool:
    """A quick look on the map whether the shape lies on what is free."""
    cells = np.round(placed.points()[::3] / ground.step).astype(int)
    height, width = ground.depth.shape
    if cells.min() < 0 or cells[:, 0].max() >= height or cells[:, 1].max() >= width:
        return False
    return bool(ground.depth[cells[:, 0], cells[:, 1]].min() > 0)


def _drawn(
    placed: Shape, shape: Shape, direction: float, centre: tuple[float, float], ground: Ground, area: float
) -> tuple[Bools, int, int] | str:
    scale = math.sqrt(area)
    box, top, left = placed.raster()
    for _ in range(4):
        drawn = int(np.count_nonzero(box))
        if abs(drawn - area) <= AREA_TOLERANCE / 2 * area:
            break
        # Overlapping parts and the least width of a line: the size makes up for them.
        scale *= float(np.clip(math.sqrt(area / max(drawn, 1)), 0.5, 2.0))
        box, top, left = shape.placed(scale, direction, centre).raster()
    result = kept((box, top, left, direction), ground)
    return result if isinstance(result, str) else result[:3]
