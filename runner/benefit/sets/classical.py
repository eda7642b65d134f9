"""Defects without a model: CutPaste, Perlin patches (as in DRAEM), and augmentation of the real ones. NumPy, seeded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.color import rgb2lab

from .pictures import Mask, Picture

Pictures = NDArray[np.uint8]
Masks = NDArray[np.bool_]
Draw = Callable[[Pictures, np.random.Generator], tuple[Picture, Mask]]


def cutpaste(good: Pictures, rng: np.random.Generator) -> tuple[Picture, Mask]:
    """A rectangle of one photo, brighter or darker, pasted into another (Li et al., CVPR 2021).

    Args:
        good: uint8 ``[N,S,S,3]``.

    Returns:
        uint8 ``[S,S,3]`` and the rectangle as bool ``[S,S]``.
    """
    side = good.shape[1]
    unit = side / 256
    picture, mask = good[rng.integers(len(good))].copy(), np.zeros((side, side), bool)
    other = good[rng.integers(len(good))]
    height, width = (rng.integers(12, 56, 2) * unit).astype(int)
    y, x = (rng.integers(60, 168, 2) * unit).astype(int)
    from_y, from_x = (rng.integers(40, 180, 2) * unit).astype(int)
    height, width = min(height, side - max(y, from_y)), min(width, side - max(x, from_x))
    patch = other[from_y : from_y + height, from_x : from_x + width] * rng.uniform(0.4, 1.4)
    picture[y : y + height, x : x + width] = patch.clip(0, 255)
    mask[y : y + height, x : x + width] = True
    return picture, mask


def perlin(good: Pictures, rng: np.random.Generator) -> tuple[Picture, Mask]:
    """Patches of smooth noise on the part, filled with another photo's texture, turned, tinted and blended.

    As DRAEM (Zavrtanik et al., ICCV 2021) does it, with the good photos themselves in place of a texture set.
    """
    side = good.shape[1]
    picture = good[rng.integers(len(good))]
    noise = sum(_octave(rng, cells, side) * (4 / cells) for cells in (4, 8, 16))
    part = ndimage.binary_fill_holes(rgb2lab(picture)[..., 0] > 25)
    mask = (noise > np.quantile(noise, rng.uniform(0.93, 0.99))) & part
    low, high = side * 40 // 256, side * 216 // 256
    other = np.roll(
        np.rot90(good[rng.integers(len(good))], int(rng.integers(1, 4))), rng.integers(low, high, 2), (0, 1)
    )
    tinted = other.astype(float) * rng.uniform(0.3, 1.5, 3)
    share, result = rng.uniform(0.2, 1), picture.astype(float)
    result[mask] = (share * tinted + (1 - share) * picture)[mask]
    return result.clip(0, 255).astype(np.uint8), mask


def _octave(rng: np.random.Generator, cells: int, side: int) -> NDArray[np.float64]:
    lattice = rng.standard_normal((cells + 1, cells + 1))
    return np.asarray(ndimage.zoom(lattice, (side + 16) / (cells + 1), order=1)[:side, :side])


def drawn(draw: Draw, good: Pictures, count: int, seed: int = 0) -> tuple[Pictures, Masks]:
    """`count` pictures with their masks."""
    rng = np.random.default_rng(seed)
    made = [draw(good, rng) for _ in range(count)]
    return np.stack([picture for picture, _ in made]), np.stack([mask for _, mask in made])


def turned(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """A picture or mask ``[S,S,...]`` as it is, mirrored, and turned by a quarter both ways: ``[4,S,S,...]``."""
    return np.stack([array, array[:, ::-1], np.rot90(array, 1), np.rot90(array, 3)])


def augmented(picture: Picture, mask: Mask, count: int, seed: int) -> tuple[Pictures, Masks]:
    """`count` variants of a real defect: any turn, scale, shift, elastic bend, light and contrast; mirrored by half.

    The first four are those of `turned`.
    """
    rng = np.random.default_rng(seed)
    pictures: list[Picture] = list(turned(picture))
    masks: list[Mask] = list(turned(mask))
    while len(pictures) < count:
        where = _somewhere(picture.shape[0], rng)
        planes = [
            ndimage.map_coordinates(picture[..., channel].astype(np.float32), where, order=1, mode="nearest")
            for channel in range(3)
        ]
        moved = np.stack(planes, -1)
        mean = moved.mean((0, 1))
        light = ((moved - mean) * rng.uniform(0.8, 1.2) + mean) * rng.uniform(0.8, 1.2)
        grain = rng.normal(0, rng.uniform(0, 4), moved.shape)
        pictures.append((light + grain).clip(0, 255).astype(np.uint8))
        masks.append(ndimage.map_coordinates(mask.astype(np.float32), where, order=1) > 0.5)
    return np.stack(pictures[:count]), np.stack(masks[:count])


def _somewhere(side: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Where each pixel of a bent, turned, scaled and shifted picture comes from: ``[2,S,S]``."""
    angle, scale = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(-0.2, 0.2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    if rng.random() < 0.5:
        turn[:, 1] *= -1
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij")).astype(float)
    centre = (side - 1) / 2
    shift = rng.uniform(-0.05, 0.05, 2) * side
    bend = np.stack([ndimage.gaussian_filter(rng.normal(0, 1, (side, side)), side / 16) for _ in range(2)])
    bend *= side * 0.01 / max(float(np.abs(bend).mean()), 1e-9)
    moved = np.einsum("ij,jyx->iyx", turn, grid - centre) + centre
    return np.asarray(moved + shift[:, None, None] + bend)


def stacked(pools: Sequence[tuple[Pictures, Masks]]) -> tuple[Pictures, Masks]:
    """Several pools as one."""
    return np.concatenate([pool[0] for pool in pools]), np.concatenate([pool[1] for pool in pools])
