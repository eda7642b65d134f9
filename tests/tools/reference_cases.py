"""What must hold of reference-only in every host; each case is a function that asserts.

Run by ``tests/server/test_reference_hosts.py``: in this interpreter for the embedded server and, through the command
line below, in ComfyUI's own interpreter for ComfyUI (one JSON object {case: "ok" or what went wrong} as last line).
"""

from __future__ import annotations

import functools
import itertools
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from reference_harness import CONTEXT, ROOT, SCALE, ComfyUI, Harness, oracle

SIGMAS = (10.0, 4.0, 1.5, 0.0)
SIDE = 16
SEED = 7
#: Of the output's scale, as asked of both hosts.
PARITY = 1e-4
#: Where only the order of floating-point sums differs.
CLOSE = 2e-5

CASES: dict[str, Callable[[Setup], None]] = {}


def case(function: Callable[..., None] | None = None, **values: Any) -> Any:
    """Register a case; keyword lists make one case for each combination, named ``case[a-b]``."""

    def register(body: Callable[..., None]) -> Callable[..., None]:
        for combination in itertools.product(*values.values()):
            arguments = dict(zip(values, combination, strict=True))
            suffix = "[" + "-".join(str(value) for value in combination) + "]" if arguments else ""
            CASES[body.__name__ + suffix] = functools.partial(body, **arguments)
        return body

    return register if function is None else register(function)


def randn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Setup:
    """A model, its weights in the oracle, prompts, noise and references; made once for all cases of a host."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.base, weights = harness.model()
        self.oracle = oracle.OracleUNet(weights)
        self.positive, self.negative, self.middle = (randn(1, 12, CONTEXT, seed=s) for s in (11, 12, 13))
        self.noise = randn(2, 4, SIDE, SIDE, seed=14)
        self.references = randn(2, 4, SIDE, SIDE, seed=15) / SCALE
        self.sampling = self.base.get_model_object("model_sampling")

    def attached(self, latents: torch.Tensor | None = None, base: Any = None, **settings: Any) -> Any:
        """The model with references attached; settings of `attach` and `build_references` alike."""
        from defectforge.nodes.reference_adapter import attach
        from defectforge.nodes.reference_config import build_references

        where = {name: settings.pop(name) for name in ("contexts", "ahead", "cache", "hold") if name in settings}
        base = self.base if base is None else base
        latents = self.references[:1] if latents is None else latents
        return attach(base, build_references(base, latents, **{"seed": SEED, **settings}), **where)

    def sample(
        self,
        model: Any,
        *,
        conds: dict[str, list[Any]] | None = None,
        cfg: float = 5.0,
        cfg2: float = 1.0,
        sigmas: tuple[float, ...] = SIGMAS,
        noise: torch.Tensor | None = None,
        callback: Any = None,
        mask: torch.Tensor | None = None,
        latent: torch.Tensor | None = None,
        sampler: str = "euler",
    ) -> torch.Tensor:
        """Latents in the model's units."""
        if conds is None:
            conds = {"positive": [[self.positive, {}]], "negative": [[self.negative, {}]]}
        noise = self.noise if noise is None else noise
        latent = torch.zeros_like(noise) if latent is None else latent
        guider = self.harness.guider(model, conds, cfg, cfg2)
        result: torch.Tensor = guider.sample(
            noise.clone(), latent, self.harness.sampler(sampler), torch.tensor(sigmas), mask, callback, True, 1
        )
        return result * SCALE

    @functools.cached_property
    def plain(self) -> torch.Tensor:
        return self.sample(self.base)

    def timesteps(self, sigmas: tuple[float, ...] = SIGMAS) -> list[int]:
        return [int(self.sampling.timestep(torch.tensor(sigma))) for sigma in sigmas[:-1]]

    def unit(self, number: int = 0, sigmas: tuple[float, ...] = SIGMAS, seed: int = SEED, **settings: Any) -> Any:
        """The oracle's unit for one of the references, with the package's noise."""
        from defectforge.nodes.algorithms.reference_noise import reference_noise

        latent = self.references[number : number + 1] * SCALE
        ordinal = settings.pop("ordinal", number)
        noise = [reference_noise(latent.shape, seed, level, ordinal) for level in self.timesteps(sigmas)]
        return oracle.Unit(latent, noise, **settings)

    def expected(self, units: list[Any], sigmas: tuple[float, ...] = SIGMAS, noise: Any = None) -> torch.Tensor:
        noise = self.noise if noise is None else noise
        start = (
            noise * (1 + sigmas[0] ** 2) ** 0.5 if sigmas[0] >= float(self.sampling.sigma_max) else noise * sigmas[0]
        )
        steps = self.timesteps(sigmas)
        return oracle.euler(self.oracle, start, list(sigmas), steps, self.positive, self.negative, 5.0, units)

    @torch.no_grad()
    def denoised(
        self, x: torch.Tensor, prompts: list[tuple[torch.Tensor, bool]], units: list[Any], sigma: float
    ) -> Any:
        """What the oracle's model makes of `x` for each (prompt, is unconditional), at the first step."""
        results = []
        for prompt, unconditional in prompts:
            rows = x / (1 + sigma**2) ** 0.5
            uncond = torch.full((x.shape[0],), unconditional)
            t = torch.full((x.shape[0],), self.timesteps((sigma, 0.0))[0])
            context = prompt.expand(x.shape[0], -1, -1)
            eps = self.oracle.two_pass(rows, t, context, uncond, units, 0, 1, 1 / (1 + sigma**2))
            results.append(x - sigma * eps)
        return results


