"""Samplers: from a noisy latent along falling sigmas to a clean one. Pure functions of a denoiser.

A denoiser takes (x [rows, channels, h, w], sigma [rows]) and gives the clean latent it believes in. The formulas are
those of the papers, in the variance-exploding parametrisation, with the choices that ComfyUI makes:
Euler and Heun: Karras et al. 2022, algorithm 2 without churn; ancestral Euler: Song et al. 2021 (ancestral sampling,
eta 1); DPM-Solver++(2M): Lu et al. 2022; DDIM (Song et al. 2021) is Euler here, as the two agree for eta 0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ... import follows

Denoiser = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
#: Called after each model evaluation that starts a step: (step, clean latent, noisy latent).
StepCallback = Callable[[int, torch.Tensor, torch.Tensor], None]
NoiseSource = Callable[[torch.Tensor], torch.Tensor]
SamplerFunction = Callable[[Denoiser, torch.Tensor, torch.Tensor, StepCallback, int], torch.Tensor]
LARGEST_SEED = 2**64 - 1


def seeded_noise(like: torch.Tensor, seed: int) -> Callable[[], torch.Tensor]:
    """Fresh normal noise of this shape at each call, drawn on its device from one generator.

    On the CPU the generator starts from seed + 1, as the followed core does it (see `follows`).

    Raises:
        ValueError: the seed is the largest one, so that there is no next one.
    """
    start = seed + follows.step_noise_offset(like.device.type)
    if start > LARGEST_SEED:
        raise ValueError(f"the noise of each step is drawn from seed + 1: expected a seed below {LARGEST_SEED}")
    generator = torch.Generator(device=like.device).manual_seed(start)
    return lambda: torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)


def euler(
    denoise: Denoiser, x: torch.Tensor, sigmas: torch.Tensor, on_step: StepCallback, seed: int = 0
) -> torch.Tensor:
    """Straight steps along dx/dsigma = (x - denoised) / sigma."""
    ones = x.new_ones(x.shape[0])
    for i in range(len(sigmas) - 1):
        denoised = denoise(x, sigmas[i] * ones)
        on_step(i, denoised, x)
        x = x + (x - denoised) / sigmas[i] * (sigmas[i + 1] - sigmas[i])
    return x


def ancestral_split(sigma: torch.Tensor, following: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise level to step down to, and how much fresh noise then leads up to `following`."""
    up = (following**2 * (sigma**2 - following**2) / sigma**2) ** 0.5
    up = torch.minimum(following, up)
    return (following**2 - up**2) ** 0.5, up


def euler_ancestral(
    denoise: Denoiser, x: torch.Tensor, sigmas: torch.Tensor, on_step: StepCallback, seed: int = 0
) -> torch.Tensor:
    """Euler steps that overshoot downwards and add fresh noise."""
    ones, noise = x.new_ones(x.shape[0]), seeded_noise(x, seed)
    for i in range(len(sigmas) - 1):
        denoised = denoise(x, sigmas[i] * ones)
        on_step(i, denoised, x)
        down, up = ancestral_split(sigmas[i], sigmas[i + 1])
        stepped = x + (x - denoised) / sigmas[i] * (down - sigmas[i])
        x = stepped + noise() * up if down > 0 else denoised
    return x


def heun(
    denoise: Denoiser, x: torch.Tensor, sigmas: torch.Tensor, on_step: StepCallback, seed: int = 0
) -> torch.Tensor:
    """Euler steps corrected by the slope at their end; the last step, to 0, is plain Euler."""
    ones = x.new_ones(x.shape[0])
    for i in range(len(sigmas) - 1):
        denoised = denoise(x, sigmas[i] * ones)
        on_step(i, denoised, x)
        slope, dt = (x - denoised) / sigmas[i], sigmas[i + 1] - sigmas[i]
        if sigmas[i + 1] > 0:
            ahead = x + slope * dt
            slope_ahead = (ahead - denoise(ahead, sigmas[i + 1] * ones)) / sigmas[i + 1]
            slope = (slope + slope_ahead) / 2
        x = x + slope * dt
    return x


def dpmpp_2m(
    denoise: Denoiser, x: torch.Tensor, sigmas: torch.Tensor, on_step: StepCallback, seed: int = 0
) -> torch.Tensor:
    """Second-order multistep in lambda = -log sigma; first order at the first step and in the step to 0."""
    ones = x.new_ones(x.shape[0])
    previous: torch.Tensor | None = None
    for i in range(len(sigmas) - 1):
        denoised = denoise(x, sigmas[i] * ones)
        on_step(i, denoised, x)
        target = denoised
        h = sigmas[i].log() - sigmas[i + 1].log()
        if previous is not None and sigmas[i + 1] > 0:
            r = (sigmas[i - 1].log() - sigmas[i].log()) / h
            target = (1 + 1 / (2 * r)) * denoised - (1 / (2 * r)) * previous
        x = (sigmas[i + 1] / sigmas[i]) * x - (-h).expm1() * target
        previous = denoised
    return x


SAMPLERS: dict[str, SamplerFunction] = {
    "euler": euler,
    "euler_ancestral": euler_ancestral,
    "heun": heun,
    "dpmpp_2m": dpmpp_2m,
    "ddim": euler,
}
