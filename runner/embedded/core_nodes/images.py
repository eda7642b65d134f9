"""Core nodes that make, scale, combine and save images."""

from __future__ import annotations

import random
import string
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .. import folders
from ..execution.registry import NodeResult, core_node
from ..protocol.images_out import save_images
from .composite import composite, opaque, same_channels
from .resize import CROP_METHODS, IMAGE_METHODS, MAX_RESOLUTION, resized

SIZE = {"default": 512, "min": 1, "max": MAX_RESOLUTION, "step": 1}
SAVED = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}


@core_node(
    "SaveImage",
    display_name="Save Image",
    category="image",
    description="Saves the input images to the output directory.",
    inputs={
        "required": {
            "images": ("IMAGE", {"tooltip": "The images to save."}),
            "filename_prefix": (
                "STRING",
                {"default": "ComfyUI", "tooltip": "Start of the file names; %width%, %year% and so on are filled in."},
            ),
        },
        "hidden": SAVED,
    },
    outputs=[("IMAGE", "images")],
    output_node=True,
)
def save_image(
    images: Tensor, filename_prefix: str, prompt: Any, extra_pnginfo: Mapping[str, Any] | None
) -> NodeResult:
    root = folders.current().output
    saved = save_images(images, filename_prefix, root, "output", prompt=prompt, extra_pnginfo=extra_pnginfo)
    return NodeResult((images,), ui={"images": saved})


@core_node(
    "PreviewImage",
    display_name="Preview Image",
    category="image",
    description="Shows the input images.",
    inputs={"required": {"images": ("IMAGE",)}, "hidden": SAVED},
    outputs=[("IMAGE", "images")],
    output_node=True,
)
def preview_image(images: Tensor, prompt: Any, extra_pnginfo: Mapping[str, Any] | None) -> NodeResult:
    return NodeResult((images,), ui={"images": save_preview(images, prompt, extra_pnginfo, compress_level=1)})


def save_preview(
    images: Tensor, prompt: Any, extra_pnginfo: Mapping[str, Any] | None, compress_level: int
) -> list[dict[str, str]]:
    tag = "".join(random.choices(string.ascii_lowercase, k=5))
    return save_images(
        images,
        f"ComfyUI_temp_{tag}",
        folders.current().temp,
        "temp",
        prompt=prompt,
        extra_pnginfo=extra_pnginfo,
        compress_level=compress_level,
    )


@core_node(
    "EmptyImage",
    display_name="Empty Image",
    category="image",
    inputs={
        "required": {
            "width": ("INT", SIZE),
            "height": ("INT", SIZE),
            "batch_size": ("INT", {"default": 1, "min": 1, "max": 4096}),
            "color": ("INT", {"default": 0, "min": 0, "max": 0xFFFFFF, "step": 1, "display": "color"}),
        }
    },
    outputs=[("IMAGE", "IMAGE")],
)
def empty_image(width: int, height: int, batch_size: int = 1, color: int = 0) -> tuple[Tensor]:
    rgb = torch.tensor([(color >> shift & 0xFF) / 0xFF for shift in (16, 8, 0)])
    return (rgb.expand(batch_size, height, width, 3).clone(),)


@core_node(
    "ImageScale",
    display_name="Upscale Image",
    category="image/upscaling",
    inputs={
        "required": {
            "image": ("IMAGE",),
            "upscale_method": (IMAGE_METHODS,),
            "width": ("INT", {**SIZE, "min": 0}),
            "height": ("INT", {**SIZE, "min": 0}),
            "crop": (CROP_METHODS,),
        }
    },
    outputs=[("IMAGE", "IMAGE")],
)
def image_scale(image: Tensor, upscale_method: str, width: int, height: int, crop: str) -> tuple[Tensor]:
    if width == 0 and height == 0:
        return (image,)
    # One side may be 0: it follows from the picture's proportions.
    width = width or max(1, round(image.shape[2] * height / image.shape[1]))
    height = height or max(1, round(image.shape[1] * width / image.shape[2]))
    return (resized(image.movedim(-1, 1), width, height, upscale_method, crop).movedim(1, -1),)


@core_node(
    "ImageScaleBy",
    display_name="Upscale Image By",
    category="image/upscaling",
    inputs={
        "required": {
            "image": ("IMAGE",),
            "upscale_method": (IMAGE_METHODS,),
            "scale_by": ("FLOAT", {"default": 1.0, "min": 0.01, "max": 8.0, "step": 0.01}),
        }
    },
    outputs=[("IMAGE", "IMAGE")],
)
def image_scale_by(image: Tensor, upscale_method: str, scale_by: float) -> tuple[Tensor]:
    width, height = round(image.shape[2] * scale_by), round(image.shape[1] * scale_by)
    return (resized(image.movedim(-1, 1), width, height, upscale_method).movedim(1, -1),)


@core_node(
    "ImageInvert",
    display_name="Invert Image Colors",
    category="image/color",
    inputs={"required": {"image": ("IMAGE",)}},
    outputs=[("IMAGE", "IMAGE")],
)
def image_invert(image: Tensor) -> tuple[Tensor]:
    return (1.0 - image,)


@core_node(
    "ImageBatch",
    display_name="Batch Images (DEPRECATED)",
    deprecated=True,
    category="image/batch",
    inputs={"required": {"image1": ("IMAGE",), "image2": ("IMAGE",)}},
    outputs=[("IMAGE", "IMAGE")],
)
def image_batch(image1: Tensor, image2: Tensor) -> tuple[Tensor]:
    image1, image2 = opaque(image1, image2.shape[-1]), opaque(image2, image1.shape[-1])
    if image1.shape[1:] != image2.shape[1:]:
        height, width = image1.shape[1:3]
        image2 = resized(image2.movedim(-1, 1), width, height, "bilinear", "center").movedim(1, -1)
    return (torch.cat((image1, image2)),)


@core_node(
    "ImageCompositeMasked",
    display_name="Image Composite Masked",
    category="image/compositing",
    inputs={
        "required": {
            "destination": ("IMAGE",),
            "source": ("IMAGE",),
            "x": ("INT", {"default": 0, "min": 0, "max": MAX_RESOLUTION, "step": 1}),
            "y": ("INT", {"default": 0, "min": 0, "max": MAX_RESOLUTION, "step": 1}),
            "resize_source": ("BOOLEAN", {"default": False}),
        },
        "optional": {"mask": ("MASK",)},
    },
    outputs=[("IMAGE", "IMAGE")],
    python_module="comfy_extras.nodes_mask",
)
def image_composite_masked(
    destination: Tensor, source: Tensor, x: int, y: int, resize_source: bool, mask: Tensor | None = None
) -> tuple[Tensor]:
    destination, source = same_channels(destination, source)
    merged = composite(destination.movedim(-1, 1), source.movedim(-1, 1), x, y, mask, 1, resize_source)
    return (merged.movedim(1, -1),)
