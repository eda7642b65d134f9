"""Pasting one `[B, C, H, W]` tensor into another through a mask; images and latents share it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from .. import follows
from .resize import repeat_to_batch


def composite(
    destination: Tensor,
    source: Tensor,
    x: int,
    y: int,
    mask: Tensor | None = None,
    multiplier: int = 8,
    resize_source: bool = False,
) -> Tensor:
    """Put `source` on a copy of `destination` with its corner at (x, y) pixels; what overlaps the edges is cut off.

    Args:
        mask: `[B, H, W]` in 0..1, stretched to the source; 1 takes the source. None takes all of it.
        multiplier: pixels per cell: 8 for latents, 1 for images.
        resize_source: stretch the source to the destination first.
    """
    destination = destination.clone()
    source = source.to(destination.device)
    height, width = destination.shape[-2:]
    if resize_source:
        source = interpolate(source, size=(height, width), mode="bilinear")
    source = repeat_to_batch(source, destination.shape[0])
    left = max(-source.shape[-1] * multiplier, min(x, width * multiplier)) // multiplier
    top = max(-source.shape[-2] * multiplier, min(y, height * multiplier)) // multiplier
    if mask is None:
        weight = torch.ones_like(source[:, :1])
    else:
        weight = mask.to(destination.device).reshape(-1, 1, mask.shape[-2], mask.shape[-1])
        weight = interpolate(weight, size=source.shape[-2:], mode="bilinear")
        weight = repeat_to_batch(weight, source.shape[0])
    # The visible part of the source, in its own cells.
    rows = slice(max(0, -top), min(source.shape[-2], height - top))
    columns = slice(max(0, -left), min(source.shape[-1], width - left))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return destination
    target = destination[..., top + rows.start : top + rows.stop, left + columns.start : left + columns.stop]
    weight = weight[..., rows, columns]
    target.copy_(weight * source[..., rows, columns] + (1.0 - weight) * target)
    return destination


def opaque(image: Tensor, channels: int) -> Tensor:
    """An image `[B, H, W, C]` with an opaque alpha added where another has one of its `channels` more.

    Raises:
        ValueError: the followed core does not do so, or more than an alpha is lacking.
    """
    if image.shape[-1] >= channels:
        return image
    if channels - image.shape[-1] > 1 or not follows.lacking_alpha_is_opaque():
        raise ValueError(f"one image has {channels} channels, the other {image.shape[-1]}: give both RGB")
    return pad(image, (0, 1), value=1.0)


def same_channels(below: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
    """Images `[B, H, W, C]`, the second with the channels of the first: cut off, or opaque as in `opaque`."""
    return below, opaque(above, below.shape[-1])[..., : below.shape[-1]]