def same(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = CLOSE) -> None:
    """Assert that two latents agree to a part of the expected one's scale."""
    difference = float((actual - expected).abs().max() / expected.abs().max())
    assert difference <= tolerance, f"differs by {difference:.2e} of the scale, allowed {tolerance:.0e}"


def differs(actual: torch.Tensor, other: torch.Tensor) -> None:
    """Assert that a setting has an effect at all."""
    assert float((actual - other).abs().max() / other.abs().max()) > 1e-2, "no effect"


# Parity with the original ------------------------------------------------------------------------------------------

MODES = ("reference_only", "reference_adain", "reference_adain+attn")


@case
def plain_run_equals_the_oracle(s: Setup) -> None:
    same(s.plain, s.expected([]), PARITY)


@case(mode=MODES, fidelity=(0.0, 0.5, 1.0), weight=(0.5, 1.0, 2.0), count=(1, 2))
def parity(s: Setup, mode: str, fidelity: float, weight: float, count: int) -> None:
    model = s.attached(s.references[:count], mode=mode, style_fidelity=fidelity, weights=(weight,))
    result = s.sample(model)
    same(result, s.expected([s.unit(n, mode=mode, fidelity=fidelity, weight=weight) for n in range(count)]), PARITY)
    differs(result, s.plain)


@case(window=((0.0, 0.3), (0.3, 1.0), (0.2, 0.5), (0.9, 1.0)))
def parity_in_a_window_of_steps(s: Setup, window: tuple[float, float]) -> None:
    sigmas = (10.0, 6.0, 3.0, 1.5, 0.6, 0.0)
    start, end = window
    result = s.sample(s.attached(start=start, end=end), sigmas=sigmas)
    same(result, s.expected([s.unit(start=start, end=end, sigmas=sigmas)], sigmas), PARITY)


@case
def parity_of_two_units_with_their_own_settings(s: Setup) -> None:
    first = {"mode": "reference_only", "weight": 0.5, "fidelity": 1.0, "start": 0.0, "end": 0.2}
    second = {"mode": "reference_adain+attn", "weight": 1.0, "fidelity": 0.25}
    model = s.base
    for number, unit in enumerate((first, second)):
        settings = {**unit, "weights": (unit["weight"],), "style_fidelity": unit["fidelity"]}
        del settings["weight"], settings["fidelity"]
        model = s.attached(s.references[number : number + 1], model, **settings)
    same(s.sample(model), s.expected([s.unit(0, **first), s.unit(1, **second)]), PARITY)


@case(mode=("Balanced", "My prompt is more important", "ControlNet is more important"))
def parity_of_control_modes(s: Setup, mode: str) -> None:
    fidelity = {"Balanced": 0.5, "My prompt is more important": 0.0, "ControlNet is more important": 1.0}[mode]
    same(s.sample(s.attached(control_mode=mode, style_fidelity=0.5)), s.expected([s.unit(fidelity=fidelity)]), PARITY)


