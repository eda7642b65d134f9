"""Noise levels and schedules against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from defectforge.runner.embedded.engine.model.model_sampling import ModelSampling
from defectforge.runner.embedded.engine.sampling.schedules import SCHEDULES, partial_schedule, schedule

SAMPLING = ModelSampling()
#: (steps, which of them, the timestep that the network is told), as ComfyUI 0.28.1 and 0.3.64 gave them: each of these
#: noise levels lies half way between two of the table's, and the last bit decides.
HALF_WAY = [(7, 1, 833), (7, 3, 500), (15, 7, 499), (19, 1, 943), (25, 4, 833), (25, 12, 500), (25, 20, 166)]
HALF_WAY += [(29, 14, 499), (31, 5, 833), (43, 21, 500), (49, 8, 833), (55, 3, 943), (55, 19, 647), (57, 28, 499)]


def test_the_training_levels_are_stable_diffusions() -> None:
    assert float(SAMPLING.sigma_min) == pytest.approx(0.029167, abs=1e-6)
    assert float(SAMPLING.sigma_max) == pytest.approx(14.614647, abs=1e-5)


@pytest.mark.parametrize(("steps", "number", "timestep"), HALF_WAY)
def test_a_step_half_way_between_two_levels_is_told_the_timestep_that_comfyui_tells(steps, number, timestep) -> None:
    sigmas = schedule("normal", SAMPLING, steps)
    assert SAMPLING.timestep(sigmas[number]) == timestep


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize("steps", [2, 7, 20])
def test_every_schedule_falls_from_the_top_to_zero(name: str, steps: int) -> None:
    sigmas = schedule(name, SAMPLING, steps)
    assert sigmas.dtype == torch.float32
    assert torch.all(sigmas[1:] < sigmas[:-1])
    assert sigmas[-1] == 0
    assert sigmas[0] <= SAMPLING.sigma_max * 1.000001
    if name not in ("ddim_uniform", "beta"):  # these may have more or fewer steps
        assert len(sigmas) == steps + 1


def test_karras_is_linear_in_the_seventh_root() -> None:
    roots = schedule("karras", SAMPLING, 9)[:-1] ** (1 / 7)
    assert torch.allclose(roots.diff(), roots.diff()[0].expand(8), atol=1e-5)


def test_exponential_is_linear_in_the_logarithm() -> None:
    logs = schedule("exponential", SAMPLING, 9)[:-1].log()
    assert torch.allclose(logs.diff(), logs.diff()[0].expand(8), atol=1e-5)


def test_kl_optimal_is_linear_in_the_arc_tangent() -> None:
    angles = schedule("kl_optimal", SAMPLING, 9)[:-1].atan()
    assert torch.allclose(angles.diff(), angles.diff()[0].expand(8), atol=1e-5)


def test_simple_picks_training_levels() -> None:
    expected = SAMPLING.sigmas[[999, 749, 499, 249]]
    assert torch.equal(schedule("simple", SAMPLING, 4)[:-1], expected)


def test_ddim_uniform_starts_at_the_second_level() -> None:
    assert torch.equal(schedule("ddim_uniform", SAMPLING, 4)[:-1], SAMPLING.sigmas[[751, 501, 251, 1]])


def test_normal_and_sgm_uniform_space_timesteps_equally() -> None:
    assert torch.allclose(schedule("normal", SAMPLING, 4)[:-1], SAMPLING.sigma(torch.linspace(999, 0, 4)))
    assert torch.allclose(schedule("sgm_uniform", SAMPLING, 4)[:-1], SAMPLING.sigma(torch.linspace(999, 0, 5)[:-1]))


def test_timesteps_are_the_nearest_integers() -> None:
    exact = torch.tensor([0, 1, 500, 999])
    assert torch.equal(SAMPLING.timestep(SAMPLING.sigmas[exact]), exact)
    between = SAMPLING.sigma(torch.tensor([3.4, 3.6]))
    assert SAMPLING.timestep(between).tolist() == [3, 4]


def test_percent_counts_timesteps_from_noise_to_picture() -> None:
    assert SAMPLING.percent_to_sigma(0.0) > 1e9 - 1
    assert SAMPLING.percent_to_sigma(1.0) == 0.0
    assert SAMPLING.percent_to_sigma(0.5) == pytest.approx(float(SAMPLING.sigma(torch.tensor(499.5))), rel=1e-6)


def test_denoise_takes_the_end_of_a_longer_schedule() -> None:
    assert torch.equal(partial_schedule("normal", SAMPLING, 10, 0.3), schedule("normal", SAMPLING, 33)[-11:])
    assert torch.equal(partial_schedule("normal", SAMPLING, 10, 1.0), schedule("normal", SAMPLING, 10))
    assert len(partial_schedule("normal", SAMPLING, 10, 0.0)) == 0
    # A full run keeps all levels of a schedule that has more than asked for.
    assert len(partial_schedule("ddim_uniform", SAMPLING, 6, 1.0)) == 8
    assert len(partial_schedule("ddim_uniform", SAMPLING, 6, 0.5)) == 7


def test_an_unknown_schedule_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'lcm_special'.*karras.*ComfyUI server"):
        schedule("lcm_special", SAMPLING, 4)


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_the_true_answer_gives_the_clean_latent(prediction: str) -> None:
    sampling = ModelSampling(prediction)  # type: ignore[arg-type]
    clean, noise, sigma = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3), torch.tensor([0.5, 9.0])
    noisy = sampling.noise_scaling(sigma, noise, clean)
    s = sigma.view(2, 1, 1, 1)
    velocity = (noise - s * clean) / (s**2 + 1).sqrt()
    answer = noise if prediction == "eps" else velocity
    assert torch.allclose(sampling.calculate_denoised(sigma, answer, noisy), clean, atol=1e-4)


def test_the_network_sees_unit_variance() -> None:
    sigma = torch.tensor(3.0)
    noisy = SAMPLING.noise_scaling(sigma, torch.ones(1), torch.zeros(1), max_denoise=True)
    assert float(SAMPLING.calculate_input(sigma, noisy)) == pytest.approx(1.0)
    assert float(SAMPLING.noise_scaling(sigma, torch.ones(1), torch.zeros(1))) == pytest.approx(3.0)
    assert math.isclose(float(noisy), math.sqrt(10), rel_tol=1e-6)
