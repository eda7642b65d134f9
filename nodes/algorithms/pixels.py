"""IMAGE tensors and 8-bit pictures: exact there and back.

An IMAGE is float 0..1 ``[B, H, W, 3]`` with the values ``u8 / 255``. Going back *rounds*: truncating, as a plain cast
does, darkens a pixel by one level wherever a resize or a device change left it a hair below its level.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

#: Rows that are converted at a time.
_STRIP = 512


def to_u8(image: Tensor) -> NDArray[np.uint8]:
    """One IMAGE or MASK ``[H, W, ...]`` in 0..1 as 8-bit, rounded."""
    out = np.empty(tuple(image.shape), np.uint8)
    # In strips: of a photo of 100 MP each step in between would take a gigabyte.
    for top in range(0, image.shape[0], _STRIP):
        strip = image[top : top + _STRIP].detach().to("cpu", torch.float32) * 255.0
        out[top : top + _STRIP] = strip.round_().clamp_(0, 255).to(torch.uint8).numpy()
    return out


def from_u8(array: NDArray[np.uint8]) -> Tensor:
    """An 8-bit array as float32 in 0..1, same shape."""
    return torch.from_numpy(np.array(array, np.float32)).div_(255.0)


def to_pil(image: Tensor) -> Image.Image:
    """One IMAGE ``[H, W, 3]`` or MASK ``[H, W]`` as an RGB or grey picture."""
    height, width = image.shape[:2]
    if height <= _STRIP:
        return Image.fromarray(to_u8(image))
    # In strips: Pillow's own copy of a photo of 100 MP takes 400 MB already.
    picture = Image.new(Image.fromarray(to_u8(image[:1])).mode, (width, height))
    for top in range(0, height, _STRIP):
        picture.paste(Image.fromarray(to_u8(image[top : top + _STRIP])), (0, top))
    return picture


def reduced(image: Tensor, side: int) -> Tensor:
    """A copy of pictures ``[B, H, W, C]`` of at most `side` px, by whole steps; up to that size they are themselves.

    Each pixel is the mean of a square, of large squares of every second or third row and column; what is left over at
    the right and at the bottom is cut off.
    """
    batch, height, width, channels = image.shape
    step = -(-max(height, width) // side)
    if step == 1:
        return image
    rows, columns = max(1, height // step), max(1, width // step)
    wide, some = min(step, width), max(1, step // 3)
    out = image.new_empty(batch, rows, columns, channels)
    for row in range(rows):
        # Row by row, so that nothing of the size of the photo is made on the way.
        strip = image[:, row * step : (row + 1) * step : some, : columns * wide]
        squares = strip.reshape(batch, strip.shape[1], columns, wide, channels)[:, :, :, ::some]
        out[:, row] = squares.mean(dim=(1, 3))
    return out


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """Resize one IMAGE ``[H, W, 3]`` with Lanczos (the web UI's filter); the same size comes back untouched."""
    if image.shape[0] == height and image.shape[1] == width:
        return image
    return from_u8(np.asarray(to_pil(image).resize((width, height), Image.Resampling.LANCZOS))).to(image.device)


def resize_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """Resize one MASK ``[H, W]`` without ringing (area when shrinking, linear when growing); stays in 0..1."""
    if mask.shape[0] == height and mask.shape[1] == width:
        return mask
    picture = Image.fromarray(mask.detach().cpu().numpy().astype(np.float32), mode="F")
    resized = picture.resize((width, height), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized, np.float32)).clamp(0.0, 1.0).to(mask.device)