@case
def parity_on_an_inpainting_model(s: Setup) -> None:
    model, weights = s.harness.model(in_channels=9)
    kept, mask = randn(1, 4, SIDE, SIDE, seed=16), torch.zeros(1, 1, SIDE, SIDE)
    mask[..., 4:12, 4:12] = 1.0
    options = {"concat_latent_image": kept / SCALE, "concat_mask": mask}
    conds = {"positive": [[s.positive, options]], "negative": [[s.negative, options]]}
    sigma = 3.0
    result = s.sample(s.attached(base=model), conds=conds, sigmas=(sigma, 0.0))
    unit = s.unit(sigmas=(sigma, 0.0))
    unet = oracle.OracleUNet(weights)
    x = s.noise * sigma
    concat = torch.cat([mask, kept], dim=1)
    own = torch.cat([torch.zeros(1, 1, SIDE, SIDE), unit.latent], dim=1)
    with torch.no_grad():
        eps = unet.two_pass(
            torch.cat([torch.cat([x, x]) / (1 + sigma**2) ** 0.5, concat.expand(4, -1, -1, -1)], dim=1),
            torch.full((4,), s.timesteps((sigma, 0.0))[0]),
            torch.cat([s.positive.expand(2, -1, -1), s.negative.expand(2, -1, -1)]),
            torch.tensor([False, False, True, True]),
            [unit],
            0,
            1,
            1 / (1 + sigma**2),
            concat=own,
        )
    same(result, x - sigma * (eps[2:] + 5.0 * (eps[:2] - eps[2:])), PARITY)


# Sides of guidance -------------------------------------------------------------------------------------------------


@case
def cfg_1_has_only_the_conditional_side(s: Setup) -> None:
    result = s.sample(s.attached(style_fidelity=0.3), cfg=1.0, sigmas=(3.0, 0.0))
    (expected,) = s.denoised(s.noise * 3.0, [(s.positive, False)], [s.unit(sigmas=(3.0, 0.0), fidelity=0.3)], 3.0)
    same(result, expected, PARITY)


@case
def split_and_joined_sides_agree(s: Setup) -> None:
    # Contexts of 12 and 60 tokens cannot share a model call; repeating the shorter one changes nothing but that.
    long = randn(1, 60, CONTEXT, seed=17)
    model = s.attached()
    split = s.sample(model, conds={"positive": [[long, {}]], "negative": [[s.negative, {}]]})
    joined = s.sample(model, conds={"positive": [[long, {}]], "negative": [[s.negative.repeat(1, 5, 1), {}]]})
    same(split, joined)


@case
def reversed_sides_agree(s: Setup) -> None:
    def reverse(executor: Any, model: Any, conds: Any, x: Any, timestep: Any, options: Any) -> Any:
        return executor(model, conds[::-1], x, timestep, options)[::-1]

    swapped = s.base.clone()
    swapped.add_wrapper_with_key("calc_cond_batch", "reverse", reverse)
    same(s.sample(s.attached(base=swapped)), s.sample(s.attached()))


@case
def rebuilt_condition_lists_keep_their_side(s: Setup) -> None:
    def rebuild(executor: Any, model: Any, conds: Any, x: Any, timestep: Any, options: Any) -> Any:
        return executor(model, [[dict(entry) for entry in entries] for entries in conds], x, timestep, options)

    rebuilt = s.base.clone()
    rebuilt.add_wrapper_with_key("calc_cond_batch", "rebuild", rebuild)
    same(s.sample(s.attached(base=rebuilt)), s.sample(s.attached()))


@case
def dual_guidance_reads_on_the_conditional_side_alone(s: Setup) -> None:
    conds = {"positive": [[s.positive, {}]], "middle": [[s.middle, {}]], "negative": [[s.negative, {}]]}
    result = s.sample(s.attached(style_fidelity=1.0), conds=conds, cfg=4.0, cfg2=2.0, sigmas=(3.0, 0.0))
    prompts = [(s.positive, False), (s.middle, True), (s.negative, True)]
    pos, mid, neg = s.denoised(s.noise * 3.0, prompts, [s.unit(sigmas=(3.0, 0.0), fidelity=1.0)], 3.0)
    same(result, neg + 2.0 * (mid - neg) + 4.0 * (pos - mid), PARITY)


