"""Adaptive instance normalisation of UNet features towards those of a reference."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

#: Floor of a variance before its square root is taken, as in the original.
VARIANCE_FLOOR = 1e-6


def statistics(h: torch.Tensor, weight: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and biased variance of each row and channel over height and width.

    Args:
        h: features ``[rows, channels, height, width]``.
        weight: weights ``[rows or 1, 1, height, width]`` >= 0; None weighs all places alike. A row without any weight
            gets mean and variance 0.

    Returns:
        mean and variance, ``[rows, channels, 1, 1]``.
    """
    if weight is None:
        variance, mean = torch.var_mean(h, dim=(2, 3), correction=0, keepdim=True)
        return mean, variance
    share = weight / weight.sum(dim=(2, 3), keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
    mean = (h * share).sum(dim=(2, 3), keepdim=True)
    variance = ((h - mean).square() * share).sum(dim=(2, 3), keepdim=True)
    return mean, variance


def average(
    means: Sequence[torch.Tensor], variances: Sequence[torch.Tensor], strengths: Sequence[float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean of the means and mean of the *variances* over several references, each counted by its strength."""
    total = sum(strengths)
    mean = sum((value * (strength / total) for value, strength in zip(means, strengths, strict=True)), start=0.0)
    variance = sum((value * (strength / total) for value, strength in zip(variances, strengths, strict=True)), 0.0)
    assert isinstance(mean, torch.Tensor) and isinstance(variance, torch.Tensor)
    return mean, variance


def match(
    h: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Give `h` the mean and variance of the reference; its own are taken over `weight` (see `statistics`)."""
    own_mean, own_variance = statistics(h, weight)
    scale = (variance.clamp(min=VARIANCE_FLOOR) / own_variance.clamp(min=VARIANCE_FLOOR)).sqrt()
    return (h - own_mean) * scale + mean


def resize_mask(mask: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Area-average a mask ``[rows, H, W]`` in 0..1 to ``[rows, height, width]``; a mask that is not empty stays so."""
    if mask.shape[-2:] == (height, width):
        return mask
    return F.adaptive_avg_pool2d(mask.unsqueeze(1), (height, width)).squeeze(1)
