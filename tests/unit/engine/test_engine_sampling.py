"""Whole runs on a tiny model: noise, masks, conditions, guidance, progress."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from defectforge.runner.embedded.engine.loading.checkpoint import Checkpoint
from defectforge.runner.embedded.engine.model.conditions import converted, processed
from defectforge.runner.embedded.engine.model.model import EmbeddedModel
from defectforge.runner.embedded.engine.sampling.differential import differential_mask
from defectforge.runner.embedded.engine.sampling.guiders import (
    BasicGuider,
    CFGGuider,
    DualCFGGuider,
    Sampler,
    cfg_function,
)
from defectforge.runner.embedded.engine.sampling.samplers import SAMPLERS
from defectforge.runner.embedded.engine.sampling.sampling import (
    ComfyNoise,
    EmptyNoise,
    ksampler,
    latent_preview,
    prepare_noise,
    sample_with,
    steps_of_run,
)
from defectforge.runner.embedded.engine.sampling.schedules import schedule

from .conftest import RecordingHost

Conditioning = list[Any]
Prompts = tuple[Conditioning, Conditioning]


def quiet(*_: Any) -> None:
    """No progress."""


@pytest.fixture
def model(checkpoint: Checkpoint) -> EmbeddedModel:
    return checkpoint.model.clone()


def run(model: EmbeddedModel, prompts: Prompts, latent: dict[str, Any] | None = None, **options: Any) -> torch.Tensor:
    settings: dict[str, Any] = {"seed": 3, "steps": 3, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal"}
    settings.update(positive=prompts[0], negative=prompts[1], callback=quiet)
    latent = {"samples": torch.zeros(1, 4, 8, 8)} if latent is None else latent
    result: torch.Tensor = ksampler(model, latent=latent, **{**settings, **options})["samples"]
    return result


# --- noise -----------------------------------------------------------------------------------------------------------


def test_noise_is_one_draw_for_the_batch() -> None:
    latent = torch.zeros(3, 4, 5, 6)
    expected = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(8))
    assert torch.equal(prepare_noise(latent, 8), expected)


def test_a_picture_taken_out_of_a_batch_keeps_its_noise() -> None:
    whole = prepare_noise(torch.zeros(4, 4, 8, 8), 8)
    assert torch.equal(prepare_noise(torch.zeros(2, 4, 8, 8), 8, [3, 1]), whole[[3, 1]])


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    prepare_noise(torch.zeros(1, 4, 5, 6), 8)
    assert torch.equal(torch.rand(3), expected)


def test_a_batch_gives_what_its_pictures_give_alone(model: EmbeddedModel, prompts: Prompts) -> None:
    together = run(model, prompts, {"samples": torch.zeros(2, 4, 8, 8)})
    alone = run(model, prompts, {"samples": torch.zeros(1, 4, 8, 8), "batch_index": [1]})
    assert torch.allclose(together[1:], alone, atol=1e-3)


# --- steps -----------------------------------------------------------------------------------------------------------

SIGMAS = torch.tensor([10.0, 5.0, 2.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((None, None, False), [10, 5, 2, 1, 0]),
        ((1, None, False), [5, 2, 1, 0]),
        ((1, 3, False), [5, 2, 1]),
        ((1, 3, True), [5, 2, 0]),
        ((0, 10000, True), [10, 5, 2, 1, 0]),
        ((4, None, True), []),
        ((3, 2, True), []),
    ],
)
def test_start_and_end_step(arguments: tuple[Any, ...], expected: list[float]) -> None:
    assert steps_of_run(SIGMAS, *arguments).tolist() == expected
    assert SIGMAS.tolist() == [10, 5, 2, 1, 0]


def test_two_halves_of_a_run_are_the_whole(model: EmbeddedModel, prompts: Prompts) -> None:
    whole = run(model, prompts, steps=4)
    first = run(model, prompts, steps=4, last_step=2)
    second = run(model, prompts, {"samples": first}, steps=4, start_step=2, disable_noise=True)
    assert torch.allclose(second, whole, atol=2e-3)


def test_no_denoising_leaves_the_latent_as_it_is(model: EmbeddedModel, prompts: Prompts) -> None:
    latent = torch.randn(1, 4, 8, 8)
    assert torch.equal(run(model, prompts, {"samples": latent}, denoise=0.0), latent)


def test_every_input_changes_the_picture(model: EmbeddedModel, prompts: Prompts) -> None:
    base = run(model, prompts)
    assert base.std() > 0.1
    others = [
        run(model, prompts, seed=4),
        run(model, prompts, cfg=7.0),
        run(model, (prompts[1], prompts[0])),
        run(model, prompts, scheduler="karras"),
        run(model, prompts, {"samples": torch.randn(1, 4, 8, 8)}, denoise=0.5),
    ]
    assert all(not torch.allclose(base, other, atol=1e-2) for other in others)


# --- noise masks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_outside_the_noise_mask_nothing_changes(model: EmbeddedModel, prompts: Prompts, sampler: str) -> None:
    latent, mask = torch.randn(2, 4, 8, 8), torch.zeros(1, 1, 64, 64)
    mask[..., 16:48, 16:48] = 1.0
    result = run(model, prompts, {"samples": latent, "noise_mask": mask}, sampler_name=sampler, denoise=0.8)
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[2:6, 2:6] = True
    assert torch.allclose(result[..., ~inside], latent[..., ~inside], atol=1e-5)
    assert (result - latent)[..., inside].abs().mean() > 0.1


def test_a_full_noise_mask_is_none(model: EmbeddedModel, prompts: Prompts) -> None:
    latent = torch.randn(1, 4, 8, 8)
    masked = run(model, prompts, {"samples": latent, "noise_mask": torch.ones(1, 1, 64, 64)}, denoise=0.8)
    assert torch.allclose(masked, run(model, prompts, {"samples": latent}, denoise=0.8), atol=1e-5)


def test_a_grey_mask_mixes_and_differential_diffusion_decides(model: EmbeddedModel, prompts: Prompts) -> None:
    latent = {"samples": torch.randn(1, 4, 8, 8), "noise_mask": torch.full((1, 1, 64, 64), 0.5)}
    soft = run(model, prompts, latent)
    model.set_model_denoise_mask_function(differential_mask())
    assert not torch.allclose(soft, run(model, prompts, latent), atol=1e-2)


def test_differential_masks_open_as_the_timesteps_fall(model: EmbeddedModel) -> None:
    class Inner:
        inner_model = model.model

    sigmas = schedule("normal", model.model.model_sampling, 5)
    mask = torch.tensor([0.0, 0.3, 0.6, 1.0]).view(1, 1, 1, 4)
    options = {"model": Inner, "sigmas": sigmas}
    opened = [differential_mask()(sigma[None], mask, options).sum().item() for sigma in sigmas[:-1]]
    assert opened == [1.0, 1.0, 2.0, 3.0, 4.0]
    half = differential_mask(0.5)(sigmas[:1], mask, options)
    assert torch.allclose(half, 0.5 * (mask == 1.0).float() + 0.5 * mask)


# --- conditions ------------------------------------------------------------------------------------------------------


def test_a_condition_for_the_whole_area_is_a_plain_one(model: EmbeddedModel, prompts: Prompts) -> None:
    text, options = prompts[0][0]
    with_area = [[text, {**options, "area": (8, 8, 0, 0), "strength": 1.0}]]
    assert torch.allclose(run(model, (with_area, prompts[1])), run(model, prompts), atol=1e-3)


def test_an_area_only_changes_its_place_in_one_step(model: EmbeddedModel, prompts: Prompts) -> None:
    text, options = prompts[1][0]
    area = [[text, {**options, "area": (4, 8, 0, 0), "strength": 100.0}]]
    plain = run(model, prompts, steps=1, cfg=1.0)
    both = run(model, (prompts[0] + area, prompts[1]), steps=1, cfg=1.0)
    assert torch.allclose(both[:, :, 4:], plain[:, :, 4:], atol=1e-4)
    assert not torch.allclose(both[:, :, :2], plain[:, :, :2], atol=1e-3)


def test_both_sides_get_conditions_for_the_same_areas(model: EmbeddedModel, prompts: Prompts) -> None:
    text, options = prompts[0][0]
    positive = converted([[text, {**options, "area": ("percentage", 0.5, 1.0, 0.5, 0.0)}]])
    noise = torch.zeros(1, 4, 8, 8)
    conds = processed(model.model, noise, {"positive": positive, "negative": converted(prompts[1])}, noise.device)
    assert conds["positive"][0]["area"] == (4, 8, 4, 0)
    assert [c.get("area") for c in conds["negative"]] == [None, (4, 8, 4, 0)]
    matched = conds["negative"][1]["model_conds"]["c_crossattn"].cond
    assert torch.equal(matched, prompts[1][0][0])


def test_a_mask_halves_two_prompts(model: EmbeddedModel, prompts: Prompts) -> None:
    left, right = torch.zeros(1, 64, 64), torch.zeros(1, 64, 64)
    left[..., :32], right[..., 32:] = 1.0, 1.0
    (a, a_options), (b, b_options) = prompts[0][0], prompts[1][0]
    masked = [[a, {**a_options, "mask": left}], [b, {**b_options, "mask": right}]]
    result = run(model, (masked, prompts[1]), steps=1, cfg=1.0)
    assert torch.allclose(result[..., :4], run(model, prompts, steps=1, cfg=1.0)[..., :4], atol=1e-4)
    other = run(model, (prompts[1], prompts[1]), steps=1, cfg=1.0)
    assert torch.allclose(result[..., 4:], other[..., 4:], atol=1e-4)


def test_a_timestep_range_limits_a_condition(model: EmbeddedModel, prompts: Prompts) -> None:
    def ranged(prompt: Conditioning, start: float, end: float) -> Conditioning:
        return [[text, {**options, "start_percent": start, "end_percent": end}] for text, options in prompt]

    first = ranged(prompts[0], 0.0, 0.5) + ranged(prompts[1], 0.5, 1.0)
    switched = run(model, (first, prompts[1]), steps=4, cfg=1.0)
    expected = run(model, prompts, steps=4, cfg=1.0, last_step=2)
    expected = run(
        model,
        (prompts[1], prompts[1]),
        {"samples": expected},
        steps=4,
        cfg=1.0,
        start_step=2,
        disable_noise=True,
    )
    assert torch.allclose(switched, expected, atol=2e-3)


def test_prompts_of_different_length_share_a_batch(model: EmbeddedModel, checkpoint: Checkpoint) -> None:
    assert checkpoint.clip is not None
    long, short = checkpoint.clip.encode("hole " * 80), checkpoint.clip.encode("")
    rows: list[int] = []
    model.add_wrapper("apply_model", lambda executor, x, *rest: (rows.append(x.shape[0]), executor(x, *rest))[1])
    run(model, (long, short), steps=2)
    assert rows == [2, 2]


# --- guidance --------------------------------------------------------------------------------------------------------


def test_guidance_goes_from_the_negative_towards_and_beyond_the_positive() -> None:
    a, b, x = torch.tensor([3.0]), torch.tensor([1.0]), torch.zeros(1)
    assert cfg_function(None, a, b, 2.5, x, x, {}).item() == 6.0
    doubled = {"sampler_post_cfg_function": [lambda given: given["denoised"] * 2]}
    assert cfg_function(None, a, b, 2.5, x, x, doubled).item() == 12.0
    replaced = {"sampler_cfg_function": lambda given: given["cond"] - given["uncond"]}
    assert cfg_function(None, a, b, 2.5, x, x, replaced).item() == 2.0


def test_a_scale_of_one_skips_the_negative_side(model: EmbeddedModel, prompts: Prompts) -> None:
    seen: list[list[int]] = []

    def spy(executor: Any, model: Any, conds: list[Any], *rest: Any) -> Any:
        seen.append([0 if c is None else len(c) for c in conds])
        return executor(model, conds, *rest)

    model.add_wrapper("calc_cond_batch", spy)
    run(model, prompts, cfg=1.0, steps=1)
    model.disable_model_cfg1_optimization()
    run(model, prompts, cfg=1.0, steps=1)
    assert seen == [[1, 0], [1, 1]]


def test_a_basic_guider_is_guidance_of_scale_one(
    model: EmbeddedModel, prompts: Prompts, recording_host: RecordingHost
) -> None:
    sigmas = schedule("normal", model.model.model_sampling, 3)
    guider = BasicGuider(model)
    guider.set_conds(prompts[0])
    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    result, _ = sample_with(guider, ComfyNoise(3), Sampler.named("euler"), sigmas, latent, seed=3)
    assert torch.allclose(result["samples"], run(model, prompts, cfg=1.0), atol=1e-4)


@pytest.mark.parametrize("nested", [False, True])
def test_dual_guidance_with_equal_conditions_is_plain_guidance(
    model: EmbeddedModel, prompts: Prompts, recording_host: RecordingHost, nested: bool
) -> None:
    sigmas = schedule("normal", model.model.model_sampling, 3)
    guider = DualCFGGuider(model)
    guider.set_dual_conds(prompts[0], prompts[0], prompts[1])
    guider.set_dual_cfg(7.5, 5.0, nested=nested)
    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    result, _ = sample_with(guider, ComfyNoise(3), Sampler.named("euler"), sigmas, latent, seed=3)
    assert torch.allclose(result["samples"], run(model, prompts, cfg=5.0), atol=1e-3)


# --- reporting -------------------------------------------------------------------------------------------------------


def test_progress_comes_with_previews(model: EmbeddedModel, prompts: Prompts, recording_host: RecordingHost) -> None:
    run(model, prompts, callback=None)
    assert recording_host.steps == [(1, 3), (2, 3), (3, 3)]
    assert [p.size for p in recording_host.previews] == [(8, 8)] * 3


def test_an_interruption_stops_at_the_next_step_and_leaves_nothing_behind(
    model: EmbeddedModel, prompts: Prompts, recording_host: RecordingHost
) -> None:
    recording_host.interrupt_at = 1
    with pytest.raises(InterruptedError):
        run(model, prompts, callback=None)
    assert len(recording_host.steps) == 1
    assert model.model.current_patcher is None


def test_a_preview_is_a_picture_of_the_first_latent() -> None:
    preview = latent_preview(torch.zeros(2, 4, 5, 7))
    assert preview.size == (7, 5)
    assert preview.getpixel((0, 0)) == (127, 127, 127)


def test_the_second_output_is_the_last_clean_latent(
    model: EmbeddedModel, prompts: Prompts, recording_host: RecordingHost
) -> None:
    guider = CFGGuider(model)
    guider.set_conds(*prompts)
    sigmas = schedule("normal", model.model.model_sampling, 3)
    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    result, denoised = sample_with(guider, EmptyNoise(), Sampler.named("euler"), sigmas, latent, seed=0)
    assert torch.allclose(result["samples"], denoised["samples"], atol=1e-4)


def test_an_unknown_sampler_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'lms'.*euler.*ComfyUI server"):
        Sampler.named("lms")
