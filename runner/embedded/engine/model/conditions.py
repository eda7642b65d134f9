"""Conditions: what a text, mask or picture asks of the model, prepared for one run and evaluated in batches.

A CONDITIONING is a list of [text tokens [1, tokens, width], options]. For a run it becomes a list of dictionaries, one
a condition, with `model_conds` (what the network gets), area, mask, strength and noise range. `calc_cond_batch`
evaluates several such lists at once. Semantics of ComfyUI v0.3.64.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ...core_nodes.resize import repeat_to_batch, resized
from .patching import call_wrapped, copied, merged

Condition = dict[str, Any]
Area = tuple[int, int, int, int]  # height, width, top, left in latent cells
#: Longest padding of a shorter text, as a multiple, for two texts to share a batch.
MAX_TEXT_PADDING = 4
#: Cells over which the border of an area without a mask fades.
AREA_FADE = 8


class RegularCond:
    """A tensor with one row a picture."""

    def __init__(self, cond: torch.Tensor) -> None:
        self.cond = cond

    def process_cond(self, batch_size: int, area: Area | None = None, **_: Any) -> Any:
        """The same for a batch of this size."""
        return type(self)(repeat_to_batch(self.cond, batch_size))

    def can_concat(self, other: Any) -> bool:
        """Whether both may be rows of one batch."""
        return bool(self.cond.shape == other.cond.shape)

    def concat(self, others: list[Any]) -> torch.Tensor:
        """Rows of all, in order."""
        return torch.cat([self.cond, *(other.cond for other in others)])


class NoiseShapeCond(RegularCond):
    """Channels beside the noisy latent: cut with the area."""

    def process_cond(self, batch_size: int, area: Area | None = None, **_: Any) -> Any:
        cond = self.cond
        if area is not None:
            cond = cond[..., area[2] : area[2] + area[0], area[3] : area[3] + area[1]]
        return type(self)(repeat_to_batch(cond, batch_size))


class CrossAttentionCond(RegularCond):
    """Text tokens: texts of different length share a batch by repeating, which does not change attention."""

    def can_concat(self, other: Any) -> bool:
        a, b = self.cond.shape, other.cond.shape
        if a == b:
            return True
        longest = math.lcm(a[1], b[1])
        return a[0] == b[0] and a[2] == b[2] and longest // min(a[1], b[1]) <= MAX_TEXT_PADDING

    def concat(self, others: list[Any]) -> torch.Tensor:
        conds = [self.cond, *(other.cond for other in others)]
        longest = math.lcm(*(c.shape[1] for c in conds))
        return torch.cat([c.repeat(1, longest // c.shape[1], 1) for c in conds])


def converted(conditioning: list[Any]) -> list[Condition]:
    """A CONDITIONING as the dictionaries that a run works with."""
    result = []
    for text, options in conditioning:
        condition = dict(options)
        if text is not None:
            condition["cross_attn"] = text
        condition["model_conds"] = dict(options.get("model_conds", {}))
        condition["uuid"] = uuid.uuid4()
        result.append(condition)
    return result


# --- before sampling -------------------------------------------------------------------------------------------------


def processed(
    model: Any,
    noise: torch.Tensor,
    conds: Mapping[str, list[Condition]],
    device: torch.device,
    latent_image: torch.Tensor | None = None,
    denoise_mask: torch.Tensor | None = None,
    seed: int | None = None,
) -> dict[str, list[Condition]]:
    """Conditions with areas in cells, masks at latent size, noise ranges in sigma and the network's inputs."""
    result: dict[str, list[Condition]] = {}
    for role, conditions in conds.items():
        result[role] = [_placed(c, noise.shape, device) for c in conditions]
        for condition in result[role]:
            for edge in ("start", "end"):
                if f"{edge}_percent" in condition:
                    percent = condition[f"{edge}_percent"]
                    condition[f"timestep_{edge}"] = model.model_sampling.percent_to_sigma(percent)
            given = {"latent_image": latent_image, "denoise_mask": denoise_mask, "seed": seed, **condition}
            given.update(device=device, noise=noise, prompt_type=condition.get("prompt_type", role))
            condition["model_conds"] = {**condition["model_conds"], **model.extra_conds(**given)}
    for role, conditions in list(result.items()):
        for condition in list(conditions):
            for other in result:
                if other != role:
                    _add_same_area(result[other], condition)
    for role in result:
        for condition in result[role]:
            if "control" in condition:
                condition["control"].pre_run(model, model.model_sampling.percent_to_sigma)
    _share_control(result)
    return result


