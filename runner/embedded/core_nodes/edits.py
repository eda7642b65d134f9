"""Core nodes that cut, turn, scale, pad, mix and filter images, and take their transparency apart."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from .. import follows
from ..execution.registry import core_node
from .composite import same_channels
from .images import SIZE
from .masks import batched
from .resize import IMAGE_METHODS, MAX_RESOLUTION, repeat_to_batch, resized

IMAGE = [("IMAGE", "IMAGE")]
_AT = {"default": 0, "min": 0, "max": MAX_RESOLUTION, "step": 1}
_IMAGES_MODULE = "comfy_extras.nodes_images"
_FILTERS_MODULE = "comfy_extras.nodes_post_processing"
_ALPHA_MODULE = "comfy_extras.nodes_compositing"


@core_node(
    "ImageCrop",
    display_name="Crop Image (DEPRECATED)",
    deprecated=True,
    category="image/transform",
    inputs={
        "required": {
            "image": ("IMAGE",),
            "width": ("INT", SIZE),
            "height": ("INT", SIZE),
            "x": ("INT", _AT),
            "y": ("INT", _AT),
        }
    },
    outputs=IMAGE,
    python_module=_IMAGES_MODULE,
)
def image_crop(image: Tensor, width: int, height: int, x: int, y: int) -> tuple[Tensor]:
    """A rectangle; one that begins outside begins at the last pixel."""
    left, top = min(x, image.shape[2] - 1), min(y, image.shape[1] - 1)
    return (image[:, top : top + height, left : left + width],)


@core_node(
    "RepeatImageBatch",
    display_name="Repeat Image Batch",
    category="image/batch",
    inputs={"required": {"image": ("IMAGE",), "amount": ("INT", {"default": 1, "min": 1, "max": 4096})}},
    outputs=IMAGE,
    python_module=_IMAGES_MODULE,
)
def repeat_image_batch(image: Tensor, amount: int) -> tuple[Tensor]:
    """The whole batch several times."""
    return (image.repeat(amount, 1, 1, 1),)


@core_node(
    "ImageFromBatch",
    display_name="Get Image from Batch",
    category="image/batch",
    inputs={
        "required": {
            "image": ("IMAGE",),
            "batch_index": ("INT", {"default": 0, "min": -MAX_RESOLUTION, "max": MAX_RESOLUTION}),
            "length": ("INT", {"default": 1, "min": 1, "max": 4096}),
        }
    },
    outputs=IMAGE,
    python_module=_IMAGES_MODULE,
)
def image_from_batch(image: Tensor, batch_index: int, length: int) -> tuple[Tensor]:
    """Pictures of a batch from one on; a negative index counts from the end."""
    count = image.shape[0]
    first = max(0, min(count - 1, batch_index + count if batch_index < 0 else batch_index))
    return (image[first : first + length].clone(),)


@core_node(
    "GetImageSize",
    display_name="Get Image Size",
    category="image",
    inputs={"required": {"image": ("IMAGE",)}},
    outputs=[("INT", "width"), ("INT", "height"), ("INT", "batch_size")],
    python_module=_IMAGES_MODULE,
)
def get_image_size(image: Tensor) -> tuple[int, int, int]:
    """Width, height and number of pictures."""
    return image.shape[2], image.shape[1], image.shape[0]


@core_node(
    "ImageRotate",
    display_name="Rotate Image",
    category="image/transform",
    inputs={"required": {"image": ("IMAGE",), "rotation": (["none", "90 degrees", "180 degrees", "270 degrees"],)}},
    outputs=IMAGE,
    python_module=_IMAGES_MODULE,
)
def image_rotate(image: Tensor, rotation: str) -> tuple[Tensor]:
    """Turned clockwise by quarters."""
    quarters = 0 if rotation == "none" else int(rotation.split()[0]) // 90
    return (torch.rot90(image, k=quarters, dims=(2, 1)),)


@core_node(
    "ImageFlip",
    display_name="Flip Image",
    category="image/transform",
    inputs={"required": {"image": ("IMAGE",), "flip_method": (["x-axis: vertically", "y-axis: horizontally"],)}},
    outputs=IMAGE,
    python_module=_IMAGES_MODULE,
)
def image_flip(image: Tensor, flip_method: str) -> tuple[Tensor]:
    """Mirrored."""
    return (image.flip(1 if flip_method.startswith("x") else 2),)


@core_node(
    "ImageScaleToTotalPixels",
    display_name="Scale Image to Total Pixels",
    category="image/upscaling",
    inputs={
        "required": {
            "image": ("IMAGE",),
            "upscale_method": (IMAGE_METHODS,),
            "megapixels": ("FLOAT", {"default": 1.0, "min": 0.01, "max": 16.0, "step": 0.01}),
            "resolution_steps": ("INT", {"default": 1, "min": 1, "max": 256, "advanced": True}),
        }
    },
    outputs=IMAGE,
    python_module=_FILTERS_MODULE,
)
def image_scale_to_total_pixels(
    image: Tensor, upscale_method: str, megapixels: float, resolution_steps: int = 1
) -> tuple[Tensor]:
    """Scaled to so many times 1024 x 1024 px, each side a multiple of `resolution_steps`."""
    height, width = image.shape[1:3]
    scale = math.sqrt(megapixels * 1024 * 1024 / (width * height))
    sides = [round(side * scale / resolution_steps) * resolution_steps for side in (width, height)]
    return (resized(image.movedim(-1, 1), sides[0], sides[1], upscale_method).movedim(1, -1),)


@core_node(
    "ImageScaleToMaxDimension",
    display_name="Scale Image to Max Dimension",
    category="image/upscaling",
    inputs={
        "required": {
            "image": ("IMAGE",),
            "upscale_method": (["area", "lanczos", "bilinear", "nearest-exact", "bilinear", "bicubic"],),
            "largest_size": ("INT", {**SIZE, "min": 0}),
        }
    },
    outputs=IMAGE,
    python_module=_IMAGES_MODULE,
)
def image_scale_to_max_dimension(image: Tensor, upscale_method: str, largest_size: int) -> tuple[Tensor]:
    """Scaled so that the longer side has this length."""
    height, width = image.shape[1:3]
    longest = max(height, width)
    sides = [largest_size if side == longest else round(side / longest * largest_size) for side in (width, height)]
    return (resized(image.movedim(-1, 1), sides[0], sides[1], upscale_method).movedim(1, -1),)


_STEP = {"default": 0, "min": 0, "max": MAX_RESOLUTION, "step": 8}


@core_node(
    "ImagePadForOutpaint",
    display_name="Pad Image for Outpainting",
    category="image/transform",
    inputs={
        "required": {
            "image": ("IMAGE",),
            **{side: ("INT", _STEP) for side in ("left", "top", "right", "bottom")},
            "feathering": ("INT", {"default": 40, "min": 0, "max": MAX_RESOLUTION, "step": 1, "advanced": True}),
        }
    },
    outputs=[("IMAGE", "IMAGE"), ("MASK", "MASK")],
)
def image_pad_for_outpaint(
    image: Tensor, left: int, top: int, right: int, bottom: int, feathering: int
) -> tuple[Tensor, Tensor]:
    """The picture on a larger grey canvas, and a mask of what is new, which fades into the picture."""
    batch, height, width, channels = image.shape
    canvas = torch.full((batch, height + top + bottom, width + left + right, channels), 0.5)
    canvas[:, top : top + height, left : left + width] = image
    fade = torch.zeros(height, width)
    if 0 < feathering * 2 < min(height, width):
        rows = _distance(height, top != 0, bottom != 0)
        columns = _distance(width, left != 0, right != 0)
        distance = torch.minimum(rows[:, None], columns[None, :])
        fade = ((feathering - distance).clamp(min=0) / feathering) ** 2
    mask = torch.ones(canvas.shape[1:3])
    mask[top : top + height, left : left + width] = fade
    return canvas, mask[None]


def _distance(length: int, from_start: bool, from_end: bool) -> Tensor:
    """Of each place to those ends that count; without any, farther than any feathering reaches."""
    place = torch.arange(length, dtype=torch.float32)
    far = torch.full((length,), math.inf)
    return torch.minimum(place if from_start else far, length - place if from_end else far)


BLEND_MODES = ["normal", "multiply", "screen", "overlay", "soft_light", "difference"]


@core_node(
    "ImageBlend",
    display_name="Blend Images",
    category="image/filters",
    inputs={
        "required": {
            "image1": ("IMAGE",),
            "image2": ("IMAGE",),
            "blend_factor": ("FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01}),
            "blend_mode": (BLEND_MODES,),
        }
    },
    outputs=IMAGE,
    python_module=_FILTERS_MODULE,
)
def image_blend(image1: Tensor, image2: Tensor, blend_factor: float, blend_mode: str) -> tuple[Tensor]:
    """Two pictures mixed by one of the usual layer modes; the second one takes the first one's size."""
    image1, image2 = same_channels(image1, image2)
    if image1.shape != image2.shape:
        height, width = image1.shape[1:3]
        image2 = resized(image2.movedim(-1, 1), width, height, "bicubic", "center").movedim(1, -1)
    mixed = image1 * (1 - blend_factor) + _layered(image1, image2, blend_mode) * blend_factor
    return (mixed.clamp(0.0, 1.0),)


