"""Core nodes that make, convert and change masks `[B, H, W]` in 0..1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from .. import follows
from ..execution.registry import NodeResult, core_node
from .images import SAVED, SIZE, save_preview
from .resize import MAX_RESOLUTION

OFFSET = {"default": 0, "min": 0, "max": MAX_RESOLUTION, "step": 1}
MASK = {"required": {"mask": ("MASK",)}}
CHANNELS = ["red", "green", "blue", "alpha"]


def batched(mask: Tensor) -> Tensor:
    """`[H, W]`, `[B, H, W]` or `[B, 1, H, W]` as `[B, H, W]`."""
    return mask.reshape(-1, mask.shape[-2], mask.shape[-1])


def as_image(mask: Tensor) -> Tensor:
    """Grey image `[B, H, W, 3]`."""
    return batched(mask).unsqueeze(-1).expand(-1, -1, -1, 3)


@core_node(
    "MaskToImage",
    display_name="Convert Mask to Image",
    category="image/mask",
    inputs=MASK,
    outputs=[("IMAGE", "IMAGE")],
    python_module="comfy_extras.nodes_mask",
)
def mask_to_image(mask: Tensor) -> tuple[Tensor]:
    return (as_image(mask),)


@core_node(
    "ImageToMask",
    display_name="Convert Image to Mask",
    category="image/mask",
    inputs={"required": {"image": ("IMAGE",), "channel": (CHANNELS,)}},
    outputs=[("MASK", "MASK")],
    python_module="comfy_extras.nodes_mask",
)
def image_to_mask(image: Tensor, channel: str) -> tuple[Tensor]:
    index = CHANNELS.index(channel)
    if index >= image.shape[-1]:
        raise ValueError(f"the image has {image.shape[-1]} channels and no {channel}: choose red, green or blue")
    return (image[..., index],)


@core_node(
    "SolidMask",
    display_name="Create Solid Mask",
    category="image/mask",
    inputs={
        "required": {
            "value": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}),
            "width": ("INT", SIZE),
            "height": ("INT", SIZE),
        }
    },
    outputs=[("MASK", "MASK")],
    python_module="comfy_extras.nodes_mask",
)
def solid_mask(value: float, width: int, height: int) -> tuple[Tensor]:
    return (torch.full((1, height, width), value, dtype=torch.float32),)


@core_node(
    "InvertMask",
    display_name="Invert Mask",
    category="image/mask",
    inputs=MASK,
    outputs=[("MASK", "MASK")],
    python_module="comfy_extras.nodes_mask",
)
def invert_mask(mask: Tensor) -> tuple[Tensor]:
    return (1.0 - mask,)


@core_node(
    "CropMask",
    display_name="Crop Mask",
    category="image/mask",
    inputs={
        "required": {
            "mask": ("MASK",),
            "x": ("INT", OFFSET),
            "y": ("INT", OFFSET),
            "width": ("INT", SIZE),
            "height": ("INT", SIZE),
        }
    },
    outputs=[("MASK", "MASK")],
    python_module="comfy_extras.nodes_mask",
)
def crop_mask(mask: Tensor, x: int, y: int, width: int, height: int) -> tuple[Tensor]:
    return (batched(mask)[:, y : y + height, x : x + width],)


@core_node(
    "MaskComposite",
    display_name="Combine Masks",
    category="image/mask",
    inputs={
        "required": {
            "destination": ("MASK",),
            "source": ("MASK",),
            "x": ("INT", OFFSET),
            "y": ("INT", OFFSET),
            "operation": (["multiply", "add", "subtract", "and", "or", "xor"],),
        }
    },
    outputs=[("MASK", "MASK")],
    python_module="comfy_extras.nodes_mask",
)
def mask_composite(destination: Tensor, source: Tensor, x: int, y: int, operation: str) -> tuple[Tensor]:
    merged = batched(destination).clone()
    part = merged[:, y : y + source.shape[-2], x : x + source.shape[-1]]
    seen = batched(source)[:, : part.shape[-2], : part.shape[-1]]
    combined = {
        "multiply": lambda: part * seen,
        "add": lambda: part + seen,
        "subtract": lambda: part - seen,
        "and": lambda: (part.round().bool() & seen.round().bool()).float(),
        "or": lambda: (part.round().bool() | seen.round().bool()).float(),
        "xor": lambda: (part.round().bool() ^ seen.round().bool()).float(),
    }[operation]()
    part.copy_(combined)
    return (merged.clamp(0.0, 1.0),)


@core_node(
    "FeatherMask",
    display_name="Feather Mask",
    category="image/mask",
    inputs={"required": {"mask": ("MASK",), **{side: ("INT", OFFSET) for side in ("left", "top", "right", "bottom")}}},
    outputs=[("MASK", "MASK")],
    python_module="comfy_extras.nodes_mask",
)
def feather_mask(mask: Tensor, left: int, top: int, right: int, bottom: int) -> tuple[Tensor]:
    feathered = batched(mask).clone()
    height, width = feathered.shape[-2:]

    def ramp(wanted: int, limit: int) -> list[float]:
        length = min(wanted, limit)
        return [(step + 1) / length for step in range(length)]

    for step, rate in enumerate(ramp(left, width)):
        feathered[:, :, step] *= rate
    # Cores of before count these two sides from index -0, the first column or row, and leave out the outermost one.
    edge = 1 if follows.feathers_to_the_far_edges() else 0
    for step, rate in enumerate(ramp(right, width)):
        feathered[:, :, -(step + edge)] *= rate
    for step, rate in enumerate(ramp(top, height)):
        feathered[:, step] *= rate
    for step, rate in enumerate(ramp(bottom, height)):
        feathered[:, -(step + edge)] *= rate
    return (feathered,)


@core_node(
    "GrowMask",
    display_name="Grow Mask",
    category="image/mask",
    inputs={
        "required": {
            "mask": ("MASK",),
            "expand": ("INT", {"default": 0, "min": -MAX_RESOLUTION, "max": MAX_RESOLUTION, "step": 1}),
            "tapered_corners": ("BOOLEAN", {"default": True, "advanced": True}),
        }
    },
    outputs=[("MASK", "MASK")],
    python_module="comfy_extras.nodes_mask",
)
def grow_mask(mask: Tensor, expand: int, tapered_corners: bool) -> tuple[Tensor]:
    corner = 0 if tapered_corners else 1
    footprint = np.array([[corner, 1, corner], [1, 1, 1], [corner, 1, corner]])
    step = ndimage.grey_erosion if expand < 0 else ndimage.grey_dilation
    grown = []
    for single in batched(mask).cpu().numpy():
        for _ in range(abs(expand)):
            single = step(single, footprint=footprint)
        grown.append(torch.from_numpy(single))
    return (torch.stack(grown),)


@core_node(
    "ThresholdMask",
    display_name="Threshold Mask",
    category="image/mask",
    inputs={
        "required": {"mask": ("MASK",), "value": ("FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01})}
    },
    outputs=[("MASK", "MASK")],
    python_module="comfy_extras.nodes_mask",
)
def threshold_mask(mask: Tensor, value: float) -> tuple[Tensor]:
    return ((mask > value).float(),)


@core_node(
    "MaskPreview",
    display_name="Preview Mask",
    category="image/mask",
    inputs={**MASK, "hidden": SAVED},
    outputs=[("MASK", "mask")],
    output_node=True,
    python_module="comfy_extras.nodes_mask",
)
def mask_preview(mask: Tensor, prompt: Any, extra_pnginfo: Mapping[str, Any] | None) -> NodeResult:
    saved = save_preview(as_image(mask), prompt, extra_pnginfo, compress_level=4)
    return NodeResult((mask,), ui={"images": saved})
