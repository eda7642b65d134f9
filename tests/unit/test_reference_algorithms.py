"""The parts of reference-only by themselves: layer rule, merged attention, statistics, noise, cache, resizing."""

from __future__ import annotations

import pytest
import torch
from defectforge.nodes.algorithms.reference import adain, attention
from defectforge.nodes.algorithms.reference.attention import (
    ReferenceTokens,
    RowGroup,
    covered_tokens,
    read_references,
    token_grid,
)
from defectforge.nodes.algorithms.reference.bank import Bank, BankCache, digest
from defectforge.nodes.algorithms.reference.layers import effective_fidelity, is_active, step_of, unet_layout
from defectforge.nodes.algorithms.reference.noise import diffuse, reference_noise
from defectforge.nodes.algorithms.reference.resize import fit_reference

SD15 = {
    "in_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1] * 9 + [0] * 3,
    "context_dim": 768,
}
SDXL = {
    **SD15,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_middle": 10,
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "context_dim": 2048,
}
SHORT = {"input": "in", "middle": "mid", "output": "out"}


def names(keys: list[tuple[str, int]]) -> str:
    return " ".join("mid" if block == "middle" else f"{SHORT[block]}{number}" for block, number in keys)


def test_sd15_layers_come_in_the_originals_order() -> None:
    layout = unet_layout(SD15)
    assert names([layer.key[:2] for layer in layout.attention]) == (
        "in7 in8 mid out3 out4 out5 in4 in5 out6 out7 out8 in1 in2 out9 out10 out11"
    )
    assert [layer.threshold for layer in layout.attention] == [i / 16 for i in range(16)]


@pytest.mark.parametrize(
    ("weight", "count"), [(0.0, 0), (0.01, 1), (0.5, 8), (0.6875, 11), (0.7, 12), (1.0, 16), (2.0, 16)]
)
def test_weight_selects_layers_strictly_above_their_threshold(weight: float, count: int) -> None:
    assert len(unet_layout(SD15).attention_for(weight)) == count


def test_sd15_adain_points_have_the_originals_thresholds() -> None:
    points = {names([point.key]): round(point.threshold, 3) for point in unet_layout(SD15).adain}
    assert points == {
        **{"in4": 2.0, "in5": 1.667, "in7": 1.333, "in8": 1.0, "in10": 0.667, "in11": 0.333, "mid": 0.0},
        **{f"out{n}": n / 4 for n in range(8)},
    }
    selected = [point.key for point in unet_layout(SD15).adain_for(1.0)]
    assert names(selected) == "in10 in11 mid out0 out1 out2 out3"


def test_sdxl_has_70_layers_and_its_own_adain_points() -> None:
    layout = unet_layout(SDXL)
    assert len(layout.attention) == 70 and layout.sdxl and not unet_layout(SD15).sdxl
    assert names([point.key for point in layout.adain]) == "in4 in5 in7 in8 mid out0 out1 out2 out3 out4 out5"
    assert layout.attention[0].key == ("input", 7, 0) and layout.attention[-1].key == ("output", 5, 1)


@pytest.mark.parametrize(
    ("mode", "slider", "sdxl", "expected"),
    [
        ("Balanced", 0.5, False, 0.5),
        ("Balanced", 0.5, True, 0.125),
        ("Balanced", 1.7, False, 1.0),
        ("My prompt is more important", 0.5, False, 0.0),
        ("ControlNet is more important", 0.5, True, 1.0),
    ],
)
def test_control_mode_and_style_fidelity_are_one_number(mode: str, slider: float, sdxl: bool, expected: float) -> None:
    assert effective_fidelity(mode, slider, sdxl) == expected


def test_progress_lags_one_step_behind() -> None:
    assert [is_active(step, 10, 0.0, 0.25) for step in range(5)] == [True, True, True, True, False]
    assert [is_active(step, 4, 0.5, 1.0) for step in range(4)] == [False, False, False, True]


def test_a_call_between_two_steps_belongs_to_the_one_in_progress() -> None:
    assert [step_of(sigma, (10.0, 4.0, 1.0, 0.0)) for sigma in (10.0, 7.0, 4.0, 2.0, 1.0, 0.5)] == [0, 0, 1, 1, 2, 2]


# Attention ---------------------------------------------------------------------------------------------------------

