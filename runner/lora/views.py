"""Views: working crops around a defect, each a little different, and always with all of the defect in them."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...nodes.algorithms.compositing.crops import Window, crop, crop_mask, shift_inside, whole_photo, window_around
from ...nodes.algorithms.compositing.denoise import paintable
from ...nodes.algorithms.masks import bounding_box

Bools = NDArray[np.bool_]
#: The crop grows by up to so much over the one that a workflow cuts, and the light changes by up to so much.
WIDEST, LIGHT = 1.4, 0.06


def window_of(mask: Bools, size: int) -> tuple[Window, NDArray[np.float32]]:
    """The working crop that the inpainting workflows cut around a defect, and its denoise mask ``[H, W]``.

    A defect that no square can hold gets the largest square around its middle.
    """
    try:
        painted = paintable(mask, size)
        return window_around(painted.denoise, painted.drawable, size), painted.denoise
    except ValueError:
        box = bounding_box(mask)
        if box is None:
            raise
        height, width = mask.shape
        side = min(height, width)
        y = shift_inside((box[0] + box[2] - side) // 2, side, height)
        x = shift_inside((box[1] + box[3] - side) // 2, side, width)
        return Window(x, y, side, side), mask.astype(np.float32)


def varied(window: Window, denoise: NDArray[np.float32], rng: np.random.Generator) -> Window:
    """A crop of another size and place that still holds what is repainted, as far as the first one does."""
    height, width = denoise.shape
    side = int(min(height, width, math.ceil(window.width * rng.uniform(1.0, WIDEST))))
    box = bounding_box(denoise[window.rows, window.columns] > 0)
    assert box is not None, "the window was cut around it"
    y = _place(rng, window.y + box[0], window.y + box[2], side, height)
    x = _place(rng, window.x + box[1], window.x + box[3], side, width)
    return Window(x, y, side, side)


def _place(rng: np.random.Generator, start: int, stop: int, side: int, length: int) -> int:
    """Where a side begins that holds start..stop, inside 0..length."""
    low, high = max(0, stop - side), min(start, length - side)
    return int(rng.integers(low, high + 1)) if low <= high else shift_inside(start, side, length)


def moved_to(window: Window, shape: tuple[int, int], other: tuple[int, int]) -> Window:
    """The same place on a photo of another size ``(height, width)``."""
    if shape == other:
        return window
    scale = min(other[0] / shape[0], other[1] / shape[1])
    side = max(1, min(round(window.width * scale), *other))
    middle_y = (window.y + window.height / 2) / shape[0] * other[0]
    middle_x = (window.x + window.width / 2) / shape[1] * other[1]
    y = shift_inside(round(middle_y - side / 2), side, other[0])
    x = shift_inside(round(middle_x - side / 2), side, other[1])
    return Window(x, y, side, side)


def view(
    pixels: NDArray[np.uint8], mask: Bools | None, window: Window, size: int, rng: np.random.Generator, turns: bool
) -> tuple[Tensor, Tensor]:
    """One view: ``[size, size, 3]`` in 0..1, and where the defect is on it, ``[size, size]`` in 0..1 (zeros without).

    Only the window is made a tensor: a photo of 100 MP would take more than a gigabyte.
    """
    part = torch.from_numpy(pixels[window.rows, window.columns].astype(np.float32) / 255.0)
    whole = whole_photo(window.height, window.width)
    picture = crop(part, whole, size, size)
    area = torch.zeros(size, size)
    if mask is not None:
        area = crop_mask(torch.from_numpy(mask[window.rows, window.columns].astype(np.float32)), whole, size, size)
    if turns:
        quarters, flipped = int(rng.integers(4)), bool(rng.integers(2))
        picture, area = torch.rot90(picture, quarters, (0, 1)), torch.rot90(area, quarters, (0, 1))
        if flipped:
            picture, area = picture.flip(1), area.flip(1)
    picture = picture * (1.0 + LIGHT * float(rng.uniform(-1, 1)))
    return picture.clamp(0.0, 1.0).contiguous(), area.contiguous()
