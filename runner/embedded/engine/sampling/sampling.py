"""A whole sampling run: noise, steps, progress, previews and interruption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from .....nodes import host
from ..model.diffusion import LatentFormat
from ..model.model import EmbeddedModel
from .guiders import Callback, CFGGuider, Sampler
from .schedules import partial_schedule

Latent = dict[str, Any]


def prepare_noise(latent: torch.Tensor, seed: int, batch_index: list[int] | None = None) -> torch.Tensor:
    """Normal noise of a latent's shape, one draw on the CPU for the whole batch.

    With `batch_index`, row i gets the noise that picture batch_index[i] of a batch would have got, so that a picture
    taken out of a batch stays the same.
    """
    generator = torch.Generator().manual_seed(seed)
    if batch_index is None:
        return torch.randn(latent.shape, dtype=latent.dtype, generator=generator)
    draws = [
        torch.randn((1, *latent.shape[1:]), dtype=latent.dtype, generator=generator)
        for _ in range(max(batch_index) + 1)
    ]
    return torch.cat([draws[i] for i in batch_index])


def latent_preview(latent: torch.Tensor, rgb_factors: tuple[tuple[float, ...], ...] = LatentFormat.rgb_factors) -> Any:
    """A small picture of the first scaled latent of a batch: one pixel a cell, a linear view of its channels."""
    factors = torch.tensor(rgb_factors, dtype=torch.float32)
    rgb = latent[0].float().cpu().movedim(0, -1) @ factors
    return Image.fromarray(((rgb + 1) / 2).clamp(0, 1).mul(255).to(torch.uint8).numpy())


class StepReport:
    """A callback that shows progress with previews, stops when asked to, and keeps the last clean latent."""

    def __init__(self, steps: int) -> None:
        self._host = host.current()
        self._progress = self._host.progress(steps)
        self.denoised: torch.Tensor | None = None

    def __call__(self, step: int, denoised: torch.Tensor, noisy: torch.Tensor, total: int) -> None:
        self.denoised = denoised
        self._host.check_interrupt()
        self._progress.update_absolute(step + 1, total, latent_preview(denoised))


@dataclass(frozen=True)
class ComfyNoise:
    """The NOISE that nodes hand on: normal noise of a seed."""

    seed: int

    def generate_noise(self, latent: Latent) -> torch.Tensor:
        """Noise for a LATENT."""
        return prepare_noise(latent["samples"], self.seed, latent.get("batch_index"))


@dataclass(frozen=True)
class EmptyNoise:
    """No noise at all."""

    seed: int = 0

    def generate_noise(self, latent: Latent) -> torch.Tensor:
        """Zeros for a LATENT."""
        return torch.zeros_like(latent["samples"])


def sample_with(
    guider: CFGGuider,
    noise: ComfyNoise | EmptyNoise,
    sampler: Sampler,
    sigmas: torch.Tensor,
    latent: Latent,
    *,
    seed: int,
) -> tuple[Latent, Latent]:
    """What the nodes SamplerCustom... do: the result, and the clean latent that the last step believed in."""
    report = StepReport(len(sigmas) - 1)
    samples = guider.sample(
        noise.generate_noise(latent),
        latent["samples"],
        sampler,
        sigmas,
        denoise_mask=latent.get("noise_mask"),
        callback=report,
        seed=seed,
    )
    result = {**latent, "samples": samples}
    if report.denoised is None:
        return result, result
    denoised = guider.model_patcher.model.process_latent_out(report.denoised.cpu())
    return result, {**latent, "samples": denoised}


def steps_of_run(
    sigmas: torch.Tensor, start: int | None = None, last: int | None = None, force_full_denoise: bool = False
) -> torch.Tensor:
    """The sigmas from step `start` to step `last`; `force_full_denoise` ends them in 0. Empty: nothing to do."""
    if last is not None and last < len(sigmas) - 1:
        sigmas = sigmas[: last + 1].clone()
        if force_full_denoise:
            sigmas[-1] = 0
    if start is not None:
        sigmas = sigmas[start:] if start < len(sigmas) - 1 else sigmas[:0]
    return sigmas


def ksampler(
    model: EmbeddedModel,
    seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: list[Any],
    negative: list[Any],
    latent: Latent,
    *,
    denoise: float = 1.0,
    disable_noise: bool = False,
    start_step: int | None = None,
    last_step: int | None = None,
    force_full_denoise: bool = False,
    callback: Callback | None = None,
) -> Latent:
    """What the nodes KSampler and KSamplerAdvanced do: a LATENT like `latent` with new samples."""
    samples = latent["samples"]
    noise = torch.zeros_like(samples) if disable_noise else prepare_noise(samples, seed, latent.get("batch_index"))
    sigmas = partial_schedule(scheduler, model.get_model_object("model_sampling"), steps, denoise)
    guider = CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    result = guider.sample(
        noise,
        samples,
        Sampler.named(sampler_name),
        steps_of_run(sigmas, start_step, last_step, force_full_denoise),
        denoise_mask=latent.get("noise_mask"),
        callback=StepReport(steps) if callback is None else callback,
        seed=seed,
    )
    return {**latent, "samples": result}
