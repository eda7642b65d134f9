"""How a Stable Diffusion model sees noise: the table of sigmas, and what its output means.

Sigma is the noise's standard deviation in the variance-exploding picture x = latent + sigma * noise (Karras et al.
2022); the network gets x / sqrt(sigma^2 + 1) and an integer timestep. The method names are ComfyUI's, so that nodes can
ask either program.
"""

from __future__ import annotations

import math
from typing import Literal

import torch

Prediction = Literal["eps", "v"]


def discrete_sigmas(linear_start: float = 0.00085, linear_end: float = 0.012, timesteps: int = 1000) -> torch.Tensor:
    """Stable Diffusion's training noise levels, rising: float64 [timesteps].

    The square roots of the betas are equally spaced (Rombach et al. 2022).
    """
    betas = torch.linspace(math.sqrt(linear_start), math.sqrt(linear_end), timesteps, dtype=torch.float64) ** 2
    alphas = torch.cumprod(1.0 - betas, dim=0)
    return ((1 - alphas) / alphas).sqrt()


def _over(sigma: torch.Tensor, ndim: int) -> torch.Tensor:
    """Sigma, shaped to multiply a batch: a scalar stays one, one value a row gets trailing axes."""
    return sigma.view(()) if sigma.nelement() == 1 else sigma.view(sigma.shape[0], *(1,) * (ndim - 1))


class ModelSampling:
    """Noise levels of a discrete-time model that predicts noise ("eps") or velocity ("v")."""

    sigma_data = 1.0

    def __init__(self, prediction: Prediction = "eps") -> None:
        self.prediction = prediction
        sigmas = discrete_sigmas()
        self.sigmas = sigmas.float()
        # Rounded after the logarithm, as ComfyUI does: a step half way between two levels (the fifth of 25 is at 832.5)
        # takes one or the other by the last bit, and the network is then told another timestep.
        self.log_sigmas = sigmas.log().float()

    @property
    def sigma_min(self) -> torch.Tensor:
        return self.sigmas[0]

    @property
    def sigma_max(self) -> torch.Tensor:
        return self.sigmas[-1]

    def timestep(self, sigma: torch.Tensor) -> torch.Tensor:
        """Index of the nearest noise level (nearest in the logarithm), shaped as sigma."""
        distance = sigma.log().to(self.log_sigmas.device).reshape(-1) - self.log_sigmas[:, None]
        return distance.abs().argmin(dim=0).view(sigma.shape).to(sigma.device)

    def sigma(self, timestep: torch.Tensor) -> torch.Tensor:
        """Noise level at a possibly fractional timestep: linear between neighbours in the logarithm."""
        t = timestep.float().to(self.log_sigmas.device).clamp(0, len(self.sigmas) - 1)
        low, high, w = t.floor().long(), t.ceil().long(), t.frac()
        return ((1 - w) * self.log_sigmas[low] + w * self.log_sigmas[high]).exp().to(timestep.device)

    def percent_to_sigma(self, percent: float) -> float:
        """Noise level at a share of the way from noise (0) to picture (1); the ends include everything beyond."""
        if percent <= 0.0:
            return 999999999.9
        if percent >= 1.0:
            return 0.0
        return float(self.sigma(torch.tensor((1.0 - percent) * 999.0)))

    def calculate_input(self, sigma: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """What the network gets for a noisy latent."""
        return noise / (_over(sigma, noise.ndim) ** 2 + self.sigma_data**2) ** 0.5

    def calculate_denoised(
        self, sigma: torch.Tensor, model_output: torch.Tensor, model_input: torch.Tensor
    ) -> torch.Tensor:
        """The clean latent that the network's output stands for; `model_input` is the unscaled noisy latent."""
        s = _over(sigma, model_output.ndim)
        if self.prediction == "eps":
            return model_input - model_output * s
        variance = s**2 + self.sigma_data**2
        return model_input * self.sigma_data**2 / variance - model_output * s * self.sigma_data / variance**0.5

    def noise_scaling(
        self, sigma: torch.Tensor, noise: torch.Tensor, latent_image: torch.Tensor, max_denoise: bool = False
    ) -> torch.Tensor:
        """A latent at this noise level. From the very top (`max_denoise`) the noise's variance is sigma^2 + 1."""
        s = _over(sigma, noise.ndim)
        return noise * (torch.sqrt(1.0 + s**2.0) if max_denoise else s) + latent_image

    def inverse_noise_scaling(self, sigma: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """What sampling gives back at its last noise level."""
        return latent
