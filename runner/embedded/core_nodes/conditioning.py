"""Core nodes that make and change conditionings."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import interpolate

from ..engine.encoders.clip import Clip
from ..engine.encoders.clip_vision import ClipVision, ClipVisionOutput
from ..engine.encoders.vae import Vae
from ..engine.state_dicts import UnsupportedModelError
from ..engine.tensors import cropped_to_multiple
from ..execution.registry import core_node
from .resize import MAX_RESOLUTION

Conditioning = list[list[Any]]
CONDITIONING = [("CONDITIONING", "CONDITIONING")]
STRENGTH = {"default": 1.0, "min": 0.0, "max": 10.0, "step": 0.01}


def with_values(conditioning: Conditioning, values: dict[str, Any]) -> Conditioning:
    """The same conditions with some options set."""
    return [[tokens, {**options, **values}] for tokens, options in conditioning]


def hole_greyed(pixels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Pictures [B, H, W, C] with mid grey where the mask [B, 1, H, W], rounded, is 1."""
    keep = (1.0 - mask.round()).movedim(1, -1)
    return torch.cat([(pixels[..., :3] - 0.5) * keep + 0.5, pixels[..., 3:]], dim=-1)


def mask_at(mask: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """A mask as [B, 1, H, W] at the pictures' size, bilinear."""
    return interpolate(mask.reshape(-1, 1, *mask.shape[-2:]), size=tuple(pixels.shape[1:3]), mode="bilinear")


@core_node(
    "CLIPTextEncode",
    display_name="CLIP Text Encode (Prompt)",
    category="model/conditioning",
    inputs={"required": {"text": ("STRING", {"multiline": True, "dynamicPrompts": True}), "clip": ("CLIP",)}},
    outputs=CONDITIONING,
)
def clip_text_encode(clip: Clip | None, text: str) -> tuple[Conditioning]:
    """A prompt as a conditioning."""
    if clip is None:
        raise UnsupportedModelError(
            "the checkpoint holds no text encoder: choose one that does (a full checkpoint, not a bare U-Net)"
        )
    return (clip.encode(text),)


@core_node(
    "CLIPSetLastLayer",
    display_name="CLIP Set Last Layer",
    category="model/conditioning",
    inputs={
        "required": {
            "clip": ("CLIP",),
            "stop_at_clip_layer": ("INT", {"default": -1, "min": -24, "max": -1, "step": 1, "advanced": True}),
        }
    },
    outputs=[("CLIP", "CLIP")],
)
def clip_set_last_layer(clip: Clip, stop_at_clip_layer: int) -> tuple[Clip]:
    """A CLIP that stops early ("clip skip")."""
    clip = clip.clone()
    clip.clip_layer(stop_at_clip_layer)
    return (clip,)


@core_node(
    "ConditioningCombine",
    display_name="Conditioning (Combine)",
    category="model/conditioning/transform",
    inputs={"required": {"conditioning_1": ("CONDITIONING",), "conditioning_2": ("CONDITIONING",)}},
    outputs=CONDITIONING,
)
def conditioning_combine(conditioning_1: Conditioning, conditioning_2: Conditioning) -> tuple[Conditioning]:
    """Both at once: the model is asked for each and the answers are averaged."""
    return (conditioning_1 + conditioning_2,)


@core_node(
    "ConditioningConcat",
    display_name="Conditioning (Concat)",
    category="model/conditioning/transform",
    inputs={"required": {"conditioning_to": ("CONDITIONING",), "conditioning_from": ("CONDITIONING",)}},
    outputs=CONDITIONING,
)
def conditioning_concat(conditioning_to: Conditioning, conditioning_from: Conditioning) -> tuple[Conditioning]:
    """The tokens of `conditioning_from`'s first entry behind those of each entry."""
    added = conditioning_from[0][0]
    return ([[torch.cat((tokens, added), 1), dict(options)] for tokens, options in conditioning_to],)


_CELLS = {"default": 64, "min": 64, "max": MAX_RESOLUTION, "step": 8}
_CORNER = {"default": 0, "min": 0, "max": MAX_RESOLUTION, "step": 8}


@core_node(
    "ConditioningSetArea",
    display_name="Conditioning (Set Area)",
    category="model/conditioning/transform",
    inputs={
        "required": {
            "conditioning": ("CONDITIONING",),
            "width": ("INT", _CELLS),
            "height": ("INT", _CELLS),
            "x": ("INT", _CORNER),
            "y": ("INT", _CORNER),
            "strength": ("FLOAT", STRENGTH),
        }
    },
    outputs=CONDITIONING,
)
def conditioning_set_area(
    conditioning: Conditioning, width: int, height: int, x: int, y: int, strength: float
) -> tuple[Conditioning]:
    """The conditioning for a rectangle only, in pixels."""
    values = {"area": (height // 8, width // 8, y // 8, x // 8), "strength": strength, "set_area_to_bounds": False}
    return (with_values(conditioning, values),)


@core_node(
    "ConditioningSetAreaPercentage",
    display_name="Conditioning (Set Area with Percentage)",
    category="model/conditioning/transform",
    inputs={
        "required": {
            "conditioning": ("CONDITIONING",),
            "width": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}),
            "height": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}),
            "x": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 1.0, "step": 0.01}),
            "y": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 1.0, "step": 0.01}),
            "strength": ("FLOAT", STRENGTH),
        }
    },
    outputs=CONDITIONING,
)
def conditioning_set_area_percentage(
    conditioning: Conditioning, width: float, height: float, x: float, y: float, strength: float
) -> tuple[Conditioning]:
    """The conditioning for a rectangle only, in shares of the picture."""
    values = {"area": ("percentage", height, width, y, x), "strength": strength, "set_area_to_bounds": False}
    return (with_values(conditioning, values),)


