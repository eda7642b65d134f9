"""Reference-only beside ComfyUI's own model patches: each does its work, none is disturbed."""

from __future__ import annotations

from typing import Any

import torch
from reference_setup import SIDE, Setup, comfyui_case, differs, disc, new_cache, same

#: More steps than elsewhere: step caches need some to skip one.
SIGMAS = (10.0, 6.0, 4.0, 3.0, 2.2, 1.6, 1.1, 0.7, 0.0)

#: Patches that draw from the global random state at each call: a batch and its parts differ with them.
RANDOM = ("HyperTile", "token merging")
FIXED = ("FreeU", "perturbed attention", "self-attention guidance", "rescaled guidance", "zero terminal SNR")


def sampled(s: Setup, model: Any, seed: int = 3, **given: Any) -> torch.Tensor:
    torch.manual_seed(seed)
    return s.sample(model, sigmas=SIGMAS, **given)


@comfyui_case(patch=(*FIXED, *RANDOM, "lazy step cache"))
def strength_zero_equals_the_patch_alone(s: Setup, patch: str) -> None:
    model = s.harness.patched(s.base, patch)
    alone = sampled(s, model)
    assert torch.equal(sampled(s, s.attached(base=model, strength=0.0)), alone)
    result = sampled(s, s.attached(base=model))
    assert bool(torch.isfinite(result).all())
    differs(result, alone)


@comfyui_case(patch=(*FIXED, *RANDOM))
def a_patch_acts_on_what_the_reference_gives(s: Setup, patch: str) -> None:
    """In either order of the nodes."""
    before = sampled(s, s.attached(base=s.harness.patched(s.base, patch)))
    differs(before, sampled(s, s.attached()))
    after = s.harness.patched(s.attached(), patch)
    if patch != "FreeU":  # changes features before or after AdaIN, as it is attached
        same(sampled(s, after), before)


@comfyui_case(patch=(*FIXED, *RANDOM), sampler=("euler", "euler_ancestral"))
def a_patch_does_not_reach_beyond_the_target_mask(s: Setup, patch: str, sampler: str) -> None:
    model, mask = s.harness.patched(s.base, patch), disc()
    result = sampled(s, s.attached(base=model, target=mask, masks=mask), sampler=sampler)
    alone = sampled(s, model, sampler=sampler)
    beyond = (torch.nn.functional.adaptive_avg_pool2d(mask[:, None], (SIDE, SIDE)) == 0).expand_as(result)
    assert torch.equal(result[beyond], alone[beyond])
    differs(result[~beyond], alone[~beyond])


@comfyui_case(sampler=("euler_cfg_pp", "dpmpp_2m_cfg_pp", "dpmpp_2m_sde", "heun", "lcm", "uni_pc", "ddim"))
def other_samplers_stay_inside_the_target_mask(s: Setup, sampler: str) -> None:
    mask = disc()
    result, plain = (sampled(s, m, sampler=sampler) for m in (s.attached(target=mask, masks=mask), s.base))
    beyond = (torch.nn.functional.adaptive_avg_pool2d(mask[:, None], (SIDE, SIDE)) == 0).expand_as(result)
    assert torch.equal(result[beyond], plain[beyond])
    differs(result[~beyond], plain[~beyond])


@comfyui_case(patch=RANDOM)
def reading_leaves_the_random_draws_of_a_patch_as_they_are(s: Setup, patch: str) -> None:
    model = s.harness.patched(s.base, patch)
    sampled(s, model)
    after = torch.get_rng_state()
    sampled(s, s.attached(base=model))
    assert torch.equal(torch.get_rng_state(), after)


@comfyui_case
def a_step_cache_skips_steps_and_never_answers_for_the_reference(s: Setup) -> None:
    from comfy_extras.nodes_easycache import EasyCacheNode

    cached = EasyCacheNode.execute(s.base, 100.0, 0.0, 1.0, False)[0]  # skips every step that it may
    features = new_cache()
    # One picture and one side of guidance: with more, ComfyUI 0.3.64's cache fails by itself.
    alone = {"cfg": 1.0, "noise": s.noise[:1]}
    result = sampled(s, s.attached(base=cached, cache=features), **alone)
    exact = sampled(s, s.attached(), **alone)
    differs(result, exact)
    differs(result, sampled(s, cached, **alone))
    same(sampled(s, s.attached(cache=features), **alone), exact)


@comfyui_case
def features_that_were_never_computed_are_not_kept(s: Setup) -> None:
    def skip(executor: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return torch.zeros_like(x)

    skipping = s.base.clone()
    skipping.add_wrapper_with_key("diffusion_model", "skip", skip)
    features = new_cache()
    result = sampled(s, s.attached(base=skipping, cache=features))
    assert torch.equal(result, sampled(s, skipping)) and len(features) == 0
    same(sampled(s, s.attached(cache=features)), sampled(s, s.attached()))
