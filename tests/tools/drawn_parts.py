"""Drawn stand-ins for kinds of parts: what the placement of defects sees, without any real photo.

Objects before white, black and patterned ground, and textures that fill the picture, named after the MVTec AD category
that each stands for. The nut is the project's own drawn one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Photo = NDArray[np.uint8]
Bools = NDArray[np.bool_]

#: The textures: they fill their picture.
TEXTURES = ("carpet", "grid", "wood")


def draw_part(kind: str, size: int = 512) -> tuple[Photo, Bools]:
    """A photo ``[size, size, 3]`` of a drawn part and the mask of the part, by the name of its category."""
    picture, part = KINDS[kind](size)
    grain = np.random.default_rng(7).normal(0.0, 2.0, (size, size, 1))
    return np.clip(picture + grain, 0, 255).astype(np.uint8), part


def _plane(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y, x = np.mgrid[:size, :size]
    return (y + 0.5) / size * 2 - 1, (x + 0.5) / size * 2 - 1


def _painted(
    part: Bools, colour: NDArray[np.float64], ground: tuple[float, float, float]
) -> tuple[NDArray[np.float64], Bools]:
    soft = ndimage.gaussian_filter(part.astype(np.float64), 1.0)[..., None]
    return soft * colour + (1 - soft) * np.array(ground), part


def _bottle(size: int) -> tuple[NDArray[np.float64], Bools]:
    y, x = _plane(size)
    r = np.hypot(y, x)
    tone = 45 + 25 * np.cos(r * 34) * (r > 0.45) - 25 * (r < 0.45)
    tone = tone[..., None] * np.array([1.0, 0.95, 0.9])
    tone[(r > 0.60) & (r < 0.63)] = (190, 110, 60)
    return _painted(r < 0.88, tone, (250.0, 250.0, 250.0))


def _capsule(size: int) -> tuple[NDArray[np.float64], Bools]:
    y, x = _plane(size)
    part = np.hypot(y, np.maximum(np.abs(x) - 0.55, 0)) < 0.28
    colour = np.where((x < 0)[..., None], [30, 28, 30], [185, 85, 60]) * (1.1 - 0.5 * np.square(y / 0.28))[..., None]
    return _painted(part, colour, (205.0, 203.0, 198.0))


def _carpet(size: int) -> tuple[NDArray[np.float64], Bools]:
    y, x = _plane(size)
    weave = np.sin(x * 120) * np.sin(y * 120) + 0.5 * np.sin(x * 120 + y * 7)
    return (105 + 28 * weave)[..., None] * np.array([1.0, 0.97, 0.95]), np.ones((size, size), bool)


def _grid(size: int) -> tuple[NDArray[np.float64], Bools]:
    y, x = _plane(size)
    wire = np.minimum(np.abs(np.sin((x + 0.5 * y) * 20)), np.abs(np.sin((x - 0.5 * y) * 20)))
    return np.where(wire < 0.30, 55.0, 165.0)[..., None] * np.ones(3), np.ones((size, size), bool)


def _hazelnut(size: int) -> tuple[NDArray[np.float64], Bools]:
    from defectforge.nodes.algorithms.placement.foreground import find_object
    from defectforge.runner.nuts import View, draw_pair

    sound, _, _ = draw_pair(4, size=size, defect_seed=8, view=View(half=0.85))
    return sound.astype(np.float64), find_object(sound).mask


def _metal_nut(size: int) -> tuple[NDArray[np.float64], Bools]:
    y, x = _plane(size)
    r, angle = np.hypot(y, x), np.arctan2(y, x)
    part = (r < 0.72 + 0.12 * np.tanh(4 * np.sin(4 * angle + 0.6))) & (r > 0.2)
    tone = 125 + 30 * np.cos(5 * angle + 9 * r) + 25 * (np.abs(r - 0.3) < 0.06)
    return _painted(part, tone[..., None] * np.array([0.9, 1.0, 0.95]), (18.0, 19.0, 24.0))


def _pill(size: int) -> tuple[NDArray[np.float64], Bools]:
    y, x = _plane(size)
    part = np.square(x / 0.8) + np.square(y / 0.5) < 1
    specks = ndimage.gaussian_filter(np.random.default_rng(3).normal(0, 1, (size, size)), size / 110) * size / 70
    colour = np.where((specks > 4.2)[..., None], [190, 150, 145], [222, 220, 214])
    return _painted(part, colour.astype(np.float64), (22.0, 22.0, 34.0))


def _wood(size: int) -> tuple[NDArray[np.float64], Bools]:
    y, x = _plane(size)
    grain = np.sin(x * 46 + 2.2 * np.sin(y * 2.1) + 0.8 * np.sin(y * 5 + x * 6))
    return (165 + 26 * grain)[..., None] * np.array([1.0, 0.74, 0.5]), np.ones((size, size), bool)


KINDS: dict[str, Callable[[int], tuple[NDArray[np.float64], Bools]]] = {
    "bottle": _bottle,
    "capsule": _capsule,
    "carpet": _carpet,
    "grid": _grid,
    "hazelnut": _hazelnut,
    "metal_nut": _metal_nut,
    "pill": _pill,
    "wood": _wood,
}


def patterned_ground(size: int = 512) -> tuple[Photo, Bools]:
    """A grey disc on a chequered cloth: no plain background, and no texture that fills the picture."""
    y, x = _plane(size)
    cloth = 110 + 60 * (np.sin(x * 40) * np.sin(y * 40) > 0)
    part = np.hypot(y - 0.1, x + 0.05) < 0.5
    picture, _ = _painted(part, np.full((size, size, 3), 200.0) * (1 - 0.15 * x)[..., None], (0.0, 0.0, 0.0))
    out = np.where(part[..., None], picture, cloth[..., None] * np.array([0.6, 0.8, 1.0]))
    return np.clip(out, 0, 255).astype(np.uint8), part


def several_parts(size: int = 512) -> tuple[Photo, Bools]:
    """Three discs of two sizes on black."""
    y, x = _plane(size)
    part = np.zeros((size, size), bool)
    for cy, cx, radius in ((-0.45, -0.45, 0.33), (0.4, -0.35, 0.33), (0.05, 0.5, 0.26)):
        part |= np.hypot(y - cy, x - cx) < radius
    picture, _ = _painted(part, np.full((size, size, 3), (150.0, 110.0, 90.0)), (20.0, 20.0, 22.0))
    return np.clip(picture, 0, 255).astype(np.uint8), part


def cut_by_the_frame(size: int = 512) -> tuple[Photo, Bools]:
    """A disc of which the photo shows a half."""
    y, x = _plane(size)
    part = np.hypot(y, x + 1.0) < 0.8
    shade = (1 - 0.2 * np.cos(math.pi * y))[..., None]
    picture, _ = _painted(part, np.full((size, size, 3), (140.0, 100.0, 80.0)) * shade, (30.0, 30.0, 32.0))
    return np.clip(picture, 0, 255).astype(np.uint8), part
