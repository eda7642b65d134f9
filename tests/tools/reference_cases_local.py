"""Local reference-only: masks of what is read and where."""

from __future__ import annotations

import torch
from reference_setup import MODES, PARITY, SIDE, SIGMAS, Setup, case, differs, disc, randn, same


@case
def a_reference_mask_limits_what_is_read(s: Setup) -> None:
    mask = torch.zeros(1, SIDE, SIDE)
    mask[..., :8] = 1.0
    changed = s.references[:1].clone()
    result = s.sample(s.attached(changed, masks=mask, mode="reference_only"))
    differs(result, s.sample(s.attached(changed, mode="reference_only")))


@case
def a_noise_mask_makes_holding_unnecessary(s: Setup) -> None:
    mask = torch.nn.functional.adaptive_avg_pool2d(disc()[:, None], (SIDE, SIDE))
    kept = randn(1, 4, SIDE, SIDE, seed=20).expand(2, -1, -1, -1) / s.shape.scale
    held, free = (
        s.sample(s.attached(target=disc(), hold=hold), mask=mask, latent=kept.clone()) for hold in (True, False)
    )
    assert torch.equal(held, free)


@case(mode=MODES, sampler=("euler", "euler_ancestral", "dpmpp_2m"))
def changes_stay_inside_the_target_mask(s: Setup, mode: str, sampler: str) -> None:
    mask = disc()
    result = s.sample(s.attached(target=mask, masks=mask, mode=mode), sampler=sampler)
    plain = s.sample(s.base, sampler=sampler)
    beyond = (torch.nn.functional.adaptive_avg_pool2d(mask[:, None], (SIDE, SIDE)) == 0).expand_as(result)
    assert torch.equal(result[beyond], plain[beyond])
    differs(result[~beyond], plain[~beyond])


@case
def holding_leaves_the_inside_as_it_reacts_to_a_held_outside(s: Setup) -> None:
    """One step has nothing to react to: inside, holding gives what free reading gives."""
    mask = disc()
    full = (torch.nn.functional.adaptive_avg_pool2d(mask[:, None], (SIDE, SIDE)) == 1).expand_as(s.noise)
    held, free = (s.sample(s.attached(target=mask, hold=hold), sigmas=(3.0, 0.0)) for hold in (True, False))
    same(held[full], free[full])


@case
def holding_reports_both_of_its_runs_as_one(s: Setup) -> None:
    seen: list[tuple[int, int]] = []
    s.sample(s.attached(target=disc()), callback=lambda step, denoised, x, total: seen.append((step, total)))
    steps = len(SIGMAS) - 1
    assert seen == [(step, 2 * steps) for step in range(2 * steps)]


@case
def holding_leaves_the_global_random_state_alone(s: Setup) -> None:
    before = torch.get_rng_state()
    s.sample(s.attached(target=disc()))
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
    mask = torch.nn.functional.adaptive_avg_pool2d(disc()[:, None], (SIDE, SIDE))
    kept = randn(1, 4, SIDE, SIDE, seed=20).expand(2, -1, -1, -1) / s.shape.scale
    result = s.sample(s.attached(target=disc()), mask=mask, latent=kept.clone())
    outside = (mask == 0).expand_as(result)
    same(result[outside], (kept * s.shape.scale)[outside])
    differs(result, s.sample(s.base, mask=mask, latent=kept.clone()))
