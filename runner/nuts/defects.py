"""Defects drawn into the shell, with their exact masks: hole, crack, cut, print, stain.

Sizes follow measurements of six real ``hole`` masks: core 15 to 26 % of the nut's diameter, centre at 0.27 to 0.65 of
the nut's radius, one dark opening inside a light chipped rim, up to three thin cracks that run along the ribs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from .noise import Floats, smoothstep
from .shape import Surface
from .shell import Shell

#: What the miniature checkpoint has seen in its training, and what no checkpoint of ours has seen: what a LoRA learns.
KINDS = ("hole", "crack", "cut", "print")
UNSEEN_KINDS = ("stain",)
ALL_KINDS = (*KINDS, *UNSEEN_KINDS)


class NoRoomError(ValueError):
    """The nut lies so that no sound part of its shell is in sight where the defect could be."""


@dataclass(frozen=True)
class Defect:
    """A defect's place on the nut and its shape. ``centre`` is in camera axes, nut units; ``size`` in nut units."""

    kind: str
    centre: Floats
    along: Floats
    across: Floats
    size: float
    turn: float
    seed: int
    lines: list[NDArray[np.float64]] = field(default_factory=list)

    def local(self, surface: Surface) -> tuple[Floats, Floats]:
        """Coordinates of the nut's pixels along the ribs and across them, in nut units from the centre."""
        offset = surface.camera - self.centre
        u, v = offset @ self.along, offset @ self.across
        cos, sin = np.float32(np.cos(self.turn)), np.float32(np.sin(self.turn))
        return u * cos + v * sin, v * cos - u * sin


class _Outline:
    """A ragged closed outline: radius by angle as a random Fourier series, stretched along the ribs."""

    def __init__(self, rng: np.random.Generator, rough: float, stretch: float, lobes: int = 14) -> None:
        order = np.arange(2, lobes)
        self._order = order
        self._weight = rough * rng.normal(0.0, 1.0, (2, len(order))) / order**1.25
        self._stretch = stretch

    def excess(self, u: Floats, v: Floats, radius: float) -> Floats:
        """Distance outside the outline of mean ``radius``, negative inside."""
        r = np.hypot(u / self._stretch, v * self._stretch)
        angle = np.arctan2(v, u)
        wave = np.ones_like(r)
        for order, a, b in zip(self._order, *self._weight, strict=True):
            wave += np.float32(a) * np.cos(order * angle) + np.float32(b) * np.sin(order * angle)
        return (r - radius * np.clip(wave, 0.45, 1.8)).astype(np.float32)