@core_node(
    "ConditioningSetAreaStrength",
    display_name="Conditioning (Set Area Strength)",
    category="model/conditioning/transform",
    inputs={"required": {"conditioning": ("CONDITIONING",), "strength": ("FLOAT", STRENGTH)}},
    outputs=CONDITIONING,
)
def conditioning_set_area_strength(conditioning: Conditioning, strength: float) -> tuple[Conditioning]:
    """How much the conditioning counts beside others."""
    return (with_values(conditioning, {"strength": strength}),)


@core_node(
    "ConditioningAverage",
    display_name="Conditioning (Average)",
    category="model/conditioning/transform",
    inputs={
        "required": {
            "conditioning_to": ("CONDITIONING",),
            "conditioning_from": ("CONDITIONING",),
            "conditioning_to_strength": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}),
        }
    },
    outputs=CONDITIONING,
)
def conditioning_average(
    conditioning_to: Conditioning, conditioning_from: Conditioning, conditioning_to_strength: float
) -> tuple[Conditioning]:
    """The numbers of two texts mixed; of `conditioning_from` the first entry, cut or filled with zeros to length."""
    share = conditioning_to_strength
    other, other_options = conditioning_from[0]
    other_pooled = other_options.get("pooled_output")
    result: Conditioning = []
    for tokens, options in conditioning_to:
        fitted = torch.zeros_like(tokens[:1])
        length = min(tokens.shape[1], other.shape[1])
        fitted[:, :length] = other[:, :length]
        options = dict(options)
        if other_pooled is not None:
            pooled = options.get("pooled_output", other_pooled)
            mixed = other_pooled if pooled is None else pooled * share + other_pooled * (1.0 - share)
            options["pooled_output"] = mixed
        result.append([tokens * share + fitted * (1.0 - share), options])
    return (result,)


@core_node(
    "ConditioningSetMask",
    display_name="Conditioning (Set Mask)",
    category="model/conditioning/transform",
    inputs={
        "required": {
            "conditioning": ("CONDITIONING",),
            "mask": ("MASK",),
            "strength": ("FLOAT", STRENGTH),
            "set_cond_area": (["default", "mask bounds"],),
        }
    },
    outputs=CONDITIONING,
)
def conditioning_set_mask(
    conditioning: Conditioning, mask: torch.Tensor, strength: float, set_cond_area: str
) -> tuple[Conditioning]:
    """The conditioning for a mask only."""
    if mask.ndim < 3:
        mask = mask[None]
    values = {"mask": mask, "set_area_to_bounds": set_cond_area != "default", "mask_strength": strength}
    return (with_values(conditioning, values),)


_SHARE = {"default": 0.0, "min": 0.0, "max": 1.0, "step": 0.001}


@core_node(
    "ConditioningSetTimestepRange",
    category="model/conditioning/transform",
    inputs={
        "required": {
            "conditioning": ("CONDITIONING",),
            "start": ("FLOAT", _SHARE),
            "end": ("FLOAT", {**_SHARE, "default": 1.0}),
        }
    },
    outputs=CONDITIONING,
)
def conditioning_set_timestep_range(conditioning: Conditioning, start: float, end: float) -> tuple[Conditioning]:
    """The conditioning for a part of the way from noise (0) to picture (1)."""
    return (with_values(conditioning, {"start_percent": start, "end_percent": end}),)


