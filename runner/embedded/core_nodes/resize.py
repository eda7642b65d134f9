"""Resizing of `[B, C, H, W]` tensors with ComfyUI's methods and rounding; shared by images, latents and masks."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

IMAGE_METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
CROP_METHODS = ["disabled", "center"]
MAX_RESOLUTION = 16384


def resized(samples: Tensor, width: int, height: int, method: str, crop: str = "disabled") -> Tensor:
    """Resize to exactly `width` x `height`; `crop="center"` first cuts the middle out at the target's proportions."""
    if crop == "center":
        samples = center_crop(samples, width / height)
    if method == "lanczos":
        return lanczos(samples, width, height)
    return interpolate(samples, size=(height, width), mode=method)


def center_crop(samples: Tensor, aspect: float) -> Tensor:
    """The largest middle part whose width / height is `aspect`, up to rounding."""
    height, width = samples.shape[-2:]
    cut_x = cut_y = 0
    if width / height > aspect:
        cut_x = round((width - width * (aspect / (width / height))) / 2)
    elif width / height < aspect:
        cut_y = round((height - height * ((width / height) / aspect)) / 2)
    return samples[..., cut_y : height - cut_y, cut_x : width - cut_x]


def lanczos(samples: Tensor, width: int, height: int) -> Tensor:
    """Pillow's Lanczos filter, on 8-bit pictures as in ComfyUI: values are clipped and truncated to 1/255."""
    pictures = []
    for sample in samples:
        pixels = np.clip(255.0 * sample.movedim(0, -1).cpu().numpy(), 0, 255).astype(np.uint8)
        scaled = Image.fromarray(pixels).resize((width, height), resample=Image.Resampling.LANCZOS)
        pictures.append(torch.from_numpy(np.array(scaled).astype(np.float32) / 255.0).movedim(-1, 0))
    return torch.stack(pictures).to(samples.device, samples.dtype)


def repeat_to_batch(tensor: Tensor, batch: int) -> Tensor:
    """Cut the first dimension to `batch`, or repeat the whole tensor until it is long enough."""
    if tensor.shape[0] >= batch:
        return tensor[:batch]
    repeats = math.ceil(batch / tensor.shape[0])
    return tensor.repeat([repeats] + [1] * (tensor.ndim - 1))[:batch]