def _layered(below: Tensor, above: Tensor, mode: str) -> Tensor:
    if mode == "multiply":
        return below * above
    if mode == "screen":
        return 1 - (1 - below) * (1 - above)
    if mode == "overlay":
        return torch.where(below <= 0.5, 2 * below * above, 1 - 2 * (1 - below) * (1 - above))
    if mode == "soft_light":
        # The W3C's formula ("Compositing and Blending", 2015).
        lifted = torch.where(below <= 0.25, ((16 * below - 12) * below + 4) * below, below.sqrt())
        darker = below - (1 - 2 * above) * below * (1 - below)
        return torch.where(above <= 0.5, darker, below + (2 * above - 1) * (lifted - below))
    return below - above if mode == "difference" else above


def _gaussian(radius: int, sigma: float) -> Tensor:
    """A kernel of ``2 radius + 1`` px a side with sum 1; `sigma` counts in radii."""
    line = torch.linspace(-1, 1, 2 * radius + 1)
    kernel = torch.exp(-(line[:, None] ** 2 + line[None, :] ** 2) / (2.0 * sigma * sigma))
    return kernel / kernel.sum()


def _filtered(image: Tensor, kernel: Tensor) -> Tensor:
    """Each channel of ``[B, H, W, C]`` through a kernel; borders are mirrored."""
    radius, channels = kernel.shape[0] // 2, image.shape[-1]
    if radius >= min(image.shape[1:3]):
        raise ValueError(f"a radius of {radius} px is too large for an image of {image.shape[2]} x {image.shape[1]} px")
    padded = pad(image.movedim(-1, 1), (radius,) * 4, mode="reflect")
    return conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels).movedim(1, -1)