def _placed(condition: Condition, shape: torch.Size, device: torch.device) -> Condition:
    condition = dict(condition)
    height, width = shape[2:]
    area = condition.get("area")
    if area is not None and area[0] == "percentage":
        h, w, y, x = area[1:]
        condition["area"] = (max(1, round(h * height)), max(1, round(w * width)), round(y * height), round(x * width))
    if "mask" in condition:
        mask = condition["mask"].to(device)
        if mask.ndim == 2:
            mask = mask[None]
        if mask.shape[1:] != shape[2:]:
            mask = resized(mask[:, None], width, height, "bilinear")[:, 0]
        if condition.get("set_area_to_bounds"):
            condition["area"] = _bounds(mask)
        condition["mask"] = mask
    return condition


def _bounds(mask: torch.Tensor) -> Area:
    rows, columns = torch.where(mask.abs().amax(dim=0) != 0)
    if not len(rows):
        return 8, 8, 0, 0
    top, left = int(rows.min()), int(columns.min())
    return max(8, int(rows.max()) - top + 1), max(8, int(columns.max()) - left + 1), top, left


def _add_same_area(conditions: list[Condition], like: Condition) -> None:
    """Gives the other side a condition with this one's area, so that guidance compares like with like."""
    if "area" not in like:
        return
    h, w, y, x = like["area"]
    best: Condition | None = None
    for condition in conditions:
        if "area" not in condition:
            best = condition if best is None else best
            continue
        ah, aw, ay, ax = condition["area"]
        if y < ay or x < ax or y + h > ay + ah or x + w > ax + aw:
            continue
        if best is None or "area" not in best or best["area"][0] * best["area"][1] > ah * aw:
            best = condition
    if best is None or best.get("area") == like["area"]:
        return
    conditions.append({**like, "model_conds": dict(best["model_conds"])})


def _share_control(conds: Mapping[str, list[Condition]]) -> None:
    """A ControlNet that is set on the positive side and meant for both is set on the others too."""
    positive = [c for c in conds.get("positive", []) if c.get("control_apply_to_uncond") and "area" not in c]
    controls = [c["control"] for c in positive if c.get("control") is not None]
    for role, conditions in conds.items():
        plain = [i for i, c in enumerate(conditions) if "area" not in c]
        if role == "positive" or not plain or any(conditions[i].get("control") is not None for i in plain):
            continue
        for n, control in enumerate(controls):
            index = plain[n % len(plain)]
            shared = {**conditions[index], "control": control}
            if conditions[index].get("control") is not None:
                conditions.append(shared)
            else:
                conditions[index] = shared


# --- at each step ----------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Job:
    """One condition, ready to run: the part of the latent it sees and how much its answer counts there."""

    input_x: torch.Tensor
    weight: torch.Tensor
    conds: dict[str, Any]
    area: Area | None
    control: Any
    uuid: Any
    index: int

    def fits(self, other: _Job) -> bool:
        """Whether both can be rows of one batch."""
        if self.input_x.shape != other.input_x.shape or self.control is not other.control:
            return False
        if self.conds.keys() != other.conds.keys():
            return False
        return all(self.conds[k].can_concat(other.conds[k]) for k in self.conds)


