"""Rows of a model call: which side of guidance they are, what they are conditioned on, what a reference row gets."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..algorithms.reference.bank import digest
from .config import CONCAT_CHANNELS, Reference

Area = tuple[int, int, int, int]
Conds = Mapping[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Call:
    """What one evaluation of the conditionings says of the rows that follow.

    Attributes:
        unconditional: for each conditioning, by its index, whether it is the unconditional side.
        areas: (index, uuid) of a conditioning with an area -> height, width, top, left in latent cells.
        reads: whether references are read at all.
    """

    unconditional: tuple[bool, ...]
    areas: dict[tuple[int, Any], Area] = field(default_factory=dict)
    reads: bool = True


@dataclass(frozen=True)
class Context:
    """The prompt side of a reference row: context, vector conditioning, and whether it edits an image."""

    index: int
    context: torch.Tensor | None
    vector: torch.Tensor | None
    edits: bool

    key: Hashable = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", (digest(self.context), digest(self.vector), self.edits))


@dataclass(frozen=True)
class Job:
    """One row of a reference pass."""

    reference: Reference
    sigma: float
    context: Context
    key: Hashable


def describe(conds: Sequence[list[dict[str, Any]] | None], known: Conds, height: int, width: int) -> Call:
    """Tell the sides of guidance apart, by identity with the guider's lists and never by their order.

    Order and indices mean different things under different guiders. Lists that other extensions have rebuilt are
    recognised by the id of their first entry; what remains unknown counts as conditional, as in the original.

    Args:
        conds: the conditionings of this evaluation.
        known: the guider's conditionings by role.
        height, width: of the latent, in cells.
    """
    areas: dict[tuple[int, Any], Area] = {}
    for index, entries in enumerate(conds):
        for entry in entries or ():
            if "area" in entry and len(entry["area"]) == 4:
                tall, wide, top, left = (int(value) for value in entry["area"])
                areas[(index, entry.get("uuid"))] = (min(height - top, tall), min(width - left, wide), top, left)
    return Call(tuple(is_unconditional(entries, known) for entries in conds), areas)


def is_unconditional(entries: list[dict[str, Any]] | None, known: Conds) -> bool:
    """Whether a list of conditions is the negative side."""
    if not entries:
        return False
    role = next((key for key, value in known.items() if value is entries), None)
    if role is None:
        first = entries[0].get("uuid", object())
        role = next((key for key, value in known.items() if value and value[0].get("uuid") == first), None)
    # Guiders with more sides mark the negative ones by prompt type: DualCFG's middle, Perp-Neg's empty one.
    return role == "negative" or any(entry.get("prompt_type") == "negative" for entry in entries)


def shared_context(known: Conds, device: torch.device, concat: torch.Tensor | None, index: int) -> Context:
    """The context of the first positive conditioning, for features that both sides share."""
    positive = next((entries for entries in known.values() if entries and not is_unconditional(entries, known)), None)
    if positive is None:
        raise ValueError("shared reference context: the guider has no positive conditioning; choose exact contexts")
    parts = positive[0]["model_conds"]

    def value(name: str) -> torch.Tensor | None:
        part = parts.get(name)
        return None if part is None else part.cond[:1].to(device)

    return Context(index, value("c_crossattn"), value("y"), edits(concat))


def edits(concat: torch.Tensor | None) -> bool:
    """Whether the rows carry an image to edit: pix2pix's unconditional rows concatenate zeros instead."""
    return concat is not None and concat.shape[1] == CONCAT_CHANNELS[8] and bool((concat != 0).any())


def concat_row(job: Job, c_concat: torch.Tensor) -> torch.Tensor:
    """What a reference row concatenates: nothing masked and itself (inpainting), itself or zeros (pix2pix)."""
    latent = job.reference.latent
    if c_concat.shape[1] == CONCAT_CHANNELS[9]:
        return torch.cat([torch.zeros_like(latent[:, :1]), latent], dim=1)
    if c_concat.shape[1] == CONCAT_CHANNELS[8]:
        return job.reference.raw_latent if job.context.edits else torch.zeros_like(latent)
    raise ValueError(
        f"this model concatenates {c_concat.shape[1]} channels to the latent; a reference is known for 5 (inpainting) "
        "and 4 (pix2pix)"
    )


def first_rows(value: Any, rows: int, wanted: int) -> Any:
    """A model argument for `wanted` reference rows: per-row tensors give their first row, the rest stays."""
    if isinstance(value, torch.Tensor) and value.dim() > 0 and value.shape[0] == rows:
        return value[:1].expand(wanted, *value.shape[1:])
    return value


def equal_runs(start: int, count: int, tensors: Iterable[Any]) -> list[slice]:
    """Split `count` rows from `start` where a per-row tensor changes (a batch of different prompts)."""
    cuts = {0, count}
    for tensor in tensors:
        if isinstance(tensor, torch.Tensor) and tensor.shape[0] >= start + count and count > 1:
            part = tensor[start : start + count].flatten(1)
            changed = (part[1:] != part[:-1]).any(dim=1).nonzero().flatten().tolist()
            cuts.update(int(place) + 1 for place in changed)
    edges = sorted(cuts)
    return [slice(start + a, start + b) for a, b in itertools.pairwise(edges)]
