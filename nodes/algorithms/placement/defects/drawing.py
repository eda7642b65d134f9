"""Shapes of defects as closed outlines and tapering strokes, and drawing them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """A defect around the origin, of about unit area, lying along the x axis.

    Attributes:
        outlines: closed ``[N, 2]`` outlines, (y, x).
        strokes: ``[M, 3]`` paths of (y, x, half width).
    """

    outlines: tuple[Floats, ...] = ()
    strokes: tuple[Floats, ...] = ()

    def placed(self, scale: float, angle: float, centre: tuple[float, float]) -> Shape:
        """The shape enlarged, turned by `angle` (rad, from x towards y) and moved to `centre` (y, x)."""
        cos, sin = math.cos(angle) * scale, math.sin(angle) * scale

        def moved(points: Floats) -> Floats:
            y, x = points[:, 0], points[:, 1]
            out = np.stack([centre[0] + sin * x + cos * y, centre[1] + cos * x - sin * y], axis=-1)
            return np.concatenate([out, points[:, 2:] * scale], axis=-1)

        return Shape(tuple(map(moved, self.outlines)), tuple(map(moved, self.strokes)))

    def points(self) -> Floats:
        """``[N, 2]`` places that stand for the whole shape: its outlines, and both sides of its strokes."""
        sides = []
        for stroke in self.strokes:
            normal = _normals(stroke)
            sides += [stroke[:, :2] + normal * stroke[:, 2:], stroke[:, :2] - normal * stroke[:, 2:]]
        return np.concatenate([*self.outlines, *sides])

    def raster(self) -> tuple[NDArray[np.bool_], int, int]:
        """The smallest box that holds it, ``[h, w]``, and the row and column of its first pixel (may be negative)."""
        points = self.points()
        low = np.floor(points.min(axis=0) - 2.0).astype(int)
        high = np.ceil(points.max(axis=0) + 2.0).astype(int) + 1
        canvas = Image.new("L", (int(high[1] - low[1]), int(high[0] - low[0])))
        draw = ImageDraw.Draw(canvas)
        for outline in self.outlines:
            draw.polygon(_xy(outline - low), fill=1)
        for stroke in self.strokes:
            path, side = stroke[:, :2] - low, _normals(stroke) * stroke[:, 2:]
            draw.polygon(_xy(np.concatenate([path + side, (path - side)[::-1]])), fill=1)
            for (y, x), half in zip(path, stroke[:, 2], strict=True):
                # Round joints: the sides of a bend alone would leave notches in it.
                if half > 1.0:
                    draw.ellipse([x - half, y - half, x + half, y + half], fill=1)
            # The one pixel wide line keeps a stroke in one piece where it gets thinner than a pixel.
            draw.line(_xy(path), fill=1, width=1)
        return np.asarray(canvas, bool), int(low[0]), int(low[1])


def _normals(stroke: Floats) -> Floats:
    tangent = np.gradient(stroke[:, :2], axis=0)
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], axis=-1)
    unit: Floats = normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    return unit


def _xy(points: Floats) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for y, x in points]


def blob(rng: np.random.Generator, eccentricity: float, low: float, high: float, points: int = 96) -> Floats:
    """A closed outline of unit area: an ellipse along x with lumps (`low`) and chips (`high`, shares of the radius)."""
    angle = np.linspace(0, 2 * math.pi, points, endpoint=False)
    radius = np.ones_like(angle)
    for orders, amount in ((np.arange(2, 6), low), (np.arange(6, 20), high)):
        size = rng.normal(0.0, 1.0, orders.size) / orders
        size *= amount / math.sqrt(float(np.mean(1.0 / np.square(orders))))
        phase = rng.uniform(0, 2 * math.pi, orders.size)
        radius = radius + (size[:, None] * np.cos(orders[:, None] * angle + phase[:, None])).sum(axis=0)
    radius = np.maximum(radius, 0.3)
    ratio = (1.0 - eccentricity**2) ** 0.25
    outline = np.stack([radius * np.sin(angle) * ratio, radius * np.cos(angle) / ratio], axis=-1)
    return outline / math.sqrt(outline_area(outline))


def outline_area(outline: Floats) -> float:
    """Area inside a closed outline ``[N, 2]``, by the shoelace formula."""
    y, x = outline[:, 0], outline[:, 1]
    return 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))


def walk(
    rng: np.random.Generator, length: float, width: float, bend: float, jag: float, taper: tuple[float, float]
) -> Floats:
    """A stroke from the origin along x, ``[M, 3]``.

    Args:
        rng: source of all randomness.
        length: of the path.
        width: full width at its widest.
        bend: total change of direction of its smooth curve, rad.
        jag: standard deviation of the direction of one step of a hundredth of it, rad; pulled back to the curve.
        taper: exponents of the narrowing at its start and its end; 0 ends bluntly.
    """
    steps = 64
    along = np.linspace(0.0, 1.0, steps)
    noise = np.zeros(steps)
    for i in range(1, steps):
        noise[i] = 0.86 * noise[i - 1] + rng.normal(0.0, jag)
    heading = bend * (along - 0.5) + noise
    stride = length / (steps - 1)
    y = np.concatenate([[0.0], np.cumsum(np.sin(heading[1:]))]) * stride
    x = np.concatenate([[0.0], np.cumsum(np.cos(heading[1:]))]) * stride
    half = 0.5 * width * np.clip(4.0 * along, 0.02, 1.0) ** taper[0] * np.clip(4.0 * (1 - along), 0.02, 1.0) ** taper[1]
    half = half * (1.0 + 0.2 * np.sin(np.cumsum(rng.normal(0.0, 0.4, steps))))
    return np.stack([y, x, half], axis=-1)


def centred(outlines: list[Floats], strokes: list[Floats]) -> Shape:
    """The parts as one shape around the middle of its extent, of about unit area."""
    area = sum(outline_area(outline) for outline in outlines)
    for stroke in strokes:
        steps = np.hypot(*np.diff(stroke[:, :2], axis=0).T)
        area += float(np.sum(steps * (stroke[1:, 2] + stroke[:-1, 2])))
    shape = Shape(tuple(outlines), tuple(strokes))
    points = shape.points()
    middle = 0.5 * (points.min(axis=0) + points.max(axis=0))
    scale = 1.0 / math.sqrt(area)
    return shape.placed(scale, 0.0, (-float(middle[0]) * scale, -float(middle[1]) * scale))
