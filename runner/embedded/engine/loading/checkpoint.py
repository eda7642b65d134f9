"""Single-file checkpoints in ComfyUI's (LDM's) layout -> model, CLIP, VAE and CLIP vision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..encoders.clip import Clip, clip_from_state_dict
from ..encoders.clip_vision import ClipVision, clip_vision_from_state_dict
from ..encoders.prompt import EmbeddingLookup
from ..encoders.vae import Vae, vae_from_state_dict
from ..model.diffusion import DiffusionModel
from ..model.model import EmbeddedModel
from ..model.model_sampling import ModelSampling
from ..model.unet import LatentUNet
from ..state_dicts import read_state_dict, without_prefix
from .detect import UNET_PREFIX, detect_prediction, detect_unet, with_prefix

VAE_PREFIX = "first_stage_model."
VISION_PREFIX = "embedder.model."


@dataclass
class Checkpoint:
    """What a file holds; parts that it lacks are None."""

    model: EmbeddedModel
    clip: Clip | None
    vae: Vae | None
    clip_vision: ClipVision | None = None


def compute_dtype(device: torch.device) -> torch.dtype:
    """What U-Nets compute in: half precision on a GPU, single on a CPU, whatever the file holds (as ComfyUI does)."""
    return torch.float16 if device.type == "cuda" else torch.float32


def load_checkpoint(
    path: Path,
    device: torch.device | None = None,
    *,
    lookup: EmbeddingLookup | None = None,
    with_vision: bool = False,
) -> Checkpoint:
    """Loads a checkpoint.

    Args:
        device: where to compute; the CPU by default.
        lookup: finds textual inversion vectors by name.
        with_vision: also load the vision tower of an unCLIP checkpoint.

    Raises:
        FileNotFoundError, UnsupportedModelError: see `read_state_dict` and `detect_unet`.
    """
    device = device or torch.device("cpu")
    state = read_state_dict(path)
    layout = detect_unet(state, path.name)
    unet = LatentUNet.from_ldm(without_prefix(state, UNET_PREFIX), layout, compute_dtype(device)).to(device)
    sampling = ModelSampling(detect_prediction(state, layout))
    clip = clip_from_state_dict(state, lookup)
    if clip is not None:
        clip.encoder.to(device)
    vision = None
    if with_vision:
        vision = clip_vision_from_state_dict(without_prefix(state, VISION_PREFIX), device)
    vae = vae_from_state_dict(without_prefix(state, VAE_PREFIX), device)
    return Checkpoint(EmbeddedModel(DiffusionModel(unet, sampling, device)), clip, vae, vision)


def load_diffusion_model(path: Path, device: torch.device) -> EmbeddedModel:
    """A U-Net file by itself: in LDM's words, with or without their prefix, or in diffusers'.

    Raises:
        FileNotFoundError, UnsupportedModelError: see `read_state_dict` and `detect_unet`.
    """
    state = with_prefix(read_state_dict(path), path.name)
    layout = detect_unet(state, path.name)
    unet = LatentUNet.from_ldm(without_prefix(state, UNET_PREFIX), layout, compute_dtype(device)).to(device)
    return EmbeddedModel(DiffusionModel(unet, ModelSampling(detect_prediction(state, layout)), device))
