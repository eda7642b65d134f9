"""A grainy shell with a hole that is known to the pixel: what the label's tests measure against."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

SHELL, HOLE = (0.55, 0.36, 0.22), (0.12, 0.08, 0.06)


def disc(side: int, radius: float, y: float | None = None, x: float | None = None) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    middle = (side - 1) / 2
    return np.hypot(rows - (middle if y is None else y), columns - (middle if x is None else x)) <= radius


@pytest.fixture
def shell() -> Callable[..., np.ndarray]:
    """Make a photo of shell ``[side, side, 3]`` float32, 0..1, with soft stains and a sensor's grain."""

    def make(side: int = 200, grain: float = 0.02, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        stains = gaussian_filter(rng.standard_normal((side, side)), 12)
        stains *= 0.03 / stains.std()
        photo = np.array(SHELL) + stains[..., None] + rng.normal(0, grain, (side, side, 3))
        return np.clip(photo, 0, 1).astype(np.float32)

    return make


@pytest.fixture
def with_hole() -> Callable[..., np.ndarray]:
    """Paint a dark place into a photo where a mask is set."""

    def paint(photo: np.ndarray, where: np.ndarray, colour: tuple[float, float, float] = HOLE) -> np.ndarray:
        return np.where(where[..., None], np.array(colour, np.float32), photo)

    return paint


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


@pytest.fixture(name="iou")
def overlap() -> Callable[[np.ndarray, np.ndarray], float]:
    return iou


@pytest.fixture(name="disc")
def round_mask() -> Callable[..., np.ndarray]:
    """Make a round mask ``[side, side]``."""
    return disc
