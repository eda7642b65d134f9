"""Nothing changes where nothing is asked, and strength acts in between."""

from __future__ import annotations

import torch
from reference_setup import Setup, case, differs, same


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
