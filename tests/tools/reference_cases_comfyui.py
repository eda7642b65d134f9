"""What only ComfyUI has and reference-only must work beside: ControlNets, LoRAs as hooks, attention precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from reference_harness import SD2
from reference_setup import PARITY, SIDE, Setup, comfyui_case, differs, disc, new_cache, randn, same

STEP = (3.0, 0.0)


# ControlNet --------------------------------------------------------------------------------------------------------


def controlled(s: Setup, sides: str) -> dict[str, list[Any]]:
    """Conditionings with a ControlNet on the positive one or on both, as its apply nodes leave them."""
    control = s.harness.control_net(randn(1, 3, SIDE * 8, SIDE * 8, seed=24).sigmoid())
    with_control = {"control": control, "control_apply_to_uncond": False}
    return {
        "positive": [[s.positive, with_control]],
        "negative": [[s.negative, with_control if sides == "both" else {}]],
    }


@dataclass
class Seen:
    """One model call as the guider made it, and its result."""

    x: torch.Tensor
    context: torch.Tensor
    control: dict[str, list[torch.Tensor]] | None
    indices: list[int]
    result: torch.Tensor


def watched(base: Any) -> tuple[Any, list[Seen]]:
    """A clone of a model that notes its calls; passes over references lie further inside and are not seen."""
    calls: list[Seen] = []

    def look(
        executor: Any, x: Any, t: Any, c_concat: Any, context: Any, control: Any, options: Any, **kwargs: Any
    ) -> Any:
        kept = None if control is None else {name: list(parts) for name, parts in control.items()}
        result = executor(x, t, c_concat, context, control, options, **kwargs)
        calls.append(Seen(x.clone(), context, kept, list(options["cond_or_uncond"]), result.clone()))
        return result

    clone = base.clone()
    clone.add_wrapper_with_key("apply_model", "look", look)
    return clone, calls


@comfyui_case(sides=("positive", "both"), fidelity=(0.3, 1.0))
def parity_beside_a_controlnet(s: Setup, sides: str, fidelity: float) -> None:
    model, calls = watched(s.base)
    settings = {"mode": "reference_only", "style_fidelity": fidelity}
    s.sample(s.attached(base=model, **settings), conds=controlled(s, sides), sigmas=STEP)
    sigma = STEP[0]
    unit = s.unit(sigmas=STEP, mode="reference_only", fidelity=fidelity)
    assert sum(len(call.indices) for call in calls) == 2
    for call in calls:
        uncond = torch.tensor(call.indices).repeat_interleave(call.x.shape[0] // len(call.indices)) == 1
        assert (call.control is None) == (sides == "positive" and bool(uncond.all()))
        rows, t = call.x / (1 + sigma**2) ** 0.5, torch.full((call.x.shape[0],), s.timesteps(STEP)[0])
        eps = s.oracle.two_pass(rows, t, call.context, uncond, [unit], 0, 1, 1 / (1 + sigma**2), control=call.control)
        same(call.result, call.x - sigma * eps, PARITY)


@comfyui_case(sides=("positive", "both"))
def strength_zero_equals_the_controlnet_alone(s: Setup, sides: str) -> None:
    conds = controlled(s, sides)
    alone = s.sample(s.base, conds=conds)
    assert torch.equal(s.sample(s.attached(strength=0.0), conds=conds), alone)
    differs(s.sample(s.attached(), conds=conds), alone)
    differs(alone, s.plain)


@comfyui_case
def changes_beside_a_controlnet_stay_inside_the_target_mask(s: Setup) -> None:
    conds, mask = controlled(s, "both"), disc()
    result, alone = s.sample(s.attached(target=mask, masks=mask), conds=conds), s.sample(s.base, conds=conds)
    beyond = (torch.nn.functional.adaptive_avg_pool2d(mask[:, None], (SIDE, SIDE)) == 0).expand_as(result)
    assert torch.equal(result[beyond], alone[beyond])
    differs(result[~beyond], alone[~beyond])


@comfyui_case
def a_batch_beside_a_controlnet_equals_batches_of_one(s: Setup) -> None:
    conds = controlled(s, "positive")
    together = s.sample(s.attached(), conds=conds)
    for row in range(2):
        same(s.sample(s.attached(), conds=conds, noise=s.noise[row : row + 1]), together[row : row + 1])


@comfyui_case
def a_controlnet_does_not_change_the_features(s: Setup) -> None:
    cache = new_cache()
    model = s.attached(cache=cache)
    s.sample(model)
    misses = cache.misses
    s.sample(model, conds=controlled(s, "both"))
    assert cache.misses == misses


# LoRAs as hooks ----------------------------------------------------------------------------------------------------


def hooked(s: Setup, positive: Any, negative: Any) -> dict[str, list[Any]]:
    """The same prompt on both sides, with hooks of their own."""
    return {"positive": [[s.positive, {"hooks": positive}]], "negative": [[s.positive, {"hooks": negative}]]}


@comfyui_case
def hooks_of_two_strengths_read_with_each_its_own_features(s: Setup) -> None:
    strengths = (1.0, 0.3)
    conds = hooked(s, *(s.harness.lora_hooks(s.base, strength) for strength in strengths))
    settings: dict[str, Any] = {"control_mode": "My prompt is more important"}  # both sides read alike
    result = s.sample(s.attached(cache=new_cache(), **settings), conds=conds, sigmas=STEP)
    same_prompt = {"positive": [[s.positive, {}]], "negative": [[s.positive, {}]]}
    positive, negative = (
        s.sample(
            s.attached(base=s.harness.with_adapter(s.base, one), **settings), conds=same_prompt, cfg=1.0, sigmas=STEP
        )
        for one in strengths
    )
    differs(positive, negative)
    same(result, negative + 5.0 * (positive - negative), PARITY)


@comfyui_case
def a_hook_set_to_another_strength_finds_no_old_features(s: Setup) -> None:
    cache = new_cache()
    full, weak = (s.harness.lora_hooks(s.base, strength) for strength in (1.0, 0.3))
    first = s.sample(s.attached(cache=cache), conds=hooked(s, full, full))
    again = s.sample(s.attached(cache=cache), conds=hooked(s, weak, weak))
    same(again, s.sample(s.attached(), conds=hooked(s, weak, weak)))
    differs(again, first)
    # And the model without hooks does not find theirs.
    same(s.sample(s.attached(cache=cache)), s.sample(s.attached()))


@comfyui_case(hold=(True, False))
def a_scheduled_lora_follows_its_schedule(s: Setup, hold: bool) -> None:
    """Holding samples twice: the second run must start at the schedule's beginning, with the weights of then."""
    scheduled = s.harness.lora_hooks(s.base, 1.0, keyframes=((0.0, 1.0), (0.5, 0.1)))
    full, weak = s.harness.lora_hooks(s.base, 1.0), s.harness.lora_hooks(s.base, 0.1)
    parts = [[s.positive, {"hooks": full, "end_percent": 0.5}], [s.positive, {"hooks": weak, "start_percent": 0.5}]]
    conds = {"positive": [[s.positive, {"hooks": scheduled}]], "negative": [[s.negative, {}]]}
    in_parts = {"positive": parts, "negative": [[s.negative, {}]]}
    mask = torch.ones(1, SIDE, SIDE)
    mask[..., :2, :2] = 0.0
    settings = {"target": mask, "hold": hold}
    expected = s.sample(s.attached(**settings), conds=in_parts)
    same(s.sample(s.attached(**settings), conds=conds), expected)
    differs(expected, s.sample(s.attached(**settings), conds={**in_parts, "positive": [[s.positive, {"hooks": weak}]]}))


# Attention precision -----------------------------------------------------------------------------------------------


@comfyui_case
def the_precision_that_a_model_asks_of_attention_is_handed_on(s: Setup) -> None:
    s = s.on(SD2)
    asked: list[Any] = []

    def override(function: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(kwargs.get("attn_precision"))
        return function(*args, **kwargs)

    model = s.base.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = override
    s.sample(s.attached(base=model, strength=0.5), sigmas=STEP)
    assert asked and all(precision == torch.float32 for precision in asked), set(asked)
