"""Fitting batches and pictures to each other, as ComfyUI's nodes and samplers do it."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import interpolate


def repeated_to(x: torch.Tensor, rows: int) -> torch.Tensor:
    """The batch cut, or repeated from its start, to `rows` rows."""
    if x.shape[0] < rows:
        x = x.repeat(math.ceil(rows / x.shape[0]), *(1,) * (x.ndim - 1))
    return x[:rows]


def resampled_to(x: torch.Tensor, rows: int) -> torch.Tensor:
    """The batch stretched or thinned out evenly to `rows` rows (nearest row)."""
    have = x.shape[0]
    if have == rows:
        return x
    if rows <= 1:
        return x[:rows]
    if rows < have:
        picked = [min(round(i * (have - 1) / (rows - 1)), have - 1) for i in range(rows)]
    else:
        picked = [min(math.floor((i + 0.5) * have / rows), have - 1) for i in range(rows)]
    return x[picked]


def resized(x: torch.Tensor, width: int, height: int, method: str, crop: str = "disabled") -> torch.Tensor:
    """[B, C, h, w] -> [B, C, height, width], by one of torch's methods.

    `crop="center"` first cuts the longer side symmetrically to the new aspect ratio.
    """
    if crop == "center":
        old_height, old_width = x.shape[-2:]
        old, new = old_width / old_height, width / height
        left = round((old_width - old_width * (new / old)) / 2) if old > new else 0
        top = round((old_height - old_height * (old / new)) / 2) if old < new else 0
        x = x[..., top : old_height - top, left : old_width - left]
    return interpolate(x, size=(height, width), mode=method)


def as_noise_mask(mask: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """A mask [.., h, w] (0 keep, 1 repaint) at the size of latents `shape`: bilinear, not rounded."""
    mask = mask.reshape(-1, 1, *mask.shape[-2:]).float()
    mask = interpolate(mask, size=tuple(shape[2:]), mode="bilinear")
    return repeated_to(mask.repeat(1, shape[1], 1, 1), shape[0])


def cropped_to_multiple(pixels: torch.Tensor, multiple: int = 8) -> torch.Tensor:
    """Pictures [B, H, W, C] cut in the middle to sides that `multiple` divides."""
    for axis in (1, 2):
        size = pixels.shape[axis]
        kept = size // multiple * multiple
        pixels = pixels.narrow(axis, size % multiple // 2, kept)
    return pixels