@case(target=(False, True))
def areas_read_the_whole_reference(s: Setup, target: bool) -> None:
    half = SIDE // 2
    left, right = (SIDE, half, 0, 0), (SIDE, half, 0, half)
    conds = {
        "positive": [[s.positive, {"area": left}], [s.middle, {"area": right}]],
        "negative": [[s.negative, {}]],
    }
    settings: dict[str, Any] = {"hold": False}
    if target:  # the right half does not read, in the coordinates of the picture and not of the crop
        mask = torch.zeros(1, SIDE, SIDE)
        mask[..., :half] = 1.0
        settings["target"] = mask
    result = s.sample(s.attached(**settings), conds=conds, sigmas=(3.0, 0.0))
    x, unit = s.noise * 3.0, s.unit(sigmas=(3.0, 0.0))
    sides = []
    for part, prompt, units in (
        (x[..., :half], s.positive, [unit]),
        (x[..., half:], s.middle, [] if target else [unit]),
    ):
        sides.append(s.denoised(part, [(prompt, False), (s.negative, True)], units, 3.0))
    positive, cut = (torch.cat([side[i] for side in sides], dim=-1) for i in (0, 1))
    if target:
        # The undivided negative reads on the left half alone, which the oracle cannot do: look at the positive side.
        result = s.sample(s.attached(**settings), conds=conds, cfg=1.0, sigmas=(3.0, 0.0))
        same(result, positive, PARITY)
        return
    (full,) = s.denoised(x, [(s.negative, True)], [unit], 3.0)
    # Where an area ends inside the picture its weight fades over a quarter of its width.
    weight = torch.ones(SIDE)
    weight[[half - 1, half]] = 0.5
    negative = (full + weight * cut) / (1 + weight)
    same(result, negative + 5.0 * (positive - negative), PARITY)


@case
def a_batch_of_different_prompts_reads_with_each_its_own(s: Setup) -> None:
    both = {"positive": [[torch.cat([s.positive, s.middle]), {}]], "negative": [[s.negative, {}]]}
    together = s.sample(s.attached(), conds=both)
    for row, prompt in enumerate((s.positive, s.middle)):
        conds = {"positive": [[prompt, {}]], "negative": [[s.negative, {}]]}
        same(together[row : row + 1], s.sample(s.attached(), conds=conds, noise=s.noise[row : row + 1]))


# Nothing where nothing is asked ------------------------------------------------------------------------------------


@case
def weight_zero_changes_nothing(s: Setup) -> None:
    assert torch.equal(s.sample(s.attached(weights=(0.0,))), s.plain)


@case
def strength_zero_changes_nothing(s: Setup) -> None:
    assert torch.equal(s.sample(s.attached(strength=0.0)), s.plain)


@case
def an_empty_target_mask_changes_nothing(s: Setup) -> None:
    assert torch.equal(s.sample(s.attached(target=torch.zeros(1, 64, 64))), s.plain)


@case
def a_window_without_steps_changes_nothing(s: Setup) -> None:
    assert torch.equal(s.sample(s.attached(start=0.95, end=1.0)), s.plain)


@case(fidelity=(0.3, 1.0))
def masks_of_ones_equal_no_masks(s: Setup, fidelity: float) -> None:
    ones = torch.ones(1, 128, 128)
    without = s.sample(s.attached(style_fidelity=fidelity))
    same(s.sample(s.attached(masks=ones, target=ones, style_fidelity=fidelity)), without)
    almost = ones.clone()
    almost[0, 0, 0] = 1.0 - 1e-6  # not recognised as ones: goes through the masked code
    masked = s.attached(masks=almost, target=almost, style_fidelity=fidelity)
    same(s.sample(masked), without, 1e-4)


@case
def strength_is_continuous(s: Setup) -> None:
    full = s.sample(s.attached())
    same(s.sample(s.attached(strength=0.9999)), full, 2e-3)
    same(s.sample(s.attached(strength=1e-6)), s.plain, 1e-3)
    differs(s.sample(s.attached(strength=0.5)), full)
    differs(s.sample(s.attached(strength=4.0, mode="reference_only")), s.sample(s.attached(mode="reference_only")))