@core_node(
    "ConditioningZeroOut",
    display_name="Conditioning Zero Out",
    category="model/conditioning/transform",
    inputs={"required": {"conditioning": ("CONDITIONING",)}},
    outputs=CONDITIONING,
)
def conditioning_zero_out(conditioning: Conditioning) -> tuple[Conditioning]:
    """The conditioning with all text numbers 0."""
    result: Conditioning = []
    for tokens, options in conditioning:
        options = dict(options)
        if options.get("pooled_output") is not None:
            options["pooled_output"] = torch.zeros_like(options["pooled_output"])
        result.append([torch.zeros_like(tokens), options])
    return (result,)


@core_node(
    "CLIPVisionEncode",
    display_name="CLIP Vision Encode",
    category="model/conditioning",
    inputs={"required": {"clip_vision": ("CLIP_VISION",), "image": ("IMAGE",), "crop": (["center", "none"],)}},
    outputs=[("CLIP_VISION_OUTPUT", "CLIP_VISION_OUTPUT")],
)
def clip_vision_encode(clip_vision: ClipVision, image: torch.Tensor, crop: str) -> tuple[ClipVisionOutput]:
    """What the picture looks like to CLIP."""
    return (clip_vision.encode_image(image, crop=crop == "center"),)


@core_node(
    "unCLIPConditioning",
    category="model/conditioning",
    inputs={
        "required": {
            "conditioning": ("CONDITIONING",),
            "clip_vision_output": ("CLIP_VISION_OUTPUT",),
            "strength": ("FLOAT", {**STRENGTH, "min": -10.0}),
            "noise_augmentation": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 1.0, "step": 0.01}),
        }
    },
    outputs=CONDITIONING,
)
def unclip_conditioning(
    conditioning: Conditioning, clip_vision_output: ClipVisionOutput, strength: float, noise_augmentation: float
) -> tuple[Conditioning]:
    """Adds a picture to what an unCLIP model is asked for."""
    if strength == 0:
        return (conditioning,)
    image = {
        "clip_vision_output": clip_vision_output,
        "strength": strength,
        "noise_augmentation": noise_augmentation,
    }
    return (
        [
            [tokens, {**options, "unclip_conditioning": [*options.get("unclip_conditioning", []), image]}]
            for tokens, options in conditioning
        ],
    )


_BOTH = [("CONDITIONING", "positive"), ("CONDITIONING", "negative"), ("LATENT", "latent")]


@core_node(
    "InstructPixToPixConditioning",
    category="model/conditioning/instructpix2pix",
    inputs={
        "required": {
            "positive": ("CONDITIONING",),
            "negative": ("CONDITIONING",),
            "vae": ("VAE",),
            "pixels": ("IMAGE",),
        }
    },
    outputs=_BOTH,
    python_module="comfy_extras.nodes_ip2p",
)
def instruct_pix_to_pix_conditioning(
    positive: Conditioning, negative: Conditioning, vae: Vae, pixels: torch.Tensor
) -> tuple[Conditioning, Conditioning, dict[str, torch.Tensor]]:
    """Both sides see the picture's latent; sampling starts from an empty one."""
    latent = vae.encode(cropped_to_multiple(pixels))
    values = {"concat_latent_image": latent}
    return with_values(positive, values), with_values(negative, values), {"samples": torch.zeros_like(latent)}


@core_node(
    "InpaintModelConditioning",
    category="model/conditioning",
    inputs={
        "required": {
            "positive": ("CONDITIONING",),
            "negative": ("CONDITIONING",),
            "vae": ("VAE",),
            "pixels": ("IMAGE",),
            "mask": ("MASK",),
            "noise_mask": ("BOOLEAN", {"default": True}),
        }
    },
    outputs=_BOTH,
)
def inpaint_model_conditioning(
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    pixels: torch.Tensor,
    mask: torch.Tensor,
    noise_mask: bool = True,
) -> tuple[Conditioning, Conditioning, dict[str, torch.Tensor]]:
    """What an inpainting model sees: the mask, and the picture with the hole greyed."""
    mask = cropped_to_multiple(mask_at(mask, pixels).movedim(1, -1)).movedim(-1, 1)
    values = {
        "concat_latent_image": vae.encode(hole_greyed(cropped_to_multiple(pixels), mask)),
        "concat_mask": mask,
    }
    latent = {"samples": vae.encode(pixels)}
    if noise_mask:
        latent["noise_mask"] = mask
    return with_values(positive, values), with_values(negative, values), latent