HEADS, WIDTH = 4, 32


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def exact(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    q, k, v = (t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in (q, k, v))
    logits = q @ k.transpose(-1, -2) / (WIDTH / HEADS) ** 0.5
    return ((logits if bias is None else logits + bias).softmax(-1) @ v).transpose(1, 2).flatten(2)


def host_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, bias: torch.Tensor | None
) -> torch.Tensor:
    return exact(q, k, v, bias)


@pytest.fixture
def qkv() -> tuple[torch.Tensor, ...]:
    return tuple(randn(4, 36, WIDTH, seed=seed) for seed in (1, 2, 3))


@pytest.fixture
def references() -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(randn(1, n, WIDTH, seed=n), randn(1, n, WIDTH, seed=n + 1)) for n in (20, 9)]


@pytest.mark.parametrize("attend", [None, host_attention], ids=["merged", "concatenated"])
@pytest.mark.parametrize("strength", [1.0, 0.3, 3.0])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("soft", [False, True])
def test_reading_equals_attention_over_the_concatenation(qkv, references, attend, strength, count, soft) -> None:
    q, k, v = qkv
    target = torch.linspace(0, 1, 36).expand(1, -1) if soft else None
    tokens = tuple(ReferenceTokens(rk, rv, strength, target) for rk, rv in references[:count])
    out = read_references(
        q, k, v, HEADS, [RowGroup(slice(0, 2), 1.0, tokens), RowGroup(slice(2, 3), 0.4, tokens)], attend
    )
    plain = exact(q, k, v)
    keys, values = (
        torch.cat([own, *(r[i].expand(4, -1, -1) for r in references[:count])], 1) for i, own in ((0, k), (1, v))
    )
    bias = torch.zeros(1, 1, 36, keys.shape[1])
    bias[..., 36:] = torch.tensor(strength).log() + (0 if target is None else target[0, :, None].log())
    both = exact(q, keys, values, bias)
    expected = torch.cat([both[:2], torch.lerp(plain[2:3], both[2:3], 0.4), plain[3:]])
    assert torch.allclose(out, expected, atol=2e-6)


def test_queries_off_the_target_stay_plain_to_the_bit(qkv, references) -> None:
    q, k, v = qkv
    target = torch.zeros(1, 36)
    target[0, 10:14] = 1.0
    read = read_references(
        q, k, v, HEADS, [RowGroup(slice(0, 4), 1.0, (ReferenceTokens(*references[0], target=target),))]
    )
    plain = read_references(q, k, v, HEADS, [])
    off = target[0] == 0
    assert torch.equal(read[:, off], plain[:, off]) and not torch.allclose(read[:, ~off], plain[:, ~off])


def test_a_foreign_plain_part_is_merged_and_not_changed(qkv, references) -> None:
    q, k, v = qkv
    plain = exact(q, k, v)
    kept = plain.clone()
    group = RowGroup(slice(0, 4), 1.0, (ReferenceTokens(*references[0]),))
    merged = read_references(q, k, v, HEADS, [group], None, plain)
    assert torch.equal(plain, kept)
    assert torch.allclose(merged, read_references(q, k, v, HEADS, [group]), atol=2e-6)


def test_the_kernel_gives_the_log_sum_exp() -> None:
    q, k, v = (randn(2, n, HEADS, 8, seed=n) for n in (7, 11, 11))
    assert attention.has_lse(q)
    assert torch.allclose(attention.attention_lse(q, k, v)[1], attention.exact_lse(q, k), atol=1e-5)


@pytest.mark.parametrize(("tokens", "grid"), [(64 * 40, (64, 40)), (32 * 20, (32, 20)), (5 * 8, (8, 5)), (7, None)])
def test_token_grids_halve_level_by_level(tokens: int, grid: tuple[int, int] | None) -> None:
    assert token_grid(tokens, 64, 40) == grid


def test_a_tiny_defect_keeps_its_best_token() -> None:
    mask = torch.zeros(4, 4)
    mask[1, 2], mask[3, 3] = 0.2, 0.1
    assert covered_tokens(mask).tolist() == [6]
    mask[0, 0] = 0.7
    assert covered_tokens(mask).tolist() == [0]


# Statistics, noise, cache, size ------------------------------------------------------------------------------------


