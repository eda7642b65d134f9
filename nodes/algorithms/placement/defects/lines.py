"""Defects that are lines: crack, scratch, cut, line break, thread pull. Each draws one of unit area along x."""

from __future__ import annotations

import math

import numpy as np

from .drawing import Floats, Shape, centred, walk


def crack(rng: np.random.Generator) -> Shape:
    """A jagged line that keeps its width, with up to three branches."""
    width = rng.uniform(0.022, 0.05)
    trunk = walk(rng, 1.0, width, rng.normal(0.0, 0.35), 0.16, (0.25, 0.9))
    strokes = [trunk]
    for _ in range(int(rng.choice(4, p=[0.3, 0.35, 0.25, 0.1]))):
        at = int(rng.integers(12, 52))
        side = 1.0 if rng.uniform() < 0.5 else -1.0
        fork = walk(rng, rng.uniform(0.15, 0.4), width * 0.7, 0.0, 0.16, (0.0, 1.0))
        strokes.append(_attached(fork, trunk, at, side * rng.uniform(0.45, 1.0)))
    return centred([], strokes)


def scratch(rng: np.random.Generator) -> Shape:
    """A straight or curved line that thins out at both ends; at times two or three side by side."""
    width = rng.uniform(0.018, 0.045)
    bend = 0.0 if rng.uniform() < 0.5 else rng.normal(0.0, 0.9)
    strokes = [walk(rng, 1.0, width, bend, 0.012, (0.8, 0.8))]
    for _ in range(int(rng.choice(3, p=[0.65, 0.25, 0.1]))):
        beside = walk(rng, rng.uniform(0.4, 0.9), width * rng.uniform(0.5, 1.0), bend, 0.012, (0.8, 0.8))
        beside[:, 0] += rng.choice([-1.0, 1.0]) * rng.uniform(1.8, 4.5) * width
        beside[:, 1] += rng.uniform(0.0, 0.3)
        strokes.append(beside)
    return centred([], strokes)


def cut(rng: np.random.Generator) -> Shape:
    """A short gash, widest in its middle."""
    stroke = walk(rng, 1.0, rng.uniform(0.10, 0.19), rng.normal(0.0, 0.15), 0.02, (0.7, 0.7))
    return centred([], [stroke])


def line_break(rng: np.random.Generator) -> Shape:
    """A line of a grid that is gone for a piece, its ends bent aside."""
    width = rng.uniform(0.16, 0.3)
    gap = walk(rng, 1.0, width, rng.normal(0.0, 0.3), 0.03, (0.1, 0.1))
    strokes = [gap]
    for at in (4, 59):
        if rng.uniform() < 0.7:
            end = walk(rng, rng.uniform(0.2, 0.5), width * 0.8, rng.normal(0.0, 0.8), 0.05, (0.0, 0.5))
            strokes.append(_attached(end, gap, at, rng.choice([-1.0, 1.0]) * rng.uniform(0.7, 1.7)))
    return centred([], strokes)


def thread_pull(rng: np.random.Generator) -> Shape:
    """A thread drawn out of a weave: a long wavy line along it, a loop that stands off, a loose end."""
    width = rng.uniform(0.022, 0.04)
    line = walk(rng, 1.0, width, rng.normal(0.0, 0.2), 0.05, (0.4, 0.4))
    line[:, 0] += rng.uniform(0.008, 0.02) * np.sin(np.linspace(0, 2 * math.pi * rng.uniform(3, 7), len(line)))
    turn = np.linspace(0.0, 2 * math.pi, 40)
    size, at = rng.uniform(0.05, 0.12), int(rng.integers(8, 56))
    side = 1.0 if rng.uniform() < 0.5 else -1.0
    loop = np.stack(
        [side * size * (1 - np.cos(turn)), size * rng.uniform(0.35, 0.7) * np.sin(turn), np.full(40, width * 0.4)],
        axis=-1,
    )
    loop[:, :2] += line[at, :2]
    strokes = [line, loop]
    if rng.uniform() < 0.5:
        loose = walk(rng, rng.uniform(0.1, 0.3), width * 0.7, rng.normal(0.0, 1.2), 0.05, (0.0, 0.5))
        strokes.append(_attached(loose, line, 60, side * rng.uniform(0.5, 1.3)))
    return centred([], strokes)


def _attached(stroke: Floats, trunk: Floats, at: int, angle: float) -> Floats:
    """The stroke, starting at point `at` of the trunk and leaving it under `angle`."""
    ahead = trunk[min(at + 2, len(trunk) - 1), :2] - trunk[max(at - 2, 0), :2]
    heading = math.atan2(ahead[0], ahead[1]) + angle
    cos, sin = math.cos(heading), math.sin(heading)
    y, x = stroke[:, 0], stroke[:, 1]
    return np.stack([trunk[at, 0] + sin * x + cos * y, trunk[at, 1] + cos * x - sin * y, stroke[:, 2]], axis=-1)
