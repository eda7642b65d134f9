"""The four kinds of masked content of the AUTOMATIC1111 web UI: fill, original, latent noise, latent nothing.

Rebuilt from the published behaviour: mask blur on 8-bit pixels, a binary latent mask, the coarse-to-fine fill, and
noise or zeros in the latent. Units are ComfyUI's: an unscaled LATENT, so unit noise of the scaled latent is divided by
`LATENT_SCALE`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter
from scipy import ndimage
from torch import Tensor

from ..pixels import from_u8, to_pil, to_u8

#: Factor between the VAE's latent and the one Stable Diffusion 1.x and 2.x sample in.
LATENT_SCALE = 0.18215

#: Blur radius and number of times its result is laid on, coarse to fine; radius 0 puts the untouched pixels back.
_FILL_PYRAMID = ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1))

_SEED_BITS = 0xFFFFFFFFFFFFFFFF


class MaskedContent(str, Enum):
    """What the hole holds before sampling."""

    FILL = "fill"
    ORIGINAL = "original"
    LATENT_NOISE = "latent noise"
    LATENT_NOTHING = "latent nothing"


def blur_mask(mask: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """Blur an 8-bit mask as the web UI's "mask blur" does.

    Two passes, along x and then y, each rounded to 8 bits; ``2 * int(2.5 * sigma + 0.5) + 1`` taps and borders
    mirrored without repeating the edge pixel, as OpenCV's default. Blur 4 has 21 taps: 10 px to each side.

    Args:
        mask: ``[H, W]`` uint8.
        sigma: standard deviation in px; 0 gives the mask back.
    """
    if sigma <= 0:
        return mask
    reach = int(2.5 * sigma + 0.5)
    kernel = np.exp(-np.square(np.arange(-reach, reach + 1)) / (2.0 * sigma * sigma))
    kernel /= kernel.sum()
    for axis in (1, 0):
        blurred = ndimage.correlate1d(mask.astype(np.float64), kernel, axis=axis, mode="mirror")
        mask = np.floor(blurred + 0.5).astype(np.uint8)
    return mask


def latent_mask(mask: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float32]:
    """Binary mask of the latent: PIL's bicubic resize of the blurred 8-bit mask, set from 128 upwards.

    Args:
        mask: ``[H, W]`` uint8, already blurred.
        height: rows of the latent.
        width: columns of the latent.

    Returns:
        ``[height, width]`` float32, 0.0 or 1.0.
    """
    resized = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.BICUBIC))
    return (resized >= 128).astype(np.float32)


def fill(picture: Image.Image, mask: NDArray[np.uint8]) -> Image.Image:
    """Fill the masked pixels from their surroundings, coarse to fine.

    A normalised blur: the picture is blurred premultiplied with what is *not* masked, at radii from 256 px down to 2,
    each laid over the one before, and the untouched pixels last.

    Args:
        picture: RGB.
        mask: ``[H, W]`` uint8; 255 is filled entirely, values between are mixed.

    Returns:
        RGB. A mask that covers the whole picture leaves nothing to fill from: black.
    """
    kept = picture.convert("RGBA")
    kept.putalpha(ImageChops.invert(Image.fromarray(mask)))
    premultiplied = kept.convert("RGBa")
    canvas = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    for radius, times in _FILL_PYRAMID:
        layer = premultiplied.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(times):
            canvas.alpha_composite(layer)
    return canvas.convert("RGB")


def fill_pixels(image: Tensor, mask: NDArray[np.uint8]) -> Tensor:
    """`fill` for one IMAGE ``[H, W, 3]``; pixels that the mask does not touch come back bit-identical."""
    filled = from_u8(np.asarray(fill(to_pil(image), mask))).to(image)
    untouched = torch.from_numpy(mask == 0).to(image.device)[..., None]
    return torch.where(untouched, image, filled)


def noise_like(latent: Tensor, seed: int) -> Tensor:
    """Unit noise for a batch of latents, from a generator of its own for each picture.

    Picture i is drawn with ``seed + i``, as the web UI numbers its images, so a picture does not depend on the batch it
    is made in. With the sampler's own seed, picture 0 gets the very tensor ComfyUI's sampler adds: the web UI's choice.
    """
    rows = []
    for index in range(latent.shape[0]):
        generator = torch.Generator(device="cpu").manual_seed((seed + index) & _SEED_BITS)
        rows.append(torch.randn(latent[:1].shape, generator=generator, dtype=torch.float32))
    return torch.cat(rows).to(latent)


def scaled_for_sd(noise: Tensor) -> Tensor:
    """What the sampler sees as `noise`, before the scaling of Stable Diffusion 1.x and 2.x."""
    return noise / LATENT_SCALE


def set_latent_content(
    latent: Tensor,
    mask: Tensor,
    content: MaskedContent,
    seed: int,
    unscaled: Callable[[Tensor], Tensor] = scaled_for_sd,
) -> Tensor:
    """Put noise or nothing under the latent mask; fill and original keep the encoded picture.

    Args:
        latent: ``[B, C, h, w]``, unscaled.
        mask: ``[B, 1, h, w]``, binary.
        content: which of the four.
        seed: for latent noise.
        unscaled: from what the network works on to what the autoencoder gives: another family scales otherwise.
    """
    if content is MaskedContent.LATENT_NOISE:
        return latent * (1.0 - mask) + unscaled(noise_like(latent, seed)) * mask
    if content is MaskedContent.LATENT_NOTHING:
        return latent * (1.0 - mask)
    return latent


def prepare(image: Tensor, mask: Tensor, content: MaskedContent, mask_blur: float) -> tuple[Tensor, NDArray[np.uint8]]:
    """Blur the mask and fill the pixels of one picture.

    Args:
        image: ``[H, W, 3]``.
        mask: ``[H, W]``, 0..1.
        content: every kind but `original` starts from filled pixels.
        mask_blur: px.

    Returns:
        The picture to encode and the blurred 8-bit mask.
    """
    blurred = blur_mask(to_u8(mask), mask_blur)
    if content is MaskedContent.ORIGINAL or not blurred.any():
        return image, blurred
    return fill_pixels(image, blurred), blurred


def mismatch(content: MaskedContent, denoise: float) -> str | None:
    """Say why a denoising strength does not suit a masked content; None when it does."""
    if not 0.0 <= denoise <= 1.0 or math.isnan(denoise):
        return f"denoise {denoise} is outside 0..1."
    if content is MaskedContent.LATENT_NOISE and denoise < 0.8:
        return (
            f"masked content 'latent noise' with denoise {denoise:g}: the hole starts over-noised and speckle stays. "
            "Use denoise 0.8 to 1.0, or masked content 'original' or 'fill'."
        )
    if content is MaskedContent.LATENT_NOTHING and denoise < 0.8:
        return (
            f"masked content 'latent nothing' with denoise {denoise:g}: the flat brownish start shows through. "
            "Use denoise 0.8 to 1.0, or masked content 'original' or 'fill'."
        )
    if content is MaskedContent.FILL and denoise < 0.5:
        return (
            f"masked content 'fill' with denoise {denoise:g}: the smeared fill stays visible. "
            "Use denoise 0.5 to 1.0, or masked content 'original'."
        )
    if content is MaskedContent.ORIGINAL and denoise < 0.3:
        return (
            f"masked content 'original' with denoise {denoise:g}: the photo hardly changes and no defect appears. "
            "Use denoise 0.3 to 0.9."
        )
    return None
