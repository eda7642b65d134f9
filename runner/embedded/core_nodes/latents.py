"""Core nodes that make, encode, decode and change latents."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn.functional import conv2d

from ..engine.encoders.vae import Vae
from ..engine.tensors import cropped_to_multiple
from ..execution.registry import core_node
from .composite import composite
from .conditioning import hole_greyed, mask_at
from .resize import CROP_METHODS, MAX_RESOLUTION, repeat_to_batch, resized

Latent = dict[str, Any]
LATENT = [("LATENT", "LATENT")]
#: ComfyUI also has "bislerp" here, which needs a ComfyUI server.
METHODS = ["nearest-exact", "bilinear", "area", "bicubic"]
_SIZE = {"default": 512, "min": 16, "max": MAX_RESOLUTION, "step": 8}


@core_node(
    "EmptyLatentImage",
    display_name="Empty Latent Image",
    category="model/latent",
    inputs={
        "required": {
            "width": ("INT", _SIZE),
            "height": ("INT", _SIZE),
            "batch_size": ("INT", {"default": 1, "min": 1, "max": 4096}),
        }
    },
    outputs=LATENT,
)
def empty_latent_image(width: int, height: int, batch_size: int = 1) -> tuple[Latent]:
    """Latents of zeros for pictures of this size."""
    return ({"samples": torch.zeros(batch_size, 4, height // 8, width // 8)},)


@core_node(
    "VAEDecode",
    display_name="VAE Decode",
    category="model/latent",
    inputs={"required": {"samples": ("LATENT",), "vae": ("VAE",)}},
    outputs=[("IMAGE", "IMAGE")],
)
def vae_decode(vae: Vae, samples: Latent) -> tuple[torch.Tensor]:
    """Pictures of latents."""
    return (vae.decode(samples["samples"]),)


@core_node(
    "VAEEncode",
    display_name="VAE Encode",
    category="model/latent",
    inputs={"required": {"pixels": ("IMAGE",), "vae": ("VAE",)}},
    outputs=LATENT,
)
def vae_encode(vae: Vae, pixels: torch.Tensor) -> tuple[Latent]:
    """Latents of pictures."""
    return ({"samples": vae.encode(pixels[..., :3])},)


@core_node(
    "VAEEncodeForInpaint",
    display_name="VAE Encode (for Inpainting)",
    category="model/latent",
    inputs={
        "required": {
            "pixels": ("IMAGE",),
            "vae": ("VAE",),
            "mask": ("MASK",),
            "grow_mask_by": ("INT", {"default": 6, "min": 0, "max": 64, "step": 1}),
        }
    },
    outputs=LATENT,
)
def vae_encode_for_inpaint(vae: Vae, pixels: torch.Tensor, mask: torch.Tensor, grow_mask_by: int = 6) -> tuple[Latent]:
    """Latents with the hole greyed, and a noise mask that reaches a little beyond it. For denoise 1 only."""
    mask = cropped_to_multiple(mask_at(mask, pixels).movedim(1, -1), vae.downscale_ratio).movedim(-1, 1)
    pixels = cropped_to_multiple(pixels, vae.downscale_ratio)
    grown = mask
    if grow_mask_by > 0:
        kernel = torch.ones(1, 1, grow_mask_by, grow_mask_by)
        grown = conv2d(mask.round(), kernel, padding=math.ceil((grow_mask_by - 1) / 2)).clamp(0, 1)
    noise_mask = grown[:, :, : pixels.shape[1], : pixels.shape[2]].round()
    return ({"samples": vae.encode(hole_greyed(pixels, mask)), "noise_mask": noise_mask},)


@core_node(
    "SetLatentNoiseMask",
    display_name="Set Latent Noise Mask",
    category="model/latent",
    inputs={"required": {"samples": ("LATENT",), "mask": ("MASK",)}},
    outputs=LATENT,
)
def set_latent_noise_mask(samples: Latent, mask: torch.Tensor) -> tuple[Latent]:
    """Latents that are only changed inside the mask."""
    return ({**samples, "noise_mask": mask.reshape(-1, 1, *mask.shape[-2:])},)


_UP_TO_64 = {"default": 1, "min": 1, "max": 64}


@core_node(
    "RepeatLatentBatch",
    display_name="Repeat Latent Batch",
    category="model/latent/batch",
    inputs={"required": {"samples": ("LATENT",), "amount": ("INT", _UP_TO_64)}},
    outputs=LATENT,
)
def repeat_latent_batch(samples: Latent, amount: int) -> tuple[Latent]:
    """The batch several times over."""
    result = {**samples, "samples": samples["samples"].repeat(amount, 1, 1, 1)}
    mask = samples.get("noise_mask")
    if mask is not None and mask.shape[0] > 1:
        result["noise_mask"] = mask.repeat(amount, *(1,) * (mask.ndim - 1))
    if "batch_index" in samples:
        index = samples["batch_index"]
        offset = max(index) - min(index) + 1
        result["batch_index"] = [i + n * offset for n in range(amount) for i in index]
    return (result,)


@core_node(
    "LatentFromBatch",
    display_name="Get Latent From Batch",
    category="model/latent/batch",
    inputs={
        "required": {
            "samples": ("LATENT",),
            "batch_index": ("INT", {"default": 0, "min": -MAX_RESOLUTION, "max": MAX_RESOLUTION}),
            "length": ("INT", _UP_TO_64),
        }
    },
    outputs=LATENT,
)
def latent_from_batch(samples: Latent, batch_index: int, length: int) -> tuple[Latent]:
    """Some pictures of a batch, from its end with a negative index; they keep the noise that they have in it."""
    latent = samples["samples"]
    count = latent.shape[0]
    first = max(0, min(count - 1, batch_index + count if batch_index < 0 else batch_index))
    part = slice(first, min(count, first + length))
    result = {**samples, "samples": latent[part].clone()}
    mask = samples.get("noise_mask")
    if mask is not None:
        result["noise_mask"] = (mask if mask.shape[0] == 1 else repeat_to_batch(mask, count)[part]).clone()
    result["batch_index"] = samples.get("batch_index", list(range(count)))[part]
    return (result,)


@core_node(
    "LatentUpscale",
    display_name="Upscale Latent",
    category="model/latent",
    inputs={
        "required": {
            "samples": ("LATENT",),
            "upscale_method": (METHODS,),
            "width": ("INT", {"default": 512, "min": 0, "max": MAX_RESOLUTION, "step": 8}),
            "height": ("INT", {"default": 512, "min": 0, "max": MAX_RESOLUTION, "step": 8}),
            "crop": (CROP_METHODS,),
        }
    },
    outputs=LATENT,
)
def latent_upscale(samples: Latent, upscale_method: str, width: int, height: int, crop: str) -> tuple[Latent]:
    """Latents at another size, in pixels; a side of 0 keeps the proportions."""
    if width == 0 and height == 0:
        return (samples,)
    rows, columns = samples["samples"].shape[-2:]
    if width == 0:
        width = round(columns * max(64, height) / rows)
    elif height == 0:
        height = round(rows * max(64, width) / columns)
    width, height = max(64, width), max(64, height)
    return ({**samples, "samples": resized(samples["samples"], width // 8, height // 8, upscale_method, crop)},)


@core_node(
    "LatentUpscaleBy",
    display_name="Upscale Latent By",
    category="model/latent",
    inputs={
        "required": {
            "samples": ("LATENT",),
            "upscale_method": (METHODS,),
            "scale_by": ("FLOAT", {"default": 1.5, "min": 0.01, "max": 8.0, "step": 0.01}),
        }
    },
    outputs=LATENT,
)
def latent_upscale_by(samples: Latent, upscale_method: str, scale_by: float) -> tuple[Latent]:
    """Latents at a multiple of their size."""
    height, width = (round(side * scale_by) for side in samples["samples"].shape[-2:])
    return ({**samples, "samples": resized(samples["samples"], width, height, upscale_method)},)


_PIXELS = {"default": 0, "min": 0, "max": MAX_RESOLUTION, "step": 8}


@core_node(
    "LatentCompositeMasked",
    display_name="Latent Composite Masked",
    category="model/latent",
    inputs={
        "required": {
            "destination": ("LATENT",),
            "source": ("LATENT",),
            "x": ("INT", _PIXELS),
            "y": ("INT", _PIXELS),
            "resize_source": ("BOOLEAN", {"default": False}),
        },
        "optional": {"mask": ("MASK",)},
    },
    outputs=LATENT,
    python_module="comfy_extras.nodes_mask",
)
def latent_composite_masked(
    destination: Latent, source: Latent, x: int, y: int, resize_source: bool, mask: torch.Tensor | None = None
) -> tuple[Latent]:
    """One latent pasted into another."""
    result = composite(destination["samples"], source["samples"], x, y, mask, 8, resize_source)
    return ({**destination, "samples": result},)
