"""Features are shared and kept, and never served for something else."""

from __future__ import annotations

from typing import Any

import torch
from reference_setup import SEED, SIDE, SIGMAS, Setup, case, differs, new_cache, randn, same


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
    result = s.sample(s.attached(randn(1, 4, 24, 8, seed=18) / s.shape.scale))
    assert bool(torch.isfinite(result).all())
    differs(result, s.plain)
