"""Noise of the reference latent: its own, reproducible, and the same for every picture of a batch.

The original draws fresh noise for each row and call from the global generator, so that a batch of four differs from
four batches of one. Here the noise depends on the reference's seed and the noise level alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

#: Noise anew for every noise level, as the original does, or one pattern for the whole run.
NOISE_MODES = ("per step", "fixed")

_MASK = (1 << 63) - 1


def _mixed(*parts: int) -> int:
    """One 63-bit seed from several integers (splitmix64), so that neighbouring seeds and levels are unrelated."""
    state = 0
    for part in parts:
        state = (state + part * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state & _MASK


def reference_noise(shape: Sequence[int], seed: int, level: int, ordinal: int = 0) -> torch.Tensor:
    """Standard normal noise, float32, on the CPU; the global generator is not touched.

    Args:
        shape: shape of the noise.
        seed: the reference's seed.
        level: index of the noise level in the model's own table (0..999), or a constant for fixed noise. An index and
            not the value: two hosts agree on it even where their noise levels differ in the last bit.
        ordinal: place of the picture in a batch of references, so that a picture given twice is not read twice alike.
    """
    generator = torch.Generator(device="cpu").manual_seed(_mixed(seed, level, ordinal))
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float32)


def diffuse(latent: torch.Tensor, noise: torch.Tensor, sigma: float) -> torch.Tensor:
    """The reference at noise level `sigma` at variance-preserving scale: ``(latent + sigma * noise) / sqrt(1 + s^2)``.

    Equal to ``sqrt(abar) * latent + sqrt(1 - abar) * noise`` with ``abar = 1 / (1 + sigma^2)``.
    """
    return (latent + sigma * noise) / (1.0 + sigma * sigma) ** 0.5
