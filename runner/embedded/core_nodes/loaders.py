"""Core nodes that load checkpoints, autoencoders, vision models and LoRAs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch

from ....nodes import host
from .. import folders
from ..engine.encoders.clip import Clip, clip_from_state_dict
from ..engine.encoders.clip_vision import ClipVision, clip_vision_from_state_dict
from ..engine.encoders.vae import Vae, vae_from_state_dict
from ..engine.loading.checkpoint import Checkpoint, load_checkpoint, load_diffusion_model
from ..engine.loading.lora import apply_lora
from ..engine.model.model import EmbeddedModel
from ..engine.state_dicts import UnsupportedModelError, read_state_dict
from ..execution.memory import collect
from ..execution.registry import core_node

STRENGTH = {"default": 1.0, "min": -100.0, "max": 100.0, "step": 0.01}

# Two loaders of one file share its weights for as long as anything of it is in use.
_loaded: WeakValueDictionary[tuple[Any, ...], Checkpoint] = WeakValueDictionary()


def choice_of(folder: str, name: str) -> Callable[[], dict[str, Any]]:
    """Declares one required input: a file of a model folder, read afresh each time."""
    return lambda: {"required": {name: (folders.current().model_filenames(folder),)}}


def embedding_lookup(name: str) -> torch.Tensor | None:
    """Textual inversion vectors [tokens, width] from the `embeddings` folders, or None."""
    for suffix in ("", ".safetensors", ".pt", ".bin"):
        try:
            state = read_state_dict(folders.current().model_path("embeddings", name + suffix))
        except FileNotFoundError:
            continue
        vectors = next((v for k, v in state.items() if k in ("clip_l", "emb_params", "*") or v.ndim == 2), None)
        return None if vectors is None else vectors.reshape(-1, vectors.shape[-1])
    return None


def _checkpoint(name: str, with_vision: bool) -> Checkpoint:
    path = folders.current().model_path("checkpoints", name)
    device, status = host.current().device(), path.stat()
    key = (str(path), status.st_mtime_ns, status.st_size, str(device), with_vision)
    checkpoint = _loaded.get(key)
    if checkpoint is None:
        # The parts below know their checkpoint and it knows them: only a collection frees one that is no longer used,
        # and two at once may be more than there is memory for.
        collect()
        checkpoint = load_checkpoint(path, device, lookup=embedding_lookup, with_vision=with_vision)
        # The parts that travel through the graph keep the whole alive.
        for part in (checkpoint.model, checkpoint.clip, checkpoint.vae):
            if part is not None:
                part.checkpoint = checkpoint
        _loaded[key] = checkpoint
    return checkpoint


@core_node(
    "CheckpointLoaderSimple",
    display_name="Load Checkpoint",
    category="model/loaders",
    inputs=choice_of("checkpoints", "ckpt_name"),
    outputs=[("MODEL", "MODEL"), ("CLIP", "CLIP"), ("VAE", "VAE")],
)
def checkpoint_loader_simple(ckpt_name: str) -> tuple[EmbeddedModel, Clip | None, Vae | None]:
    """Model, text encoder and autoencoder of a checkpoint file."""
    checkpoint = _checkpoint(ckpt_name, with_vision=False)
    return checkpoint.model, checkpoint.clip, checkpoint.vae


@core_node(
    "unCLIPCheckpointLoader",
    display_name="Load unCLIP Checkpoint",
    category="model/loaders",
    inputs=choice_of("checkpoints", "ckpt_name"),
    outputs=[("MODEL", "MODEL"), ("CLIP", "CLIP"), ("VAE", "VAE"), ("CLIP_VISION", "CLIP_VISION")],
)
def unclip_checkpoint_loader(ckpt_name: str) -> tuple[EmbeddedModel, Clip | None, Vae | None, ClipVision | None]:
    """The same with the vision model that unCLIP checkpoints hold."""
    checkpoint = _checkpoint(ckpt_name, with_vision=True)
    return checkpoint.model, checkpoint.clip, checkpoint.vae, checkpoint.clip_vision


@core_node(
    "VAELoader",
    display_name="Load VAE",
    category="model/loaders",
    inputs=choice_of("vae", "vae_name"),
    outputs=[("VAE", "VAE")],
)
def vae_loader(vae_name: str) -> tuple[Vae]:
    """An autoencoder file: KL, or TAESD's encoder and decoder in one."""
    state = read_state_dict(folders.current().model_path("vae", vae_name))
    vae = vae_from_state_dict(state, host.current().device())
    if vae is None:
        raise UnsupportedModelError(f"{vae_name} holds no autoencoder")
    return (vae,)


