"""Bring a reference photo and its mask to the generation size without distorting what is on it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from PIL import Image

#: Crop keeps the scale of both sides and cuts what is over; fit keeps everything and fills up; stretch distorts.
RESIZE_MODES = ("crop to fit", "fit and fill", "stretch")

#: Where "crop to fit" cuts.
CROP_RULES = ("around the mask", "centre")

#: Pixels per latent cell of Stable Diffusion's autoencoders.
LATENT_CELL = 8


def check_size(width: int, height: int, what: str) -> None:
    """Refuse a size that is not a whole number of latent cells.

    Raises:
        ValueError: with the nearest sizes that fit.
    """
    if width <= 0 or height <= 0 or width % LATENT_CELL or height % LATENT_CELL:
        fits = " x ".join(str(max(LATENT_CELL, round(side / LATENT_CELL) * LATENT_CELL)) for side in (width, height))
        raise ValueError(
            f"{what} is {width} x {height} pixels, which does not fit the latent grid: both sides must be multiples of "
            f"{LATENT_CELL}. Set width and height, for instance {fits}."
        )


def _lanczos(channel: torch.Tensor, width: int, height: int) -> torch.Tensor:
    picture = Image.fromarray(channel.numpy(), mode=None)
    resized = picture.resize((width, height), Image.Resampling.LANCZOS)
    return torch.frombuffer(bytearray(resized.tobytes()), dtype=torch.float32).reshape(height, width)


def resize(pixels: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Resize ``[batch, H, W, C]`` floats in 0..1: area averaging where it shrinks, Lanczos where it grows."""
    if tuple(pixels.shape[1:3]) == (height, width):
        return pixels
    if width * height < pixels.shape[1] * pixels.shape[2]:
        shrunk = F.interpolate(pixels.movedim(-1, 1), size=(height, width), mode="area")
        return shrunk.movedim(1, -1)
    rows = [
        torch.stack(
            [_lanczos(picture[..., c].contiguous().float(), width, height) for c in range(picture.shape[-1])], -1
        )
        for picture in pixels.cpu()
    ]
    return torch.stack(rows).clamp(0.0, 1.0).to(pixels)


def _offset(total: int, window: int, centre: float) -> int:
    return int(min(max(round(centre - window / 2), 0), total - window))


def _centre(mask: torch.Tensor | None, width: int, height: int) -> tuple[float, float]:
    """Centre of the mask's bounding box (x, y), or of the picture."""
    if mask is not None:
        places = (mask > 0).nonzero()
        if len(places):
            low, high = places.min(dim=0).values, places.max(dim=0).values + 1
            return float(low[1] + high[1]) / 2, float(low[0] + high[0]) / 2
    return width / 2, height / 2


def fit_reference(
    image: torch.Tensor,
    mask: torch.Tensor | None,
    width: int,
    height: int,
    mode: str = RESIZE_MODES[0],
    crop: str = CROP_RULES[0],
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Bring references and their masks to one size.

    Args:
        image: ``[batch, H, W, C]`` in 0..1.
        mask: ``[1 or batch, H, W]`` in 0..1, or None.
        width, height: the size wanted, in pixels.
        mode: one of `RESIZE_MODES`.
        crop: one of `CROP_RULES`, for the mode that cuts.

    Returns:
        image ``[batch, height, width, C]`` and mask ``[batch, height, width]`` or None.
    """
    if mode not in RESIZE_MODES:
        raise ValueError(f"resize mode {mode!r} is unknown; expected one of {', '.join(RESIZE_MODES)}")
    if crop not in CROP_RULES:
        raise ValueError(f"crop rule {crop!r} is unknown; expected one of {', '.join(CROP_RULES)}")
    rows = [
        _fit_one(image[i : i + 1], None if mask is None else mask[i % len(mask)][None], width, height, mode, crop)
        for i in range(image.shape[0])
    ]
    images = torch.cat([row[0] for row in rows])
    masks = [row[1] for row in rows if row[1] is not None]
    return images, torch.cat(masks) if masks else None


def _fit_one(
    image: torch.Tensor, mask: torch.Tensor | None, width: int, height: int, mode: str, crop: str
) -> tuple[torch.Tensor, torch.Tensor | None]:
    tall, wide = image.shape[1:3]
    if (tall, wide) == (height, width):
        return image, mask
    if mode == "crop to fit":
        scale = max(height / tall, width / wide)
        cut_w, cut_h = min(wide, round(width / scale)), min(tall, round(height / scale))
        x, y = _centre(mask[0] if mask is not None and crop == CROP_RULES[0] else None, wide, tall)
        left, top = _offset(wide, cut_w, x), _offset(tall, cut_h, y)
        image = image[:, top : top + cut_h, left : left + cut_w]
        mask = None if mask is None else mask[:, top : top + cut_h, left : left + cut_w]
    inner_w, inner_h = width, height
    if mode == "fit and fill":
        scale = min(height / tall, width / wide)
        inner_w, inner_h = max(1, math.floor(wide * scale)), max(1, math.floor(tall * scale))
    image = resize(image, inner_w, inner_h)
    mask = None if mask is None else resize(mask.unsqueeze(-1), inner_w, inner_h).squeeze(-1)
    if (inner_w, inner_h) != (width, height):
        left, top = (width - inner_w) // 2, (height - inner_h) // 2
        # The border takes the median colour of the photo's own border, so that no edge is invented.
        border = torch.cat([image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]], dim=1)
        canvas = border.median(dim=1).values[:, None, None, :].expand(-1, height, width, -1).clone()
        canvas[:, top : top + inner_h, left : left + inner_w] = image
        image = canvas
        if mask is not None:
            mask = F.pad(mask, (left, width - inner_w - left, top, height - inner_h - top))
    return image, mask
