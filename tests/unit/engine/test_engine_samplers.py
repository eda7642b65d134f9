"""Samplers on data whose denoiser is known: a Gaussian, for which the probability-flow ODE has a closed solution."""

from __future__ import annotations

import pytest
import torch
from defectforge.runner.embedded import follows
from defectforge.runner.embedded.engine.model.model_sampling import ModelSampling
from defectforge.runner.embedded.engine.sampling.samplers import SAMPLERS, ancestral_split, seeded_noise
from defectforge.runner.embedded.engine.sampling.schedules import schedule

MEAN, SPREAD = 2.0, 0.5


def gaussian_denoiser(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The best guess of a sample of N(MEAN, SPREAD^2) after noise of this sigma."""
    s = sigma.view(-1, 1, 1, 1)
    return (SPREAD**2 * x + s**2 * MEAN) / (SPREAD**2 + s**2)


def exact(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Where the ODE ends: the start's deviation, shrunk by the ratio of standard deviations."""
    return MEAN + (x - MEAN) * SPREAD / (SPREAD**2 + sigma**2) ** 0.5


def no_callback(step: int, denoised: torch.Tensor, noisy: torch.Tensor) -> None:
    """Nothing."""


def start(sigmas: torch.Tensor, rows: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return MEAN + torch.randn(rows, 4, 8, 8, generator=generator) * sigmas[0]


@pytest.mark.parametrize(("name", "tolerance"), [("euler", 0.08), ("ddim", 0.08), ("heun", 0.01), ("dpmpp_2m", 0.01)])
def test_ode_samplers_reach_the_solution(name: str, tolerance: float) -> None:
    sigmas = schedule("karras", ModelSampling(), 40)
    x = start(sigmas)
    found = SAMPLERS[name](gaussian_denoiser, x, sigmas, no_callback, 0)
    assert torch.allclose(found, exact(x, float(sigmas[0])), atol=tolerance)


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_more_steps_help_as_much_as_the_order_says(name: str, order: int) -> None:
    def error(steps: int) -> float:
        sigmas = torch.linspace(4.0, 1.0, steps + 1, dtype=torch.float64)
        x = start(sigmas).double()
        found = SAMPLERS[name](gaussian_denoiser, x, sigmas, no_callback, 0)
        spread = ((SPREAD**2 + 1.0) / (SPREAD**2 + 16.0)) ** 0.5
        return float((found - (MEAN + (x - MEAN) * spread)).abs().max())

    assert error(20) / error(40) > 2**order * 0.75


def test_ancestral_sampling_gives_the_distribution() -> None:
    sigmas = schedule("karras", ModelSampling(), 60)
    found = SAMPLERS["euler_ancestral"](gaussian_denoiser, start(sigmas, rows=64), sigmas, no_callback, 5)
    assert float(found.mean()) == pytest.approx(MEAN, abs=0.03)
    assert float(found.std()) == pytest.approx(SPREAD, abs=0.05)


def test_ancestral_sampling_repeats_with_its_seed() -> None:
    sigmas = schedule("karras", ModelSampling(), 5)
    runs = [SAMPLERS["euler_ancestral"](gaussian_denoiser, start(sigmas), sigmas, no_callback, s) for s in (1, 1, 2)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_the_ancestral_split_keeps_the_variance() -> None:
    down, up = ancestral_split(torch.tensor(3.0), torch.tensor(2.0))
    assert float(down**2 + up**2) == pytest.approx(4.0)
    assert [float(v) for v in ancestral_split(torch.tensor(3.0), torch.tensor(0.0))] == [0.0, 0.0]


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_each_step_is_reported_with_the_clean_latent(name: str) -> None:
    sigmas = schedule("normal", ModelSampling(), 4)
    seen: list[tuple[int, float]] = []
    SAMPLERS[name](
        gaussian_denoiser, start(sigmas), sigmas, lambda i, clean, x: seen.append((i, float(clean.mean()))), 0
    )
    assert [i for i, _ in seen] == [0, 1, 2, 3]
    assert seen[0][1] == pytest.approx(MEAN, abs=0.1)


# Not euler_ancestral: its noise is one draw for the whole batch, as in ComfyUI.
@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - {"euler_ancestral"}))
def test_rows_do_not_influence_each_other(name: str) -> None:
    sigmas = schedule("normal", ModelSampling(), 4)
    x = start(sigmas, rows=3)
    together = SAMPLERS[name](gaussian_denoiser, x, sigmas, no_callback, 0)
    alone = SAMPLERS[name](gaussian_denoiser, x[1:2], sigmas, no_callback, 0)
    assert torch.allclose(together[1:2], alone, atol=1e-5)


@pytest.mark.parametrize(("core", "first"), [("0.28.1", 10), ("0.3.64", 9)])
def test_the_noise_of_steps_is_that_of_the_followed_core(monkeypatch, core: str, first: int) -> None:
    # Before 0.7.0 the first draw was the initial noise once more: both came from a generator with the same seed.
    monkeypatch.setattr(follows, "_followed", follows.COMFYUI_VERSION)
    follows.use(core)
    draw = seeded_noise(torch.zeros(1, 4, 3, 3), 9)
    expected = torch.Generator().manual_seed(first)
    for _ in range(2):
        assert torch.equal(draw(), torch.randn(1, 4, 3, 3, generator=expected))


def test_the_newest_core_is_followed_and_a_strange_one_is_refused() -> None:
    assert follows.version() == follows.COMFYUI_VERSION
    with pytest.raises(ValueError, match=r"0\.9\.9.*expected one of"):
        follows.use("0.9.9")


def test_the_last_seed_has_no_next_one() -> None:
    with pytest.raises(ValueError, match="expected a seed below"):
        seeded_noise(torch.zeros(1, 4, 3, 3), 2**64 - 1)
