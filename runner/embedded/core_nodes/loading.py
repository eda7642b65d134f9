"""Core nodes that load picture files from the input folder."""

from __future__ import annotations

import hashlib
import mimetypes
import os
from pathlib import Path

import torch
from torch import Tensor

from .. import folders, follows
from ..execution.registry import core_node
from ..protocol.paths import annotated, inside
from . import eight_bits
from .pictures import Decoded, decoded

#: What an image without transparency gives as its mask, in ComfyUI too.
NO_MASK_SIZE = 64
CHANNELS = ["alpha", "red", "green", "blue"]


def input_files() -> list[str]:
    """Pictures right in the input folder; ones in subfolders are named by a client that put them there."""
    with os.scandir(folders.current().input) as entries:
        names = sorted(entry.name for entry in entries if entry.is_file())
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


def tensors(picture: Decoded) -> tuple[Tensor, Tensor]:
    """Images `[F, H, W, 3]` and masks `[F, H, W]`, 1 where transparent; empty 64 x 64 ones without an opacity."""
    colours = torch.from_numpy(picture.colours)
    if picture.opacity is None:
        return colours, torch.zeros(len(colours), NO_MASK_SIZE, NO_MASK_SIZE)
    return colours, 1.0 - torch.from_numpy(picture.opacity)


@core_node(
    "LoadImage",
    display_name="Load Image",
    category="image",
    inputs=lambda: {"required": {"image": (input_files(), {"image_upload": True})}},
    outputs=[("IMAGE", "IMAGE"), ("MASK", "MASK")],
    is_changed=image_digest,
    validate=image_exists,
)
def load_image(image: str) -> tuple[Tensor, Tensor]:
    path = input_path(image)
    return tensors(decoded(path) if follows.decodes_by_ffmpeg() else eight_bits.decoded(path))


@core_node(
    "LoadImageMask",
    display_name="Load Image (as Mask)",
    category="image",
    inputs=lambda: {
        "required": {"image": (input_files(), {"image_upload": True}), "channel": (CHANNELS,)},
    },
    outputs=[("MASK", "MASK")],
    is_changed=image_digest,
    validate=image_exists,
)
def load_image_mask(image: str, channel: str) -> tuple[Tensor]:
    if not follows.decodes_by_ffmpeg():
        return (torch.from_numpy(eight_bits.mask(input_path(image), channel)),)
    colours, masks = load_image(image)
    return (masks if channel == "alpha" else colours[..., CHANNELS.index(channel) - 1].clone(),)
