"""Fitting masks and batches to latents, as ComfyUI's samplers do it; `core_nodes.resize` has the rest."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import interpolate

from ..core_nodes.resize import repeat_to_batch


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


def as_noise_mask(mask: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """A mask [.., h, w] (0 keep, 1 repaint) at the size of latents `shape`: bilinear, not rounded."""
    mask = mask.reshape(-1, 1, *mask.shape[-2:]).float()
    mask = interpolate(mask, size=tuple(shape[2:]), mode="bilinear")
    return repeat_to_batch(mask.repeat(1, shape[1], 1, 1), shape[0])


def cropped_to_multiple(pixels: torch.Tensor, multiple: int = 8) -> torch.Tensor:
    """Pictures [B, H, W, C] cut in the middle to sides that `multiple` divides."""
    for axis in (1, 2):
        size = pixels.shape[axis]
        kept = size // multiple * multiple
        pixels = pixels.narrow(axis, size % multiple // 2, kept)
    return pixels
