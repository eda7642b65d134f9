"""Batches, branches, interruptions and other extensions do not disturb each other; bad input is refused."""

from __future__ import annotations

from typing import Any

import torch
from reference_setup import SIDE, Setup, case, disc, new_cache, randn, same


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
    settings = {"style_fidelity": 0.3, "strength": 0.7, "target": disc(), "hold": False}
    same(s.sample(s.attached(base=model, **settings)), s.sample(s.attached(**settings)))
    assert calls or s.harness.name == "embedded"


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
