"""Core nodes that load, make, scale, combine and save images."""

from __future__ import annotations

import hashlib
import mimetypes
import os
import random
import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps, ImageSequence, UnidentifiedImageError
from torch import Tensor

from .. import folders
from ..execution.registry import NodeResult, core_node
from ..protocol.images_out import save_images
from ..protocol.paths import annotated, inside
from .composite import composite
from .resize import CROP_METHODS, IMAGE_METHODS, MAX_RESOLUTION, resized

#: What an image without transparency gives as its mask, in ComfyUI too.
NO_MASK_SIZE = 64
SIZE = {"default": 512, "min": 1, "max": MAX_RESOLUTION, "step": 1}
SAVED = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}


def input_files(images_only: bool) -> list[str]:
    """Files right in the input folder; ones in subfolders are named by a client that put them there."""
    with os.scandir(folders.current().input) as entries:
        names = sorted(entry.name for entry in entries if entry.is_file())
    if not images_only:
        return names
    return [name for name in names if (mimetypes.guess_type(name, strict=False)[0] or "").startswith("image/")]


def input_path(name: str) -> Path:
    """The file that a choice such as `photo.png` or `photo.png [output]` names.

    Raises:
        FileNotFoundError: it is not there, or lies outside its folder.
    """
    bare, kind = annotated(name)
    path = inside(folders.current().by_type(kind or "input"), bare)
    if path is None or not path.is_file():
        raise FileNotFoundError(f"image {name!r} is not in the {kind or 'input'} folder: upload it first")
    return path


def image_exists(image: str) -> bool | str:
    try:
        input_path(image)
    except FileNotFoundError:
        return f"Invalid image file: {image}"
    return True


def image_digest(image: str) -> str:
    return hashlib.sha256(input_path(image).read_bytes()).hexdigest()


def open_image(path: Path) -> Image.Image:
    """Decode a picture; a truncated one as far as it goes, as ComfyUI does."""
    try:
        picture = Image.open(path)
        picture.load()
    except (OSError, UnidentifiedImageError, ValueError):
        tolerant = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            picture = Image.open(path)
            picture.load()
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = tolerant
    return picture


def to_tensor(picture: Image.Image) -> Tensor:
    """8 bits to float32 in 0..1."""
    return torch.from_numpy(np.array(picture).astype(np.float32) / 255.0)


def upright(picture: Image.Image) -> Image.Image:
    """Turned as its EXIF says, and 32-bit grey scaled to 8 bits."""
    turned = ImageOps.exif_transpose(picture)
    return turned.point(lambda value: value * (1 / 255)) if turned.mode == "I" else turned


def transparency(picture: Image.Image) -> Tensor:
    """The mask of a picture: 1 where it is transparent; an empty 64 x 64 one where it knows no transparency."""
    if "A" in picture.getbands():
        return 1.0 - to_tensor(picture.getchannel("A"))
    if picture.mode == "P" and "transparency" in picture.info:
        return 1.0 - to_tensor(picture.convert("RGBA").getchannel("A"))
    return torch.zeros((NO_MASK_SIZE, NO_MASK_SIZE))


def frames(picture: Image.Image) -> Iterator[Image.Image]:
    """Frames of the first one's size; of an MPO (two views of one photo) only the first."""
    size = None
    for frame in ImageSequence.Iterator(picture):
        frame = upright(frame)
        size = size or frame.size
        if frame.size == size:
            yield frame
        if picture.format == "MPO":
            return


@core_node(
    "LoadImage",
    display_name="Load Image",
    category="image",
    inputs=lambda: {"required": {"image": (input_files(images_only=True), {"image_upload": True})}},
    outputs=[("IMAGE", "IMAGE"), ("MASK", "MASK")],
    is_changed=image_digest,
    validate=image_exists,
)
def load_image(image: str) -> tuple[Tensor, Tensor]:
    found = [(to_tensor(frame.convert("RGB")), transparency(frame)) for frame in frames(open_image(input_path(image)))]
    return torch.stack([pixels for pixels, _ in found]), torch.stack([mask for _, mask in found])


@core_node(
    "LoadImageMask",
    display_name="Load Image (as Mask)",
    category="mask",
    inputs=lambda: {
        "required": {
            "image": (input_files(images_only=False), {"image_upload": True}),
            "channel": (["alpha", "red", "green", "blue"],),
        }
    },
    outputs=[("MASK", "MASK")],
    is_changed=image_digest,
    validate=image_exists,
)
def load_image_mask(image: str, channel: str) -> tuple[Tensor]:
    picture = upright(open_image(input_path(image))).convert("RGBA")
    mask = to_tensor(picture.getchannel(channel[0].upper()))
    return ((1.0 - mask if channel == "alpha" else mask).unsqueeze(0),)


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
    outputs=[],
    output_node=True,
)
def save_image(
    images: Tensor, filename_prefix: str, prompt: Any, extra_pnginfo: Mapping[str, Any] | None
) -> NodeResult:
    root = folders.current().output
    saved = save_images(images, filename_prefix, root, "output", prompt=prompt, extra_pnginfo=extra_pnginfo)
    return NodeResult(ui={"images": saved})


@core_node(
    "PreviewImage",
    display_name="Preview Image",
    category="image",
    description="Shows the input images.",
    inputs={"required": {"images": ("IMAGE",)}, "hidden": SAVED},
    outputs=[],
    output_node=True,
)
def preview_image(images: Tensor, prompt: Any, extra_pnginfo: Mapping[str, Any] | None) -> NodeResult:
    return NodeResult(ui={"images": save_preview(images, prompt, extra_pnginfo, compress_level=1)})


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
    display_name="Invert Image",
    category="image",
    inputs={"required": {"image": ("IMAGE",)}},
    outputs=[("IMAGE", "IMAGE")],
)
def image_invert(image: Tensor) -> tuple[Tensor]:
    return (1.0 - image,)


@core_node(
    "ImageBatch",
    display_name="Batch Images",
    category="image",
    inputs={"required": {"image1": ("IMAGE",), "image2": ("IMAGE",)}},
    outputs=[("IMAGE", "IMAGE")],
)
def image_batch(image1: Tensor, image2: Tensor) -> tuple[Tensor]:
    if image1.shape[1:] != image2.shape[1:]:
        height, width = image1.shape[1:3]
        image2 = resized(image2.movedim(-1, 1), width, height, "bilinear", "center").movedim(1, -1)
    return (torch.cat((image1, image2)),)


@core_node(
    "ImageCompositeMasked",
    category="image",
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
)
def image_composite_masked(
    destination: Tensor, source: Tensor, x: int, y: int, resize_source: bool, mask: Tensor | None = None
) -> tuple[Tensor]:
    if destination.shape[-1] < source.shape[-1]:
        source = source[..., : destination.shape[-1]]
    elif destination.shape[-1] > source.shape[-1]:
        # ComfyUI pads the destination by an opaque channel, which a source without one then cannot fill.
        raise ValueError(
            f"the destination has {destination.shape[-1]} channels, the source {source.shape[-1]}: give both RGB"
        )
    merged = composite(destination.movedim(-1, 1), source.movedim(-1, 1), x, y, mask, 1, resize_source)
    return (merged.movedim(1, -1),)
