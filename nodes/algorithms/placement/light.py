"""From which side a defect is lit: a part may be turned, the lamp above it stays where it is."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

#: A defect's inner shading decides about turns only when it is at least that one-sided (0..1).
_LEAST_SHADING = 0.12

#: Largest angle between the inner shading before and after a move that keeps the light.
_LIGHT = math.radians(75)


def inner_shading(mask: NDArray[np.bool_], photo: NDArray[np.uint8] | None) -> NDArray[np.float64] | None:
    """Towards which side a defect is lighter, as (y, x) of length 1; None where it is not clearly one-sided.

    The first moment of brightness inside the mask, against its spread: a pit that is lit from the left is dark on its
    left side and light on its right.
    """
    if photo is None:
        return None
    rows, columns = np.nonzero(mask)
    light = photo[rows, columns].astype(np.float64).mean(axis=-1)
    light -= light.mean()
    y, x = rows - rows.mean(), columns - columns.mean()
    spread = float(np.sqrt(np.mean(np.square(y) + np.square(x))) * np.sqrt(np.mean(np.square(light))))
    if spread < 1e-6:
        return None
    moment = np.array([np.mean(light * y), np.mean(light * x)]) / spread
    strength = float(np.hypot(*moment))
    return None if strength < _LEAST_SHADING else moment / strength


def keeps_light(shading: NDArray[np.float64], angle: float, mirrored: bool) -> bool:
    """Whether the lighter side still points about the same way after mirroring and a turn by `angle` (rad)."""
    y, x = float(shading[0]), float(-shading[1] if mirrored else shading[1])
    turned = np.array([math.sin(angle) * x + math.cos(angle) * y, math.cos(angle) * x - math.sin(angle) * y])
    return float(np.dot(turned, shading)) >= math.cos(_LIGHT)