@core_node(
    "CLIPVisionLoader",
    display_name="Load CLIP Vision",
    category="model/loaders",
    inputs=choice_of("clip_vision", "clip_name"),
    outputs=[("CLIP_VISION", "CLIP_VISION")],
)
def clip_vision_loader(clip_name: str) -> tuple[ClipVision]:
    """A CLIP vision model file."""
    path = folders.current().model_path("clip_vision", clip_name)
    return (clip_vision_from_state_dict(read_state_dict(path), host.current().device()),)


#: ComfyUI 0.28.1's kinds of text encoder; what they are for decides how a file is read. Ours is the first one.
CLIP_TYPES = [
    "stable_diffusion",
    "stable_cascade",
    "sd3",
    "stable_audio",
    "mochi",
    "ltxv",
    "pixart",
    "cosmos",
    "lumina2",
    "wan",
    "hidream",
    "chroma",
    "ace",
    "omnigen2",
    "qwen_image",
    "hunyuan_image",
    "flux2",
    "ovis",
    "longcat_image",
    "cogvideox",
    "lens",
    "pixeldit",
    "ideogram4",
    "boogu",
    "krea2",
]
WEIGHT_TYPES = ["default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"]


@core_node(
    "CLIPLoader",
    display_name="Load CLIP",
    category="model/loaders",
    inputs=lambda: {
        "required": {"clip_name": (folders.current().model_filenames("text_encoders"),), "type": (CLIP_TYPES,)},
        "optional": {"device": (["default", "cpu"], {"advanced": True})},
    },
    outputs=[("CLIP", "CLIP")],
)
def clip_loader(clip_name: str, type: str, device: str = "default") -> tuple[Clip]:
    """A text encoder file: CLIP-L of Stable Diffusion 1.x, or OpenCLIP-H of 2.x."""
    if type != "stable_diffusion":
        raise UnsupportedModelError(
            f"a text encoder of type {type!r} needs a ComfyUI server; the embedded server runs 'stable_diffusion'"
        )
    state = read_state_dict(folders.current().model_path("text_encoders", clip_name))
    clip = clip_from_state_dict(state, embedding_lookup)
    if clip is None:
        raise UnsupportedModelError(
            f"{clip_name} holds no text encoder of Stable Diffusion 1.x or 2.x (expected: CLIP-L, such as "
            "clip_l.safetensors); other kinds need a ComfyUI server"
        )
    if device == "default":
        clip.encoder.to(host.current().device())
    return (clip,)


@core_node(
    "UNETLoader",
    display_name="Load Diffusion Model",
    category="model/loaders",
    inputs=lambda: {
        "required": {
            "unet_name": (folders.current().model_filenames("diffusion_models"),),
            "weight_dtype": (WEIGHT_TYPES, {"advanced": True}),
        }
    },
    outputs=[("MODEL", "MODEL")],
)
def unet_loader(unet_name: str, weight_dtype: str) -> tuple[EmbeddedModel]:
    """A diffusion model file without text encoder and autoencoder."""
    if weight_dtype != "default":
        raise UnsupportedModelError(
            f"weights of type {weight_dtype} need a ComfyUI server; the embedded server knows 'default'"
        )
    path = folders.current().model_path("diffusion_models", unet_name)
    return (load_diffusion_model(path, host.current().device()),)


def _lora_inputs(with_clip: bool) -> dict[str, Any]:
    required: dict[str, Any] = {"model": ("MODEL",)}
    if with_clip:
        required["clip"] = ("CLIP",)
    required["lora_name"] = (folders.current().model_filenames("loras"),)
    required["strength_model"] = ("FLOAT", STRENGTH)
    if with_clip:
        required["strength_clip"] = ("FLOAT", STRENGTH)
    return {"required": required}


def _lora_path(name: str) -> Path:
    return folders.current().model_path("loras", name)


@core_node(
    "LoraLoader",
    display_name="Load LoRA (Model and CLIP)",
    category="model/loaders",
    inputs=partial(_lora_inputs, True),
    outputs=[("MODEL", "MODEL"), ("CLIP", "CLIP")],
)
def lora_loader(
    model: EmbeddedModel, clip: Clip, lora_name: str, strength_model: float, strength_clip: float
) -> tuple[EmbeddedModel, Clip | None]:
    """Model and text encoder with a LoRA's changes."""
    if strength_model == 0 and strength_clip == 0:
        return model, clip
    return apply_lora(model, clip, _lora_path(lora_name), strength_model, strength_clip)


@core_node(
    "LoraLoaderModelOnly",
    display_name="Load LoRA",
    category="model/loaders",
    inputs=partial(_lora_inputs, False),
    outputs=[("MODEL", "MODEL")],
)
def lora_loader_model_only(model: EmbeddedModel, lora_name: str, strength_model: float) -> tuple[EmbeddedModel]:
    """The model with a LoRA's changes."""
    if strength_model == 0:
        return (model,)
    return (apply_lora(model, None, _lora_path(lora_name), strength_model, 0.0)[0],)
