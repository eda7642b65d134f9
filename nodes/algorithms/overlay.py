"""Masks drawn on their photo: a person judges a mask by where it lies, not by its bare shape."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from .pixels import reduced

#: Tint of the masked area; green is rare on machined and natural parts alike.
COLOUR = (0.10, 0.95, 0.25)


#: Longest side of a picture that is only looked at, in px; larger photos are shown smaller.
SHOWN_SIDE = 2048


def shown(image: Tensor, mask: Tensor, strength: float = 0.35) -> Tensor:
    """`overlay`, of a smaller copy where the photo is larger than `SHOWN_SIDE`: a photo of 100 MP is not tinted whole.

    Args:
        image: ``[B, H, W, 3]``, 0..1.
        mask: ``[B, H, W]``, 0..1.
        strength: share of the colour in the tinted area; 0 draws the outline only.

    Returns:
        ``[B, h, w, 3]``, 0..1; ``H, W`` up to `SHOWN_SIDE`.
    """
    return overlay(reduced(image, SHOWN_SIDE), reduced(mask[..., None], SHOWN_SIDE)[..., 0], strength=strength)


def overlay(image: Tensor, mask: Tensor, colour: tuple[float, float, float] = COLOUR, strength: float = 0.35) -> Tensor:
    """Tint the masked area of a photo and draw its outline.

    Args:
        image: ``[B, H, W, 3]``, 0..1.
        mask: ``[B, H, W]``, 0..1; soft edges are tinted softly, the outline follows one half.
        colour: RGB, 0..1.
        strength: share of the colour in the tinted area.

    Returns:
        ``[B, H, W, 3]``, 0..1.
    """
    tint = torch.tensor(colour, dtype=image.dtype, device=image.device)
    weight = (mask.to(image) * strength)[..., None]
    out = image * (1.0 - weight) + tint * weight
    hard = (mask >= 0.5).to(image)[:, None]
    thickness = 2 * max(1, round(max(image.shape[1:3]) / 1024)) + 1
    line = max_pool2d(hard, thickness, stride=1, padding=thickness // 2) - hard
    return torch.where(line[:, 0, :, :, None] > 0, tint, out)