@case
def style_fidelity_1_leaves_the_unconditional_side_alone(s: Setup) -> None:
    same(s.sample(s.attached(style_fidelity=1.0), cfg=0.0), s.sample(s.base, cfg=0.0))


# Sharing and caching -----------------------------------------------------------------------------------------------


def new_cache(limit: int = 2**30) -> Any:
    from defectforge.nodes.algorithms.reference_bank import BankCache

    return BankCache(limit)


@case(contexts=("exact", "shared"))
def a_cache_hit_equals_a_miss(s: Setup, contexts: str) -> None:
    cache = new_cache()
    model = s.attached(cache=cache, contexts=contexts)
    first = s.sample(model)
    misses = cache.misses
    assert torch.equal(s.sample(model), first)
    assert cache.misses == misses and cache.hits >= len(SIGMAS) - 1
    other = s.sample(model, noise=s.noise + 1.0)
    assert cache.misses == misses, "another seed must find the features"
    assert torch.equal(other, s.sample(s.attached(contexts=contexts), noise=s.noise + 1.0))


@case(ahead=(1, 2, 3, 4, 16))
def computing_ahead_equals_step_by_step(s: Setup, ahead: int) -> None:
    same(s.sample(s.attached(ahead=ahead)), s.sample(s.attached(cache=new_cache(0))))


@case
def shared_context_is_exact_when_only_the_conditional_side_reads(s: Setup) -> None:
    same(s.sample(s.attached(contexts="shared", style_fidelity=1.0)), s.sample(s.attached(style_fidelity=1.0)))


@case
def shared_context_reads_the_positive_features_on_both_sides(s: Setup) -> None:
    conds = {"positive": [[s.positive, {}]], "negative": [[s.positive, {}]]}
    exact = s.sample(s.attached(style_fidelity=0.3), conds=conds)
    same(s.sample(s.attached(style_fidelity=0.3, contexts="shared"), conds=conds), exact)
    differs(s.sample(s.attached(style_fidelity=0.3, contexts="shared")), s.sample(s.attached(style_fidelity=0.3)))


@case(change=("prompt", "reference", "size", "seed", "lora", "weight", "mask"))
def a_change_invalidates_the_cache(s: Setup, change: str) -> None:
    cache = new_cache()
    s.sample(s.attached(cache=cache))
    settings: dict[str, Any] = {}
    conds = None
    base, latents = s.base, s.references[:1]
    if change == "prompt":
        conds = {"positive": [[s.middle, {}]], "negative": [[s.negative, {}]]}
    elif change == "reference":
        latents = s.references[1:2]
    elif change == "size":
        latents = s.references[:1, :, :8, :8]
    elif change == "seed":
        settings["seed"] = SEED + 1
    elif change == "lora":
        base = s.harness.with_lora(s.base)
    elif change == "weight":
        settings["weights"] = (0.5,)
    elif change == "mask":
        settings["masks"] = torch.zeros(1, SIDE, SIDE)
        settings["masks"][..., :4, :4] = 1.0
    misses = cache.misses
    cached = s.sample(s.attached(latents, base, cache=cache, **settings), conds=conds)
    assert cache.misses > misses, "served features of something else"
    same(cached, s.sample(s.attached(latents, base, **settings), conds=conds))


@case
def the_cache_keeps_to_its_limit(s: Setup) -> None:
    whole = new_cache()
    first = s.sample(s.attached(cache=whole))
    limit = whole.nbytes // 2
    small = new_cache(limit)
    model = s.attached(cache=small, ahead=8)
    same(s.sample(model), first)
    same(s.sample(model), first)
    assert 0 < small.nbytes <= limit


@case
def references_of_another_size_are_read(s: Setup) -> None:
    result = s.sample(s.attached(randn(1, 4, 24, 8, seed=18) / SCALE))
    assert bool(torch.isfinite(result).all())
    differs(result, s.plain)


# Batches, seeds, branches, exceptions ------------------------------------------------------------------------------


@case
def a_batch_of_four_equals_four_batches_of_one(s: Setup) -> None:
    noise = randn(4, 4, SIDE, SIDE, seed=19)
    together = s.sample(s.attached(), noise=noise)
    for row in range(4):
        same(s.sample(s.attached(), noise=noise[row : row + 1]), together[row : row + 1])


