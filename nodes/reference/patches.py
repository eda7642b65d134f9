"""The patches through which reference features leave and enter a UNet, put into the options of one model call.

Nothing is left on the model: each call gets its own copy of the options, in which self-attention is replaced (an
existing replacement is kept and called for the plain part) and block patches come before those of other extensions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from .. import host
from ..algorithms.reference import adain
from ..algorithms.reference.attention import (
    Attend,
    ReferenceTokens,
    RowGroup,
    covered_tokens,
    has_lse,
    read_references,
    token_grid,
)
from ..algorithms.reference.bank import Bank, LayerKey, Pair, PointKey
from .config import Reference

AttentionPatch = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, dict[str, Any]], torch.Tensor]

_LAYOUT_CHANGED = (
    "reference-only: another extension changes the token layout of a self-attention layer (HyperTile, token merging); "
    "the reference is not read there"
)


#: Wrappers (under ComfyUI's names) that answer a model call with an earlier one's result; a reference pass is none of
#: the picture's calls, so it must neither be answered like that nor be remembered.
_STEP_CACHES = frozenset({"easycache"})


@dataclass(frozen=True)
class Reader:
    """Rows that read one reference's bank; `target` is ``[1 or rows, h, w]`` at latent resolution or None."""

    rows: slice
    unconditional: bool
    reference: Reference
    bank: Bank
    target: torch.Tensor | None


@dataclass
class Plan:
    """Who reads what in one model call of `rows` rows on a height x width latent."""

    rows: int
    height: int
    width: int
    warn: Callable[[str], None]
    readers: list[Reader] = field(default_factory=list)

    def by_rows(self, key: LayerKey | PointKey, attention: bool) -> list[tuple[slice, float, list[Reader]]]:
        """Rows, share of the reading result, and readers that have features for `key`."""
        groups: dict[tuple[int, int], list[Reader]] = {}
        for reader in self.readers:
            if key in (reader.bank.tokens if attention else reader.bank.moments):
                groups.setdefault((reader.rows.start, reader.rows.stop), []).append(reader)
        result = []
        for (start, stop), readers in groups.items():
            # Style fidelity counts for the unconditional side alone; several references average theirs.
            fidelity = sum(reader.reference.fidelity for reader in readers) / len(readers)
            share = 1.0 - fidelity if readers[0].unconditional else 1.0
            if share > 0.0:
                result.append((slice(start, stop), share, readers))
        return result


