"""Noise schedules: falling sigmas [steps + 1] that end in 0, as ComfyUI v0.3.64 computes them.

Pure functions of the model's noise levels. `simple`, `normal`, `sgm_uniform` and `ddim_uniform` pick from the training
levels; `karras` (Karras et al. 2022, eq. 5, rho 7), `exponential` and `kl_optimal` (Sabour et al. 2024) interpolate
between the ends; `beta` is Lee et al. 2024.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import scipy.stats
import torch

from ..model.model_sampling import ModelSampling

Schedule = Callable[[ModelSampling, int], torch.Tensor]


def _with_zero(sigmas: torch.Tensor) -> torch.Tensor:
    return torch.cat([sigmas.float(), sigmas.new_zeros(1).float()])


def simple(sampling: ModelSampling, steps: int) -> torch.Tensor:
    """Every (levels / steps)-th training level from the top."""
    stride = len(sampling.sigmas) / steps
    picked = torch.tensor([-(1 + int(i * stride)) for i in range(steps)], dtype=torch.long)
    return _with_zero(sampling.sigmas[picked])


def normal(sampling: ModelSampling, steps: int) -> torch.Tensor:
    """Timesteps equally spaced from the last to the first training level."""
    return _with_zero(sampling.sigma(_timesteps(sampling, steps)))


def sgm_uniform(sampling: ModelSampling, steps: int) -> torch.Tensor:
    """As `normal`, but with one interval more and without its low end."""
    return _with_zero(sampling.sigma(_timesteps(sampling, steps + 1)[:-1]))


def _timesteps(sampling: ModelSampling, count: int) -> torch.Tensor:
    start, end = sampling.timestep(sampling.sigma_max), sampling.timestep(sampling.sigma_min)
    return torch.linspace(float(start), float(end), count)


def ddim_uniform(sampling: ModelSampling, steps: int) -> torch.Tensor:
    """Training levels 1, 1 + stride, 1 + 2 stride, ...: more than `steps` of them when it does not divide 1000."""
    stride = max(len(sampling.sigmas) // steps, 1)
    return _with_zero(sampling.sigmas[1::stride].flip(0))


def karras(sampling: ModelSampling, steps: int, rho: float = 7.0) -> torch.Tensor:
    """Equally spaced in sigma^(1/rho)."""
    low, high = float(sampling.sigma_min) ** (1 / rho), float(sampling.sigma_max) ** (1 / rho)
    return _with_zero((high + torch.linspace(0, 1, steps) * (low - high)) ** rho)


def exponential(sampling: ModelSampling, steps: int) -> torch.Tensor:
    """Equally spaced in log sigma."""
    ends = math.log(float(sampling.sigma_max)), math.log(float(sampling.sigma_min))
    return _with_zero(torch.linspace(*ends, steps).exp())


def kl_optimal(sampling: ModelSampling, steps: int) -> torch.Tensor:
    """Equally spaced in arctan sigma."""
    share = torch.arange(steps, dtype=torch.float) / max(steps - 1, 1)
    low, high = math.atan(float(sampling.sigma_min)), math.atan(float(sampling.sigma_max))
    return _with_zero((share * low + (1 - share) * high).tan())


def beta(sampling: ModelSampling, steps: int, alpha: float = 0.6, b: float = 0.6) -> torch.Tensor:
    """Training levels at the quantiles of a beta distribution; a level met twice counts once."""
    shares = 1 - np.linspace(0, 1, steps, endpoint=False)
    indices = np.rint(scipy.stats.beta.ppf(shares, alpha, b) * (len(sampling.sigmas) - 1)).astype(int)
    kept = [i for n, i in enumerate(indices) if n == 0 or i != indices[n - 1]]
    return _with_zero(sampling.sigmas[torch.tensor(kept, dtype=torch.long)])


SCHEDULES: dict[str, Schedule] = {
    "simple": simple,
    "sgm_uniform": sgm_uniform,
    "karras": karras,
    "exponential": exponential,
    "ddim_uniform": ddim_uniform,
    "beta": beta,
    "normal": normal,
    "kl_optimal": kl_optimal,
}


def schedule(name: str, sampling: ModelSampling, steps: int) -> torch.Tensor:
    """Sigmas of a named schedule, float32 on the CPU.

    Raises:
        ValueError: the name is not one of `SCHEDULES`.
    """
    if name not in SCHEDULES:
        raise ValueError(f"scheduler {name!r} is not one of {', '.join(SCHEDULES)}; others need a ComfyUI server")
    return SCHEDULES[name](sampling, steps)


def partial_schedule(name: str, sampling: ModelSampling, steps: int, denoise: float = 1.0) -> torch.Tensor:
    """The last `steps` steps of the schedule of int(steps / denoise) steps; empty for a denoise of 0."""
    if denoise <= 0.0:
        return torch.zeros(0)
    if denoise > 0.9999:
        return schedule(name, sampling, steps)
    return schedule(name, sampling, int(steps / denoise))[-(steps + 1) :]
