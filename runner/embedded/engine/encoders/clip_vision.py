"""The CLIP vision tower: picture -> embedding, for unCLIP checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import interpolate
from transformers import CLIPVisionConfig, CLIPVisionModel

from ..state_dicts import StateDict, UnsupportedModelError, count_layers, from_open_clip

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
#: Parts that ComfyUI keeps in single precision; the rest is rounded to half.
_SINGLE = ("pre_layrnorm.", "post_layernorm.", "projection.")


@dataclass
class ClipVisionOutput:
    """What a picture looks like to CLIP: `image_embeds` [B, projection], tokens [B, tokens, width]."""

    image_embeds: torch.Tensor
    last_hidden_state: torch.Tensor
    penultimate_hidden_states: torch.Tensor

    def __getitem__(self, name: str) -> torch.Tensor:
        value: torch.Tensor = getattr(self, name)
        return value


def preprocessed(image: torch.Tensor, size: int = 224, crop: bool = True) -> torch.Tensor:
    """Pictures [B, H, W, 3] in 0..1 -> CLIP's input [B, 3, size, size].

    Bicubic with antialiasing on the short side and a centre crop (or stretched, `crop=False`), rounded to 8 bits.
    """
    x = image[..., :3].movedim(-1, 1).float()
    if x.shape[2:] != (size, size):
        scale = size / min(x.shape[2:])
        target = (round(scale * x.shape[2]), round(scale * x.shape[3])) if crop else (size, size)
        x = interpolate(x, size=target, mode="bicubic", antialias=True)
        top, left = (x.shape[2] - size) // 2, (x.shape[3] - size) // 2
        x = x[:, :, top : top + size, left : left + size]
    x = (255.0 * x).clamp(0, 255).round() / 255.0
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return (x - mean.to(x)) / std.to(x)


class ClipVision:
    """The CLIP_VISION that nodes hand on."""

    def __init__(self, model: Any, projection: torch.Tensor, device: torch.device) -> None:
        self.model, self.projection, self.device = model.to(device), projection.to(device), device
        self.image_size: int = model.config.image_size

    @torch.no_grad()
    def encode_image(self, image: torch.Tensor, crop: bool = True) -> ClipVisionOutput:
        """Embeds pictures [B, H, W, 3] in 0..1."""
        pixels = preprocessed(image.to(self.device), self.image_size, crop)
        x = self.model.pre_layrnorm(self.model.embeddings(pixels))
        penultimate, layers = x, self.model.encoder.layers
        for number, layer in enumerate(layers):
            x = layer(x, None)
            if number == len(layers) - 2:
                penultimate = x
        pooled = self.model.post_layernorm(x[:, 0])
        return ClipVisionOutput((pooled @ self.projection.T).cpu(), x.cpu(), penultimate.cpu())


def clip_vision_from_state_dict(state: StateDict, device: torch.device) -> ClipVision:
    """A vision tower from OpenCLIP's names (`visual.` or none) or transformers' (`vision_model.`).

    Raises:
        UnsupportedModelError: the tensors are no CLIP vision tower.
    """
    if any(k.startswith("visual.") for k in state):
        state = {k[len("visual.") :]: v for k, v in state.items() if k.startswith("visual.")}
    if "transformer.resblocks.0.attn.in_proj_weight" in state:
        tower = from_open_clip(state)
    else:
        tower = {k[len("vision_model.") :]: v for k, v in state.items() if k.startswith("vision_model.")}
        if "visual_projection.weight" in state:
            tower["projection.weight"] = state["visual_projection.weight"]
    if "embeddings.patch_embedding.weight" not in tower or "projection.weight" not in tower:
        raise UnsupportedModelError("this file holds no CLIP vision model with a projection")
    tower = {k: v.float() if k.startswith(_SINGLE) else v.half().float() for k, v in tower.items()}
    tower = {k: v for k, v in tower.items() if not k.endswith("position_ids")}
    projection = tower.pop("projection.weight")
    width, _, patch, _ = tower["embeddings.patch_embedding.weight"].shape
    layers = count_layers(tower, "encoder.layers.")
    side = round((tower["embeddings.position_embedding.weight"].shape[0] - 1) ** 0.5)
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=tower["encoder.layers.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=layers,
        num_attention_heads=16 if width >= 1024 else max(1, width // 64),
        image_size=side * patch,
        patch_size=patch,
        # CLIP-L was trained by OpenAI with quick GELU, the larger towers by LAION with the exact one.
        hidden_act="gelu" if layers > 24 else "quick_gelu",
    )
    with torch.device("meta"):
        model: Any = CLIPVisionModel(config)
    missing, unexpected = model.load_state_dict(tower, strict=False, assign=True)
    if missing or unexpected:
        raise UnsupportedModelError(f"a CLIP vision model with unknown parts: {(missing + unexpected)[:3]}")
    # A buffer that no file holds and that was made on the meta device.
    model.embeddings.position_ids = torch.arange(side * side + 1)[None]
    return ClipVision(model.eval().requires_grad_(False), projection, device)