def test_matching_gives_mean_and_variance_of_the_reference() -> None:
    h, other = randn(2, 3, 8, 8, seed=1), randn(1, 3, 8, 8, seed=2) * 3 + 1
    mean, variance = adain.statistics(other)
    got_mean, got_variance = adain.statistics(adain.match(h, mean, variance))
    assert torch.allclose(got_mean, mean.expand(2, -1, -1, -1), atol=1e-5)
    assert torch.allclose(got_variance, variance.expand(2, -1, -1, -1), rtol=1e-4)


def test_weighted_statistics_equal_those_of_the_part() -> None:
    h, weight = randn(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
    weight[..., :4] = 1.0
    for whole, part in zip(adain.statistics(h, weight), adain.statistics(h[..., :4]), strict=True):
        assert torch.allclose(whole, part, atol=1e-6)


def test_variances_are_averaged_and_not_deviations() -> None:
    ones = torch.ones(1, 1, 1, 1)
    mean, variance = adain.average([ones, 3 * ones], [ones, 9 * ones], [1.0, 1.0])
    assert float(mean) == 2.0 and float(variance) == 5.0


def test_noise_depends_on_seed_level_and_place_alone() -> None:
    state = torch.random.get_rng_state()
    first = reference_noise((1, 4, 8, 8), 5, 300)
    assert torch.equal(first, reference_noise((1, 4, 8, 8), 5, 300))
    assert torch.equal(state, torch.random.get_rng_state())
    others = [reference_noise((1, 4, 8, 8), *key) for key in ((6, 300), (5, 301), (5, 300, 1), (300, 5))]
    assert all(abs(float((first * other).mean())) < 0.25 for other in others)


def test_diffusion_is_at_variance_preserving_scale() -> None:
    latent, noise, sigma = randn(1, 4, 8, 8, seed=1), randn(1, 4, 8, 8, seed=2), 2.5
    abar = 1 / (1 + sigma**2)
    assert torch.allclose(diffuse(latent, noise, sigma), abar**0.5 * latent + (1 - abar) ** 0.5 * noise, atol=1e-6)


def bank(values: int) -> Bank:
    return Bank({("middle", 0, 0): (torch.zeros(1, values, 1), torch.zeros(1, values, 1))})


def test_the_cache_drops_the_least_recently_used() -> None:
    cache = BankCache(3 * bank(10).nbytes)
    for name in "abc":
        cache.put(name, bank(10))
    cache.get("a")
    cache.put("d", bank(10))
    assert [name in cache for name in "abcd"] == [True, False, True, True]
    cache.put("big", bank(1000))
    assert "big" not in cache and cache.nbytes == cache.limit
    cache.clear()
    assert not len(cache) and cache.nbytes == 0


@pytest.mark.parametrize(
    "change", [lambda t: t + 1, lambda t: t.double(), lambda t: t.reshape(-1), lambda t: t.flip(0)]
)
def test_a_digest_sees_values_type_shape_and_order(change) -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    assert digest(tensor) == digest(tensor.clone()) != digest(change(tensor))


def test_cropping_keeps_the_scale_and_the_mask_in_view() -> None:
    image, mask = torch.rand(1, 64, 192, 3), torch.zeros(1, 64, 192)
    mask[:, 20:40, 150:180] = 1.0
    image[0, :, :, 0] = mask[0]
    fitted, fitted_mask = fit_reference(image, mask, 32, 32)
    assert fitted.shape == (1, 32, 32, 3) and fitted_mask is not None
    assert torch.allclose(fitted[..., 0], fitted_mask, atol=1e-5)
    assert float(fitted_mask.sum()) == pytest.approx(20 * 30 / 4, rel=0.05)


def test_filling_keeps_everything_and_the_masks_area() -> None:
    image, mask = torch.rand(1, 32, 64, 3), torch.ones(1, 32, 64)
    fitted, fitted_mask = fit_reference(image, mask, 32, 32, "fit and fill")
    assert fitted_mask is not None and float(fitted_mask.sum()) == 16 * 32
    assert fitted.shape == (1, 32, 32, 3)


def test_enlarging_stays_in_range() -> None:
    fitted, _ = fit_reference((torch.rand(2, 16, 16, 3) > 0.5).float(), None, 64, 64)
    assert fitted.shape == (2, 64, 64, 3) and float(fitted.min()) >= 0.0 and float(fitted.max()) <= 1.0