def place(rng: np.random.Generator, kind: str, surface: Surface, shell: Shell) -> Defect:
    """Choose a spot on the visible shell, off the scar and away from the rim.

    Raises:
        NoRoomError: if the nut's pose hides all of its shell.
    """
    cover = shell.scar_cover(surface)
    distance = np.hypot(surface.camera[:, 0], surface.camera[:, 1])
    size = {
        "hole": (0.15, 0.26),
        "crack": (0.25, 0.5),
        "cut": (0.18, 0.36),
        "print": (0.35, 0.55),
        "stain": (0.17, 0.27),
    }[kind]
    diameter = rng.uniform(*size)
    margin = 0.75 * diameter
    centre_x, centre_y = surface.camera[:, 0].mean(), surface.camera[:, 1].mean()
    offset = np.hypot(surface.camera[:, 0] - centre_x, surface.camera[:, 1] - centre_y)
    allowed = (offset > 0.22) & (offset < 0.62) & (surface.cosine < 0.86) & (cover < 0.01) & (distance < 0.9)
    index = np.flatnonzero(allowed)
    if not len(index):
        raise NoRoomError(
            f"no room for a {kind} on this nut: its pose hides the shell between scar and rim; use another seed"
        )
    scar = surface.camera[cover > 0.5]
    for _ in range(60):
        centre = surface.camera[rng.choice(index)]
        if len(scar) == 0 or np.linalg.norm(scar[:: max(1, len(scar) // 400)] - centre, axis=1).min() > margin:
            break
    nut = np.linalg.norm(surface.camera - centre, axis=1).argmin()
    normal = surface.normals[nut]
    axis = _axis(surface)
    along = axis - normal * (axis @ normal)
    along = along / (np.linalg.norm(along) + 1e-9)
    across = np.cross(normal, along)
    turn = {"hole": rng.normal(0.0, 0.2), "crack": rng.normal(0.0, 0.25), "cut": rng.uniform(-1.6, 1.6)}.get(
        kind, rng.uniform(-0.5, 0.5)
    )
    lines = _cracks(rng, kind, diameter)
    return Defect(
        kind,
        centre.astype(np.float32),
        along.astype(np.float32),
        across.astype(np.float32),
        float(diameter),
        float(turn),
        int(rng.integers(2**31)),
        lines,
    )


def _axis(surface: Surface) -> Floats:
    # The tip's direction in camera axes, from two sets of coordinates of the same points.
    solution, *_ = np.linalg.lstsq(surface.points.astype(np.float64), surface.camera.astype(np.float64), rcond=None)
    return solution[0].astype(np.float32)


def _cracks(rng: np.random.Generator, kind: str, diameter: float) -> list[NDArray[np.float64]]:
    """Random walks along the ribs in local coordinates; nut units."""
    count = {"hole": rng.choice(4, p=[0.25, 0.35, 0.3, 0.1]), "crack": 1 + rng.integers(2)}.get(kind, 0)
    walks: list[NDArray[np.float64]] = []
    side = rng.choice([-1.0, 1.0])
    for i in range(int(count)):
        length = rng.uniform(0.15, 0.42) if kind == "hole" else rng.uniform(0.5, 1.0)
        steps = max(4, int(length / 0.03))
        heading = np.cumsum(rng.normal(0.0, 0.13, steps)) + rng.normal(0.0, 0.18)
        start = np.array([0.30 * diameter * side, rng.normal(0.0, 0.12) * diameter])
        if kind == "crack":
            start = np.array([-0.5 * length * side, rng.normal(0.0, 0.06)]) if i == 0 else walks[0][len(walks[0]) // 2]
        steps_xy = np.stack([side * np.cos(heading), np.sin(heading)], 1) * (length / steps)
        walks.append(start + np.concatenate([np.zeros((1, 2)), np.cumsum(steps_xy, 0)]))
        side = -side
    return walks


def _distance_to(u: Floats, v: Floats, line: NDArray[np.float64]) -> tuple[Floats, Floats]:
    """Distance to a polyline and the position 0..1 along it."""
    best = np.full(u.shape, 9.0, np.float32)
    where = np.zeros(u.shape, np.float32)
    count = len(line) - 1
    for i, (a, b) in enumerate(pairwise(line)):
        edge = (b - a).astype(np.float32)
        t = np.clip(((u - a[0]) * edge[0] + (v - a[1]) * edge[1]) / (edge @ edge + 1e-9), 0.0, 1.0)
        d = np.hypot(u - a[0] - t * edge[0], v - a[1] - t * edge[1]).astype(np.float32)
        nearer = d < best
        best[nearer] = d[nearer]
        where[nearer] = (i + t[nearer]) / count
    return best, where


def draw(surface: Surface, shell: Shell, defect: Defect, colour: Floats, light: Floats) -> tuple[Floats, Floats]:
    """Paint ``defect`` over lit colours ``[N, 3]``; returns the new colours and the label 0..1 over the nut's pixels.

    ``light`` is the brightness factor that ``colour`` was lit with: fresh wood takes it, the dark inside does not.
    """
    rng = np.random.default_rng(defect.seed)
    front = surface.normals[:, 2] > 0.02
    u, v = defect.local(surface)
    painter = {"hole": _hole, "crack": _crack, "cut": _cut, "print": _print, "stain": _stain}[defect.kind]
    colour, label = painter(rng, surface, shell, defect, u, v, colour.copy(), light)
    return colour, label * front


def _lay(colour: Floats, cover: Floats, over: Floats) -> Floats:
    return colour + cover[:, None] * (over - colour)


def _thin(distance: Floats, width: float, pixel: float) -> Floats:
    """Coverage of a line: below a pixel's width it fades instead of breaking up."""
    half = max(width / 2.0, 0.5 * pixel)
    return np.float32(min(1.0, width / pixel)) * smoothstep(-distance, -half - 0.6 * pixel, -half + 0.6 * pixel)


def _draw_cracks(
    surface: Surface, defect: Defect, u: Floats, v: Floats, colour: Floats, light: Floats, width: float
) -> tuple[Floats, Floats]:
    label = np.zeros_like(u)
    for line in defect.lines:
        near = np.flatnonzero(np.hypot(u - line.mean(0)[0], v - line.mean(0)[1]) < 1.2)
        if not len(near):
            continue
        distance, where = _distance_to(u[near], v[near], line)
        taper = 1.0 - 0.75 * where
        dark = _thin(distance / taper, width, surface.pixel)
        lip = _thin(distance / taper, 3.2 * width, surface.pixel) * 0.45
        colour[near] = _lay(colour[near], lip, np.array([196, 142, 98], np.float32) * light[near, None])
        colour[near] = _lay(colour[near], 0.92 * dark, np.array([30, 19, 17], np.float32))
        # A labeller's stroke: real crack masks are 6 to 12 px wide at 1024, some 0.026 nut units.
        label[near] = np.maximum(label[near], (distance < np.maximum(0.013, 0.5 * surface.pixel)).astype(np.float32))
    return colour, label


def _hole(
    rng: np.random.Generator,
    surface: Surface,
    shell: Shell,
    defect: Defect,
    u: Floats,
    v: Floats,
    colour: Floats,
    light: Floats,
) -> tuple[Floats, Floats]:
    radius = defect.size  # the nut's diameter is 2 nut units, so its share of the diameter is the radius here
    chip = _Outline(rng, rng.uniform(0.14, 0.24), rng.uniform(1.0, 1.28))
    opening = _Outline(rng, rng.uniform(0.05, 0.10), rng.uniform(0.97, 1.06), 8)
    inner = radius * np.sqrt(rng.uniform(0.26, 0.55))
    shift = (radius - inner) * rng.uniform(0.0, 0.55)
    way = rng.uniform(0.0, 2.0 * np.pi)
    soft = 0.9 * surface.pixel

    colour, cracks = _draw_cracks(surface, defect, u, v, colour, light, rng.uniform(0.012, 0.02))
    # Splinters bend the outline a little along the ribs, as chips break off between two of them.
    splinter = 0.10 * radius * shell.volume.at(np.stack([u * 2.0, v * 16.0, np.full_like(u, 9.1)], 1), 1.0)
    outside = chip.excess(u + splinter, v, radius)
    cover = smoothstep(-outside, -soft, soft)
    # Fresh inner shell: cream, fibrous along the ribs, in two or three layers whose steps show as darker contours.
    fibre = shell.volume.at(np.stack([u * 3.0, v * 24.0, np.full_like(u, 3.3)], 1), 1.0)
    cloud = shell.volume.at(surface.points, 9.0, 2, surface.pixel)
    step = smoothstep(outside + 0.10 * radius * cloud, -0.36 * radius, -0.26 * radius)
    cream = np.array([222, 168, 118], np.float32) * (1.0 + 0.05 * fibre + 0.06 * cloud)[:, None]
    tan = np.array([178, 122, 82], np.float32) * (1.0 + 0.06 * fibre)[:, None]
    fresh = (tan + step[:, None] * (cream - tan)) * (0.35 + 0.70 * light)[:, None]
    rim = np.exp(-((outside / (0.09 * radius + 0.4 * surface.pixel)) ** 2))
    fresh = fresh * (1.0 - 0.30 * rim[:, None])
    colour = _lay(colour, cover, fresh)

    du, dv = u - shift * np.cos(way), v - shift * np.sin(way)
    gap = opening.excess(du, dv, inner)
    dark = smoothstep(-gap, -soft, soft)
    # The inside: black on the side turned from the lamp, a hint of brown wall on the other.
    wall = smoothstep(gap, -0.40 * inner, 0.0) * smoothstep(du * np.cos(way + 2.0) + dv * np.sin(way + 2.0), 0.0, inner)
    inside = np.array([20, 15, 15], np.float32) + wall[:, None] * np.array([74, 46, 32], np.float32)
    inside = inside * (1.0 + 0.12 * cloud)[:, None]
    colour = _lay(colour, np.maximum(dark * (cover > 0.2), 0.0), inside)
    return colour, np.maximum((outside < 0.0).astype(np.float32), cracks)


def _crack(
    rng: np.random.Generator,
    surface: Surface,
    shell: Shell,
    defect: Defect,
    u: Floats,
    v: Floats,
    colour: Floats,
    light: Floats,
) -> tuple[Floats, Floats]:
    colour, label = _draw_cracks(surface, defect, u, v, colour, light, rng.uniform(0.03, 0.06))
    shell_scar = shell.scar_cover(surface) < 0.99
    return colour, label * shell_scar


def _cut(
    rng: np.random.Generator,
    surface: Surface,
    shell: Shell,
    defect: Defect,
    u: Floats,
    v: Floats,
    colour: Floats,
    light: Floats,
) -> tuple[Floats, Floats]:
    half = defect.size
    bend = rng.uniform(-0.12, 0.12) / half
    width = rng.uniform(0.035, 0.06) * np.clip(1.0 - (u / half) ** 2, 0.0, 1.0) ** 0.7
    ragged = 0.012 * shell.volume.at(np.stack([u * 14.0, v * 4.0, np.zeros_like(u)], 1), 1.0)
    off = np.abs(v - bend * u * u) - width - ragged * (width > 0)
    cover = smoothstep(-off, -surface.pixel, surface.pixel) * (np.abs(u) < half)
    fibre = shell.volume.at(np.stack([u * 4.0, v * 40.0, np.ones_like(u)], 1), 1.0)
    fresh = np.array([206, 156, 108], np.float32) * (1.0 + 0.12 * fibre)[:, None] * (0.3 + 0.72 * light)[:, None]
    colour = _lay(colour, cover, fresh)
    return colour, (cover > 0.5).astype(np.float32)


_WORDS = ("TEST", "NUTS", "LOT 7", "2K19", "XONR", "A-12", "OK", "FORGE")


def _print(
    rng: np.random.Generator,
    surface: Surface,
    shell: Shell,
    defect: Defect,
    u: Floats,
    v: Floats,
    colour: Floats,
    light: Floats,
) -> tuple[Floats, Floats]:
    word = str(rng.choice(_WORDS))
    font = ImageFont.load_default(64)
    left, top, right, bottom = font.getbbox(word, stroke_width=3)
    canvas = Image.new("L", (int(right - left) + 16, int(bottom - top) + 16))
    ImageDraw.Draw(canvas).text((8 - left, 8 - top), word, fill=255, font=font, stroke_width=3)
    ink = ndimage.gaussian_filter(np.asarray(canvas, np.float32) / 255.0, 1.0)
    scale = canvas.width / (2.0 * defect.size)  # the word is as wide as the defect's size
    column, row = canvas.width / 2.0 + u * scale, canvas.height / 2.0 + v * scale
    printed = ndimage.map_coordinates(ink, [row, column], order=1, mode="constant").astype(np.float32)
    worn = smoothstep(shell.volume.at(surface.points, 24.0, 2, surface.pixel), -1.6, -0.2)
    cover = smoothstep(printed, 0.3, 0.7) * (0.25 + 0.75 * worn)
    colour = _lay(colour, cover, np.array([226, 224, 222], np.float32) * (0.4 + 0.6 * light)[:, None])
    return colour, ((printed > 0.45) & (worn > 0.15)).astype(np.float32)


def _stain(
    rng: np.random.Generator,
    surface: Surface,
    shell: Shell,
    defect: Defect,
    u: Floats,
    v: Floats,
    colour: Floats,
    light: Floats,
) -> tuple[Floats, Floats]:
    """Mould: a pale patch with a lobed outline, powdery inside, and a dark damp ring around it."""
    radius = defect.size
    outline = _Outline(rng, rng.uniform(0.08, 0.16), rng.uniform(0.95, 1.15), 7)
    powder = shell.volume.at(surface.points, 30.0, 2, surface.pixel)
    outside = outline.excess(u, v, 0.92 * radius) + 0.04 * radius * powder
    ring = np.exp(-((outside / (0.12 * radius + 0.4 * surface.pixel)) ** 2))
    colour = (colour * (1.0 - 0.55 * ring[:, None])).astype(np.float32)
    soft = 0.07 * radius + 0.9 * surface.pixel
    cover = smoothstep(-outside, -0.2 * soft, 1.8 * soft)
    pale = np.array([206, 212, 190], np.float32) * (1.0 + 0.07 * powder)[:, None] * (0.45 + 0.55 * light)[:, None]
    colour = _lay(colour, 0.95 * cover, pale)
    return colour, (outside < 0.08 * radius).astype(np.float32)
