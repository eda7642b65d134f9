"""Differential diffusion (Levin & Fried 2023): a grey mask says for each place from which step on it may change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

MaskFunction = Callable[..., torch.Tensor]


def differential_mask(strength: float = 1.0) -> MaskFunction:
    """A noise mask function: 1 where the mask reaches the share of timesteps still to go, else 0.

    A strength below 1 (and not 0, which means 1 as in ComfyUI) mixes the grey mask in.
    """

    def mask_of_step(sigma: torch.Tensor, denoise_mask: torch.Tensor, extra_options: dict[str, Any]) -> torch.Tensor:
        sampling, sigmas = extra_options["model"].inner_model.model_sampling, extra_options["sigmas"]
        last = torch.maximum(sampling.sigma_min.to(sigmas), sigmas[-1])
        start, end, now = (sampling.timestep(s) for s in (sigmas[0], last, sigma[0]))
        binary = (denoise_mask >= (now - end) / (start - end)).to(denoise_mask.dtype)
        return strength * binary + (1 - strength) * denoise_mask if 0 < strength < 1 else binary

    return mask_of_step