class Written:
    """Features taken from one reference pass; `jobs` holds the reference of each row."""

    class Complete(Exception):
        """Raised inside the pass when everything wanted is there."""

        def __init__(self, written: Written) -> None:
            super().__init__("all reference features are taken")
            self.written = written

    def __init__(self, jobs: list[Reference], height: int, width: int) -> None:
        self.jobs = jobs
        self.height, self.width = height, width
        self.warn: Callable[[str], None] = lambda message: None
        self._tokens: list[dict[LayerKey, Pair]] = [{} for _ in jobs]
        self._moments: list[dict[PointKey, Pair]] = [{} for _ in jobs]
        self.layers = {layer.key for reference in jobs for layer in reference.layers}
        self.points = {point.key for reference in jobs for point in reference.points}
        self._left: set[Any] = {*self.layers, *self.points}

    def _done(self, key: Any) -> None:
        self._left.discard(key)
        if not self._left:
            raise Written.Complete(self)

    @property
    def complete(self) -> bool:
        """Whether everything wanted was met on the way."""
        return not self._left

    def take_tokens(self, key: LayerKey, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
        """Keep keys and values of the rows whose reference wants this layer, under their masks."""
        grid = token_grid(k.shape[1], self.height, self.width)
        if k.shape[0] != len(self.jobs) or q.shape[1] != k.shape[1] or grid is None:
            self.warn(_LAYOUT_CHANGED)
        else:
            for row, reference in enumerate(self.jobs):
                if any(layer.key == key for layer in reference.layers):
                    pair = (k[row : row + 1], v[row : row + 1])
                    if reference.mask is not None:
                        places = covered_tokens(adain.resize_mask(reference.mask.unsqueeze(0), *grid)[0]).to(k.device)
                        pair = (pair[0][:, places], pair[1][:, places])
                    else:
                        # A view would keep all rows alive, and memory that the next call writes to again.
                        pair = (pair[0].clone(), pair[1].clone())
                    self._tokens[row][key] = pair
        self._done(key)

    def take_moments(self, key: PointKey, h: torch.Tensor) -> None:
        """Keep mean and variance of the rows whose reference wants this point, over their masks."""
        for row, reference in enumerate(self.jobs):
            if any(point.key == key for point in reference.points):
                weight = None
                if reference.mask is not None:
                    weight = adain.resize_mask(reference.mask[None], *h.shape[-2:]).unsqueeze(1).to(h)
                self._moments[row][key] = adain.statistics(h[row : row + 1], weight)
        self._done(key)

    def banks(self) -> list[Bank]:
        """One bank for each row."""
        return [Bank(tokens, moments) for tokens, moments in zip(self._tokens, self._moments, strict=True)]


def _previous(options: dict[str, Any], key: LayerKey) -> AttentionPatch | None:
    """A replacement that another extension has set for this layer, or for its whole block."""
    existing = options.get("patches_replace", {}).get("attn1", {})
    found: AttentionPatch | None = existing.get(key, existing.get(key[:2]))
    return found


def _patched(
    options: dict[str, Any],
    attention: dict[LayerKey, AttentionPatch],
    input_patch: Callable[..., Any] | None,
    output_patch: Callable[..., Any] | None,
) -> dict[str, Any]:
    """A copy of the options with our patches in front; nothing of the original is changed."""
    replaced = dict(options.get("patches_replace", {}))
    replaced["attn1"] = {**replaced.get("attn1", {}), **attention}
    patches = dict(options.get("patches", {}))
    for name, patch in (("input_block_patch", input_patch), ("output_block_patch", output_patch)):
        if patch is not None:
            patches[name] = [patch, *patches.get(name, [])]
    return {**options, "patches_replace": replaced, "patches": patches}


def _output_point(number: int) -> PointKey:
    """Whose output an output block's patch is handed: the block before it, or the middle block."""
    return ("middle", 0) if number == 0 else ("output", number - 1)


def writing_options(
    options: dict[str, Any], written: Written, indices: list[int], sigmas: torch.Tensor
) -> dict[str, Any]:
    """Options of a reference pass that fills `written`; rows stand for the conditionings `indices`."""

    def attention(key: LayerKey) -> AttentionPatch:
        previous = _previous(options, key)

        def patch(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, extra: dict[str, Any]) -> torch.Tensor:
            with host.current().unrecorded():
                written.take_tokens(key, q, k, v)
            if previous is not None:
                return previous(q, k, v, extra)
            return host.current().attention(q, k, v, extra["n_heads"], extra)

        return patch

    def input_patch(h: torch.Tensor, extra: dict[str, Any]) -> torch.Tensor:
        if tuple(extra["block"]) in written.points:
            with host.current().unrecorded():
                written.take_moments(tuple(extra["block"]), h)
        return h

    def output_patch(h: torch.Tensor, skip: torch.Tensor, extra: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        point = _output_point(extra["block"][1])
        if point in written.points:
            with host.current().unrecorded():
                written.take_moments(point, h)
        return h, skip

    own = dict(options)
    own["cond_or_uncond"] = indices
    own["uuids"] = [None] * len(indices)
    own["sigmas"] = sigmas
    if "patches" in own:
        # GLIGEN's boxes lie in the generated picture and are sized for its batch.
        own["patches"] = {name: value for name, value in own["patches"].items() if name != "middle_patch"}
    if "wrappers" in own:
        own["wrappers"] = {
            kind: {key: functions for key, functions in named.items() if key not in _STEP_CACHES}
            for kind, named in own["wrappers"].items()
        }
    return _patched(own, {key: attention(key) for key in written.layers}, input_patch, output_patch)


def _attend(extra: dict[str, Any], q: torch.Tensor) -> Attend | None:
    """The host's attention where it must be used: no kernel with a log-sum-exp, or an override asks for it."""
    if has_lse(q) and "optimized_attention_override" not in extra:
        return None

    def attend(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, bias: torch.Tensor | None
    ) -> torch.Tensor:
        return host.current().attention(q, k, v, heads, extra, bias)

    return attend


def reading_options(options: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """Options of a model call whose rows read references as `plan` says."""
    layers = {key for reader in plan.readers for key in reader.bank.tokens}
    points = {key for reader in plan.readers for key in reader.bank.moments}
    attention = {}
    for key in layers:
        if groups := plan.by_rows(key, attention=True):
            attention[key] = _reading_attention(plan, key, groups, _previous(options, key))
    adapted = {key: groups for key in points if (groups := plan.by_rows(key, attention=False))}

    def input_patch(h: torch.Tensor, extra: dict[str, Any]) -> torch.Tensor:
        groups = adapted.get(tuple(extra["block"]))
        return h if groups is None else _adapt(h, tuple(extra["block"]), groups)

    def output_patch(h: torch.Tensor, skip: torch.Tensor, extra: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        point = _output_point(extra["block"][1])
        groups = adapted.get(point)
        return (h if groups is None else _adapt(h, point, groups)), skip

    return _patched(options, attention, input_patch if adapted else None, output_patch if adapted else None)


def _reading_attention(
    plan: Plan, key: LayerKey, groups: list[tuple[slice, float, list[Reader]]], previous: AttentionPatch | None
) -> AttentionPatch:
    def patch(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, extra: dict[str, Any]) -> torch.Tensor:
        grid = token_grid(q.shape[1], plan.height, plan.width)
        attend = _attend(extra, q)
        if q.shape[0] != plan.rows or grid is None:
            plan.warn(_LAYOUT_CHANGED)
            if previous is not None:
                return previous(q, k, v, extra)
            return host.current().attention(q, k, v, extra["n_heads"], extra)
        row_groups = [
            RowGroup(
                rows,
                share,
                tuple(
                    ReferenceTokens(
                        *reader.bank.tokens[key],
                        strength=reader.reference.strength,
                        target=None if reader.target is None else adain.resize_mask(reader.target, *grid).flatten(1),
                    )
                    for reader in readers
                ),
            )
            for rows, share, readers in groups
        ]
        plain = None if previous is None else previous(q, k, v, extra)
        # How much memory reading takes changes from step to step (references begin and end), which no recording knows.
        with host.current().unrecorded():
            return read_references(q, k, v, extra["n_heads"], row_groups, attend, plain)

    return patch


def _adapt(h: torch.Tensor, key: PointKey, groups: list[tuple[slice, float, list[Reader]]]) -> torch.Tensor:
    """AdaIN of the rows of each group towards its references."""
    with host.current().unrecorded():
        return _adapted(h, key, groups)


def _adapted(h: torch.Tensor, key: PointKey, groups: list[tuple[slice, float, list[Reader]]]) -> torch.Tensor:
    out = h.clone()
    for rows, share, readers in groups:
        by_target: dict[int | None, list[Reader]] = {}
        for reader in readers:
            by_target.setdefault(None if reader.target is None else id(reader.target), []).append(reader)
        for sharing in by_target.values():
            strengths = [reader.reference.strength for reader in sharing]
            moments = [reader.bank.moments[key] for reader in sharing]
            mean, variance = adain.average([m for m, _ in moments], [s for _, s in moments], strengths)
            target = sharing[0].target
            weight = None if target is None else adain.resize_mask(target, *h.shape[-2:]).unsqueeze(1).to(h)
            part = out[rows]
            mix = share * min(1.0, max(strengths))
            matched = adain.match(part, mean, variance, weight)
            out[rows] = torch.lerp(part, matched, mix if weight is None else (mix * weight).expand_as(part))
    return out
