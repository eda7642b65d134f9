"""unCLIP: a picture's CLIP embedding as a condition, with a chosen amount of noise on it (Ramesh et al. 2022)."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDPMScheduler
from diffusers.models.embeddings import get_timestep_embedding


class NoiseAugmentation:
    """Adds noise of a level 0..999 (cosine schedule) to CLIP embeddings of `width` numbers."""

    levels = 1000

    def __init__(self, width: int) -> None:
        self.width = width
        schedule: Any = DDPMScheduler(self.levels, beta_schedule="squaredcos_cap_v2")
        self.alphas: torch.Tensor = schedule.alphas_cumprod

    def noisy(self, embedding: torch.Tensor, level: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Embedding [rows, width] -> [rows, 2 * width]: the noisy embedding, then the level's sinusoids."""
        alpha = self.alphas[level].to(embedding)
        # On the CPU, so that every device gets the same noise.
        noise = torch.randn(embedding.shape, dtype=embedding.dtype, generator=generator).to(embedding.device)
        noisy = alpha.sqrt() * embedding + (1 - alpha).sqrt() * noise
        levels = torch.full((embedding.shape[0],), level, device=embedding.device)
        sinusoids = get_timestep_embedding(levels, self.width, flip_sin_to_cos=True, downscale_freq_shift=0)
        return torch.cat([noisy, sinusoids.to(noisy)], dim=1)


def unclip_vector(
    images: list[dict[str, Any]],
    augmentation: NoiseAugmentation,
    device: torch.device,
    merge_noise: float,
    seed: int,
) -> torch.Tensor:
    """The vector [1, 2 * width] for pictures, each {clip_vision_output, strength, noise_augmentation}.

    Several pictures are added up and the sum gets noise of `merge_noise` (0..1).
    """
    generator = torch.Generator()
    vectors = []
    for image in images:
        level = round((augmentation.levels - 1) * image["noise_augmentation"])
        for embedding in image["clip_vision_output"].image_embeds:
            generator.manual_seed(seed)
            vectors.append(augmentation.noisy(embedding.to(device)[None], level, generator) * image["strength"])
    if len(vectors) == 1:
        return vectors[0]
    total = torch.stack(vectors).sum(0)[:, : augmentation.width]
    return augmentation.noisy(total, round((augmentation.levels - 1) * merge_noise), generator)
