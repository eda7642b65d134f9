"""Sides of guidance are told apart, whatever their number, order and areas."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from reference_setup import PARITY, SIDE, SIGMAS, Setup, case, randn, same


@case
def cfg_1_has_only_the_conditional_side(s: Setup) -> None:
    result = s.sample(s.attached(style_fidelity=0.3), cfg=1.0, sigmas=(3.0, 0.0))
    (expected,) = s.denoised(s.noise * 3.0, [(s.positive, False)], [s.unit(sigmas=(3.0, 0.0), fidelity=0.3)], 3.0)
    same(result, expected, PARITY)


@case
def split_and_joined_sides_agree(s: Setup) -> None:
    # Contexts of 12 and 60 tokens cannot share a model call; repeating the shorter one changes nothing but that.
    long = randn(1, 60, s.shape.context, seed=17)
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


@case
def prompts_with_masks_read_the_whole_reference(s: Setup) -> None:
    left = torch.zeros(1, SIDE, SIDE)
    left[..., : SIDE // 2] = 1.0
    conds = {
        "positive": [[s.positive, {"mask": left}], [s.middle, {"mask": 1.0 - left}]],
        "negative": [[s.negative, {}]],
    }
    result = s.sample(s.attached(), conds=conds, sigmas=(3.0, 0.0))
    prompts = [(s.positive, False), (s.middle, False), (s.negative, True)]
    first, second, negative = s.denoised(s.noise * 3.0, prompts, [s.unit(sigmas=(3.0, 0.0))], 3.0)
    positive = torch.where(left.bool(), first, second)
    same(result, negative + 5.0 * (positive - negative), PARITY)


@case
def prompts_for_a_part_of_the_steps_read_then(s: Setup) -> None:
    scheduled = {
        "positive": [[s.positive, {"end_percent": 0.5}], [s.middle, {"start_percent": 0.5}]],
        "negative": [[s.negative, {}]],
    }
    switch = float(s.sampling.percent_to_sigma(0.5))
    assert SIGMAS[1] > switch > SIGMAS[2]
    x = s.noise * SIGMAS[0]
    for sigma, lower in itertools.pairwise(SIGMAS):
        prompts = [(s.positive if sigma > switch else s.middle, False), (s.negative, True)]
        positive, negative = s.denoised(x, prompts, [s.unit(sigmas=(sigma, 0.0))], sigma)
        x = x + (x - negative - 5.0 * (positive - negative)) / sigma * (lower - sigma)
    same(s.sample(s.attached(), conds=scheduled), x, PARITY)
