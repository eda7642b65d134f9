"""Seeded textures in the nut's own coordinates, so that a nut looks the same at every picture size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]


class Volume:
    """Smooth isotropic noise in space: one random lattice, sampled at several frequencies (fractal sum)."""

    def __init__(self, rng: np.random.Generator, side: int = 40) -> None:
        self._side = side
        # Trilinear sampling averages neighbours: 1.55 brings the variance back to about one.
        self._lattice = 1.55 * rng.standard_normal((side, side, side), dtype=np.float32)

    def at(self, points: Floats, frequency: float, octaves: int = 1, pixel: float = 0.0) -> Floats:
        """Noise of about unit variance at ``points`` ``[N, 3]``; octaves finer than two ``pixel`` are left out."""
        total = np.zeros(len(points), np.float32)
        weight, power = 1.0, 0.0
        for octave in range(octaves):
            f = frequency * 2.0**octave
            if octave and pixel * f > 1.0:
                break
            coordinates = (points * f + 7.3 * octave).T
            total += weight * ndimage.map_coordinates(
                self._lattice, coordinates, order=1, mode="grid-wrap", prefilter=False
            )
            power += weight**2
            weight *= 0.62
        return total / np.float32(np.sqrt(power))


class Meridians:
    """Noise in stripes that run from the tip to the base: fine across (``count`` cells around), long along."""

    def __init__(self, rng: np.random.Generator, count: int, along: int, smooth: float = 0.8) -> None:
        table = rng.standard_normal((along, count)).astype(np.float32)
        table = ndimage.gaussian_filter(table, (0.7, smooth), mode=("nearest", "wrap"))
        self._table = table / (table.std() + 1e-6)

    def at(self, cosine: Floats, angle: Floats, shift: Floats | float = 0.0) -> Floats:
        """Stripe value at ``cosine`` (-1 base .. 1 tip) and ``angle`` (radians), ``shift`` added to the angle."""
        along, count = self._table.shape
        row = np.arccos(np.clip(cosine, -1.0, 1.0)) / np.pi * (along - 1)
        column = ((angle + shift) / (2.0 * np.pi) % 1.0) * count
        # Wrap only around the axis: rows are held inside their range, so grid-wrap touches columns alone.
        padded = np.concatenate([self._table, self._table[-1:]], 0)
        return ndimage.map_coordinates(padded, [row, column], order=1, mode="grid-wrap").astype(np.float32)


def smoothstep(value: Floats, low: float, high: float) -> Floats:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return (t * t * (3.0 - 2.0 * t)).astype(np.float32)
