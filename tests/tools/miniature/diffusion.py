"""SD 1.5's noise schedule, the miniature's U-Net, and a plain Euler sampler for sample sheets."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import UNet2DConditionModel


def miniature_unet(in_channels: int = 4, image_embedding: int | None = None) -> UNet2DConditionModel:
    """One level of 320 channels with one ResBlock: four attention blocks (input 1, middle, output 0 and 1)."""
    extra = {}
    if image_embedding is not None:
        extra = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": image_embedding}
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=in_channels,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        block_out_channels=(320,),
        layers_per_block=1,
        cross_attention_dim=768,
        attention_head_dim=8,
        **extra,
    )


def alphas_cumprod() -> torch.Tensor:
    """The "scaled linear" schedule of SD 1.x: 1000 steps, beta 0.00085 to 0.012."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1.0 - betas, 0).float()


@torch.no_grad()
def sample(
    unet: UNet2DConditionModel,
    context: torch.Tensor,
    empty: torch.Tensor,
    generator: torch.Generator,
    steps: int = 20,
    cfg: float = 4.0,
    extra: torch.Tensor | None = None,
    vector: torch.Tensor | None = None,
) -> torch.Tensor:
    """Euler steps over sigmas at evenly spaced timesteps; ``context`` [B, 77, 768], returns latents [B, 4, 16, 16].

    ``extra`` [B, C, 16, 16]: the further input channels of an inpainting or an instruction variant; ``vector`` [B, V]:
    the embeddings of the image-embedding variant.
    """
    device = context.device
    sigmas_all = ((1 - alphas_cumprod()) / alphas_cumprod()).sqrt()
    times = np.linspace(999, 0, steps)
    sigmas = np.append(np.interp(times, np.arange(1000), sigmas_all.numpy()), 0.0)
    count = len(context)
    x = torch.randn((count, 4, 16, 16), generator=generator).to(device) * float(np.sqrt(1 + sigmas[0] ** 2))
    both = torch.cat([context, empty.expand_as(context)])
    labels = None if vector is None else torch.cat([vector, torch.zeros_like(vector)])
    for i, time in enumerate(times):
        scaled = x / float(np.sqrt(1 + sigmas[i] ** 2))
        if extra is not None and extra.shape[1]:
            scaled = torch.cat([scaled, extra], 1)
        with torch.autocast(device.type, torch.bfloat16):
            now = torch.tensor(time, device=device)
            noise = unet(scaled.repeat(2, 1, 1, 1), now, both, class_labels=labels).sample.float()
        noise = noise[count:] + cfg * (noise[:count] - noise[count:])
        x = x + noise * float(sigmas[i + 1] - sigmas[i])
    return x