def _job(condition: Condition, x: torch.Tensor, sigma: torch.Tensor, index: int) -> _Job | None:
    """None where the condition's noise range excludes this sigma."""
    if sigma[0] > condition.get("timestep_start", math.inf) or sigma[0] < condition.get("timestep_end", -math.inf):
        return None
    area, strength = condition.get("area"), condition.get("strength", 1.0)
    part = x
    if area is not None:
        height, width, top, left = area
        area = (min(x.shape[2] - top, height), min(x.shape[3] - left, width), top, left)
        part = _cut(x, area)
    if "mask" in condition:
        mask = condition["mask"][: part.shape[0]]
        mask = (mask if area is None else _cut(mask, area)) * condition.get("mask_strength", 1.0)
        weight = mask[:, None].repeat(part.shape[0] // mask.shape[0], part.shape[1], 1, 1) * strength
    else:
        weight = torch.ones_like(part) * strength
        if area is not None:
            _fade(weight, area, x.shape)
    conds = {k: c.process_cond(batch_size=x.shape[0], area=area) for k, c in condition["model_conds"].items()}
    return _Job(part, weight, conds, area, condition.get("control"), condition["uuid"], index)


def _cut(x: torch.Tensor, area: Area) -> torch.Tensor:
    height, width, top, left = area
    return x[..., top : top + height, left : left + width]


def _fade(weight: torch.Tensor, area: Area, shape: torch.Size) -> None:
    for axis in (2, 3):
        size, start = area[axis - 2], area[axis]
        steps = min(AREA_FADE, weight.shape[axis] // 4)
        for t in range(steps):
            if start != 0:
                weight.narrow(axis, t, 1).mul_((t + 1) / steps)
            if size + start < shape[axis]:
                weight.narrow(axis, size - 1 - t, 1).mul_((t + 1) / steps)


def calc_cond_batch(
    model: Any, conds: list[list[Condition] | None], x: torch.Tensor, sigma: torch.Tensor, model_options: dict[str, Any]
) -> list[torch.Tensor]:
    """The clean latent that each list of conditions asks for at x (weighted mean over its conditions).

    Goes through the `calc_cond_batch` wrappers. A list that is None gives zeros.
    """
    options = model_options.get("transformer_options", {})
    result: list[torch.Tensor] = call_wrapped(
        "calc_cond_batch", _calc_cond_batch, None, options, model, conds, x, sigma, model_options
    )
    return result


def _calc_cond_batch(
    model: Any, conds: list[list[Condition] | None], x: torch.Tensor, sigma: torch.Tensor, model_options: dict[str, Any]
) -> list[torch.Tensor]:
    sums = [torch.zeros_like(x) for _ in conds]
    # Not zero, so that a cell that no condition covers gives 0 and not NaN.
    weights = [torch.full_like(x, 1e-37) for _ in conds]
    waiting = [
        job
        for index, conditions in enumerate(conds)
        for condition in conditions or ()
        if (job := _job(condition, x, sigma, index)) is not None
    ]
    while waiting:
        first = waiting[0]
        # The last condition comes first in a batch: patches that look at `cond_or_uncond` see [1, 0].
        batch = [job for job in reversed(waiting) if job.fits(first)]
        waiting = [job for job in waiting if job not in batch]
        for job, output in zip(batch, _run(model, batch, sigma, model_options), strict=True):
            total, weight = sums[job.index], weights[job.index]
            if job.area is not None:
                total, weight = _cut(total, job.area), _cut(weight, job.area)
            total += output * job.weight
            weight += job.weight
    return [total / weight for total, weight in zip(sums, weights, strict=True)]


def _run(model: Any, batch: list[_Job], sigma: torch.Tensor, model_options: dict[str, Any]) -> tuple[torch.Tensor, ...]:
    x = torch.cat([job.input_x for job in batch])
    timestep = torch.cat([sigma] * len(batch))
    c: dict[str, Any] = {}
    for key, cond in batch[0].conds.items():
        c[key] = cond.concat([job.conds[key] for job in batch[1:]])
    roles = [job.index for job in batch]
    options = merged({}, model_options.get("transformer_options", {}))
    options.update(cond_or_uncond=roles, uuids=[job.uuid for job in batch], sigmas=sigma)
    c["transformer_options"] = options
    if batch[0].control is not None:
        c["control"] = batch[0].control.get_control(x, timestep, c, len(batch), options)
    wrapper: Callable[..., torch.Tensor] | None = model_options.get("model_function_wrapper")
    if wrapper is not None:
        arguments = {"input": x, "timestep": timestep, "c": c, "cond_or_uncond": roles}
        return wrapper(model.apply_model, arguments).chunk(len(batch))
    output: torch.Tensor = model.apply_model(x, timestep, **c)
    return output.chunk(len(batch))


def options_copy(model_options: dict[str, Any]) -> dict[str, Any]:
    """Model options that a run may change."""
    return copied(model_options)