_RADIUS = {"default": 1, "min": 1, "max": 31, "step": 1}
_SIGMA = {"default": 1.0, "min": 0.1, "max": 10.0, "step": 0.1}


@core_node(
    "ImageBlur",
    display_name="Blur Image",
    category="image/filters",
    inputs={"required": {"image": ("IMAGE",), "blur_radius": ("INT", _RADIUS), "sigma": ("FLOAT", _SIGMA)}},
    outputs=IMAGE,
    python_module=_FILTERS_MODULE,
)
def image_blur(image: Tensor, blur_radius: int, sigma: float) -> tuple[Tensor]:
    """A Gaussian blur."""
    return (_filtered(image, _gaussian(blur_radius, sigma)),)


@core_node(
    "ImageSharpen",
    display_name="Sharpen Image",
    category="image/filters",
    inputs={
        "required": {
            "image": ("IMAGE",),
            "sharpen_radius": ("INT", {**_RADIUS, "advanced": True}),
            "sigma": ("FLOAT", {**_SIGMA, "step": 0.01, "advanced": True}),
            "alpha": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 5.0, "step": 0.01, "advanced": True}),
        }
    },
    outputs=IMAGE,
    python_module=_FILTERS_MODULE,
)
def image_sharpen(image: Tensor, sharpen_radius: int, sigma: float, alpha: float) -> tuple[Tensor]:
    """Ten times `alpha` of the blur taken away, and as much of the picture added."""
    kernel = _gaussian(sharpen_radius, sigma) * (-10.0 * alpha)
    kernel[sharpen_radius, sharpen_radius] += 1.0 - kernel.sum()
    return (_filtered(image, kernel).clamp(0.0, 1.0),)


@core_node(
    "ImageColorToMask",
    display_name="Convert Image Color to Mask",
    category="image/mask",
    inputs={
        "required": {
            "image": ("IMAGE",),
            "color": ("INT", {"default": 0, "min": 0, "max": 0xFFFFFF, "step": 1, "display": "number"}),
        }
    },
    outputs=[("MASK", "MASK")],
    python_module="comfy_extras.nodes_mask",
)
def image_color_to_mask(image: Tensor, color: int) -> tuple[Tensor]:
    """1 where the picture has exactly this colour, 0xRRGGBB."""
    levels = (image[..., :3].clamp(0.0, 1.0) * 255.0).round().int()
    wanted = torch.tensor([color >> shift & 0xFF for shift in (16, 8, 0)], dtype=torch.int32)
    return ((levels == wanted).all(-1).float(),)


@core_node(
    "SplitImageWithAlpha",
    display_name="Split Image with Alpha",
    category="image/compositing",
    inputs={"required": {"image": ("IMAGE",)}},
    outputs=[("IMAGE", "IMAGE"), ("MASK", "MASK")],
    python_module=_ALPHA_MODULE,
)
def split_image_with_alpha(image: Tensor) -> tuple[Tensor, Tensor]:
    """Colours, and a mask that is 1 where the picture is transparent."""
    alpha = image[..., 3] if image.shape[-1] > 3 else torch.ones_like(image[..., 0])
    return image[..., :3], 1.0 - alpha


@core_node(
    "JoinImageWithAlpha",
    display_name="Join Image with Alpha",
    category="image/compositing",
    inputs={"required": {"image": ("IMAGE",), "alpha": ("MASK",)}},
    outputs=IMAGE,
    python_module=_ALPHA_MODULE,
)
def join_image_with_alpha(image: Tensor, alpha: Tensor) -> tuple[Tensor]:
    """The picture, transparent where the mask is 1."""
    both = (len(image), len(alpha))
    count, (height, width) = max(both) if follows.joins_the_longer_batch() else min(both), image.shape[1:3]
    opaque = 1.0 - resized(batched(alpha).to(image)[:, None], width, height, "bilinear")[:, 0]
    colours = repeat_to_batch(image, count)[..., :3]
    return (torch.cat((colours, repeat_to_batch(opaque, count)[..., None]), dim=-1),)
