"""Generated photos of parts: what the algorithms see, without any real photo."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter


def disc(height: int, width: int, radius: float, centre: tuple[float, float] | None = None) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    cy, cx = centre or ((height - 1) / 2, (width - 1) / 2)
    return np.hypot(y - cy, x - cx) <= radius


@pytest.fixture
def round_part() -> np.ndarray:
    """Object mask of a round part, 400x400."""
    return disc(400, 400, 150)


@pytest.fixture
def photo_of() -> Callable[..., np.ndarray]:
    """Make an 8-bit photo: a shaded part of one colour before a background of another, with noise."""

    def make(
        part: np.ndarray,
        colour: tuple[int, int, int] = (150, 80, 50),
        background: tuple[int, int, int] = (30, 30, 32),
        shade: float = 0.0,
        seed: int = 0,
    ) -> np.ndarray:
        rng = np.random.default_rng(seed)
        height, width = part.shape
        edge = gaussian_filter(part.astype(float), 1.0)[..., None]
        light = 1.0 - shade * np.linspace(0, 1, height)[:, None, None]
        picture = edge * np.array(colour) * light + (1 - edge) * np.array(background)
        return np.clip(picture + rng.normal(0, 1.5, (height, width, 3)), 0, 255).astype(np.uint8)

    return make


@pytest.fixture
def photos() -> torch.Tensor:
    """Two different 8-bit photos as an IMAGE batch ``[2, 96, 80, 3]``: odd proportions on purpose."""
    values = np.random.default_rng(5).integers(0, 256, (2, 96, 80, 3), dtype=np.uint8)
    return torch.from_numpy(values).float() / 255