@case
def the_global_random_state_is_untouched(s: Setup) -> None:
    state = torch.random.get_rng_state()
    s.sample(s.attached())
    assert torch.equal(torch.random.get_rng_state(), state)


@case
def two_branches_do_not_mix(s: Setup) -> None:
    cache = new_cache()
    first, second = (s.attached(s.references[n : n + 1], cache=cache) for n in (0, 1))
    alone = [s.sample(s.attached(s.references[n : n + 1])) for n in (0, 1)]
    for model, expected in ((first, alone[0]), (second, alone[1]), (first, alone[0])):
        same(s.sample(model), expected)
    assert torch.equal(s.sample(s.base), s.plain)


@case(where=("step", "reference pass"))
def an_interruption_leaves_model_and_cache_clean(s: Setup, where: str) -> None:
    class Stop(Exception):
        pass

    calls: list[int] = []

    def stop(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise Stop
        return args[0]

    cache = new_cache()
    model = s.attached(cache=cache)
    broken = model
    if where == "reference pass":
        broken = model.clone()
        broken.set_model_input_block_patch(stop)
    try:
        s.sample(broken, callback=stop if where == "step" else None)
    except Stop:
        pass
    else:
        raise AssertionError("the interruption was swallowed")
    assert torch.equal(s.sample(s.base), s.plain)
    same(s.sample(model), s.sample(s.attached()))


@case
def an_existing_attention_replacement_is_kept(s: Setup) -> None:
    from defectforge.nodes import host

    calls: list[tuple[str, int]] = []

    def replacement(q: Any, k: Any, v: Any, extra: Any) -> Any:
        calls.append(extra["block"])
        return host.current().attention(q, k, v, extra["n_heads"], extra)

    patched = s.base.clone()
    patched.set_model_attn1_replace(replacement, "middle", 0)
    patched.set_model_attn1_replace(replacement, "output", 5, 0)
    same(s.sample(s.attached(base=patched)), s.sample(s.attached()))
    assert {tuple(block) for block in calls} == {("middle", 0), ("output", 5)}


@case
def an_attention_override_is_respected(s: Setup) -> None:
    calls: list[int] = []

    def override(function: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return function(*args, **kwargs)

    model = s.base.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = override
    settings = {"style_fidelity": 0.3, "strength": 0.7, "target": _disc(), "hold": False}
    same(s.sample(s.attached(base=model, **settings)), s.sample(s.attached(**settings)))
    assert calls or s.harness.name == "embedded"


# Local reference-only ----------------------------------------------------------------------------------------------


def _disc(radius: float = 0.18) -> torch.Tensor:
    """A soft-edged disc ``[1, 128, 128]`` in the middle, about a tenth of the picture."""
    axis = torch.linspace(-0.5, 0.5, 128)
    distance = (axis[:, None].square() + axis[None].square()).sqrt()
    return ((radius - distance) * 40 + 0.5).clamp(0, 1).unsqueeze(0)


@case
def a_reference_mask_limits_what_is_read(s: Setup) -> None:
    mask = torch.zeros(1, SIDE, SIDE)
    mask[..., :8] = 1.0
    changed = s.references[:1].clone()
    result = s.sample(s.attached(changed, masks=mask, mode="reference_only"))
    differs(result, s.sample(s.attached(changed, mode="reference_only")))


@case
def a_noise_mask_makes_holding_unnecessary(s: Setup) -> None:
    mask = torch.nn.functional.adaptive_avg_pool2d(_disc()[:, None], (SIDE, SIDE))
    kept = randn(1, 4, SIDE, SIDE, seed=20).expand(2, -1, -1, -1) / SCALE
    held, free = (
        s.sample(s.attached(target=_disc(), hold=hold), mask=mask, latent=kept.clone()) for hold in (True, False)
    )
    assert torch.equal(held, free)


@case(mode=MODES, sampler=("euler", "euler_ancestral", "dpmpp_2m"))
def changes_stay_inside_the_target_mask(s: Setup, mode: str, sampler: str) -> None:
    mask = _disc()
    result = s.sample(s.attached(target=mask, masks=mask, mode=mode), sampler=sampler)
    plain = s.sample(s.base, sampler=sampler)
    beyond = (torch.nn.functional.adaptive_avg_pool2d(mask[:, None], (SIDE, SIDE)) == 0).expand_as(result)
    assert torch.equal(result[beyond], plain[beyond])
    differs(result[~beyond], plain[~beyond])


@case
def holding_leaves_the_inside_as_it_reacts_to_a_held_outside(s: Setup) -> None:
    """One step has nothing to react to: inside, holding gives what free reading gives."""
    mask = _disc()
    full = (torch.nn.functional.adaptive_avg_pool2d(mask[:, None], (SIDE, SIDE)) == 1).expand_as(s.noise)
    held, free = (s.sample(s.attached(target=mask, hold=hold), sigmas=(3.0, 0.0)) for hold in (True, False))
    same(held[full], free[full])


@case
def holding_reports_both_of_its_runs_as_one(s: Setup) -> None:
    seen: list[tuple[int, int]] = []
    s.sample(s.attached(target=_disc()), callback=lambda step, denoised, x, total: seen.append((step, total)))
    steps = len(SIGMAS) - 1
    assert seen == [(step, 2 * steps) for step in range(2 * steps)]


@case
def holding_leaves_the_global_random_state_alone(s: Setup) -> None:
    before = torch.get_rng_state()
    s.sample(s.attached(target=_disc()))
    assert torch.equal(torch.get_rng_state(), before)


@case
def each_picture_may_have_its_own_target(s: Setup) -> None:
    left = torch.zeros(1, SIDE, SIDE)
    left[..., :6] = 1.0
    masks = torch.cat([left, left.flip(-1)])
    together = s.sample(s.attached(target=masks))
    for row in range(2):
        alone = s.sample(s.attached(target=masks[row : row + 1]), noise=s.noise[row : row + 1])
        # Statistics over a few cells amplify the rounding of another batch size, as noise that differs by 3e-7 does.
        same(together[row : row + 1], alone, PARITY)


@case
def works_with_a_noise_mask(s: Setup) -> None:
    mask = torch.nn.functional.adaptive_avg_pool2d(_disc()[:, None], (SIDE, SIDE))
    kept = randn(1, 4, SIDE, SIDE, seed=20).expand(2, -1, -1, -1) / SCALE
    result = s.sample(s.attached(target=_disc()), mask=mask, latent=kept.clone())
    outside = (mask == 0).expand_as(result)
    same(result[outside], (kept * SCALE)[outside])
    differs(result, s.sample(s.base, mask=mask, latent=kept.clone()))


# Bad input ---------------------------------------------------------------------------------------------------------


@case
def a_target_batch_that_does_not_fit_is_refused_before_sampling(s: Setup) -> None:
    calls: list[int] = []
    model = s.attached(target=torch.rand(3, SIDE, SIDE).clamp(min=0.1))
    try:
        s.sample(model, callback=lambda *_: calls.append(1))
    except ValueError as error:
        assert "3 masks" in str(error) and "2 pictures" in str(error), error
    else:
        raise AssertionError("sampled with 3 masks for 2 pictures")
    assert not calls


def run(harness: Harness, names: list[str] | None = None) -> dict[str, str]:
    """Run cases; "ok" or the traceback of each."""
    torch.set_num_threads(1)
    setup = Setup(harness)
    results = {}
    for name in names or CASES:
        try:
            CASES[name](setup)
            results[name] = "ok"
        except Exception:
            results[name] = traceback.format_exc()
    return results


def main() -> None:
    """``reference_cases.py COMFYUI_FOLDER [case...]`` in ComfyUI's interpreter."""
    folder, *names = sys.argv[1:]
    sys.path.insert(0, folder)
    sys.argv = [sys.argv[0], "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.model_management
    import folder_paths  # noqa: F401  (its presence tells the nodes that ComfyUI is the host)

    spec = __import__("importlib.util").util.spec_from_file_location(
        "defectforge", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    sys.modules["defectforge"] = module = __import__("importlib.util").util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with torch.inference_mode():
        print(json.dumps(run(ComfyUI(), names)))


if __name__ == "__main__":
    main()
