"""The jobs of a plan as a sequence that computes each one when it is asked for: a million take no more memory than ten.

A job's index is a number of mixed base: draw, reference, seed, workflow with its values to vary, and last, changing
fastest, the type; without the type it is the number that its files are named after. With one reference, seed, type and
workflow that is draw x values, as plans have always been numbered.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, overload

from ...nodes.datasets.names import safe_name
from ..errors import request_error
from ..graphs.graph import Graph, by_title, canonical_hash
from ..graphs.overrides import Axis, Setting
from ..graphs.roles import DEFECT_PHOTO, GOOD_PHOTO, PART_MASK, Loader, Roles, ordered
from .ids import Hole, IdTemplate, as_json
from .job import Assignment, Input, Job
from .photos import Checked, Photo


@dataclass(frozen=True)
class Method:
    """One workflow of a plan: its graph with all that is fixed applied, and what is varied in it."""

    graph: Graph
    roles: Roles
    axes: tuple[Axis, ...] = ()
    settings: tuple[Setting, ...] = ()
    """What was fixed, for the record."""
    name: str = ""
    shared: tuple[Input, ...] = ()
    """Photos of real defects that every job reads the masks of."""

    @property
    def combos(self) -> int:
        """Combinations of the values to vary; one without any."""
        return prod(len(axis.values) for axis in self.axes)

    def combo(self, number: int) -> tuple[Setting, ...]:
        """One combination; the last axis changes fastest."""
        chosen = []
        for axis in reversed(self.axes):
            number, place = divmod(number, len(axis.values))
            chosen.append(Setting(axis.title, axis.input, axis.values[place]))
        return tuple(reversed(chosen))

    @cached_property
    def loaders(self) -> list[Loader]:
        """The source photo first: good parts, then references, then masks of parts."""
        return ordered(self.roles.loaders)

    @cached_property
    def seeds(self) -> list[tuple[str, str]]:
        """The seeds that are neither fixed nor varied."""
        taken = {(by_title(self.graph, item.title), item.input) for item in self.settings}
        taken |= {(by_title(self.graph, axis.title), axis.input) for axis in self.axes}
        return [pair for pair in self.roles.seeds if pair not in taken]


@dataclass(frozen=True)
class Place:
    """The digits of a job's index."""

    draw: int
    reference: int
    seed: int
    type: int
    method: int
    combo: int
    number: int
    """Of its type."""


@dataclass(frozen=True)
class Spread:
    """How wide a plan is in each direction, and its photos. No file has been opened yet."""

    methods: tuple[Method, ...]
    category: str
    types: tuple[str, ...]
    good: Sequence[Photo]
    defects: tuple[Sequence[Photo], ...]
    """Of each type; empty where no workflow takes a reference."""
    draws: int
    references: int = 1
    seeds: int = 1
    first_seed: int = 0
    parts: Mapping[Photo, Photo] = field(default_factory=dict)
    """Photos with the mask of their part in the place of their defect's; see `part_masks`."""
    offsets: tuple[int, ...] = field(init=False)
    """Where each workflow begins among the variants."""
    variants: int = field(init=False)

    def __post_init__(self) -> None:
        offsets, total = [], 0
        for method in self.methods:
            offsets.append(total)
            total += method.combos
        object.__setattr__(self, "offsets", tuple(offsets))
        object.__setattr__(self, "variants", total)

    def __len__(self) -> int:
        return self.draws * self.references * self.seeds * len(self.types) * self.variants

    def place(self, index: int) -> Place:
        number, type_ = divmod(index, len(self.types))
        rest, variant = divmod(number, self.variants)
        rest, seed = divmod(rest, self.seeds)
        draw, reference = divmod(rest, self.references)
        method = next(n for n in reversed(range(len(self.offsets))) if self.offsets[n] <= variant)
        return Place(draw, reference, seed, type_, method, variant - self.offsets[method], number)

    def photos(self, place: Place) -> list[Photo]:
        """Loader by loader: draws walk through the photos and start over; further loaders of one list take the next. A
        loader of part masks takes the photo of the loader that it goes with."""
        taken = {GOOD_PHOTO: 0, DEFECT_PHOTO: 0}
        photos: dict[str, Photo] = {}
        for loader in self.methods[place.method].loaders:
            if loader.source == PART_MASK:
                photo = photos[loader.of]
                photos[loader.node_id] = self.parts.get(photo, photo)
                continue
            good = loader.source == GOOD_PHOTO
            pool = self.good if good else self.defects[place.type]
            first = place.draw if good else place.draw * self.references + place.reference
            photos[loader.node_id] = pool[(first + taken[loader.source]) % len(pool)]
            taken[loader.source] += 1
        return list(photos.values())

    @property
    def _distinct(self) -> int:
        """Good and defect photos, each counted once."""
        return len(set(self.good)) + len({photo for pool in self.defects for photo in pool})

    def of_parts(self, indices: range) -> list[Photo]:
        """The photos of which these jobs read the part's mask. Stops where no more can come."""
        found: dict[Photo, None] = {}
        most = self._distinct
        for index in indices:
            place = self.place(index)
            loaders = self.methods[place.method].loaders
            for loader, photo in zip(loaders, self.photos(place), strict=True):
                if loader.source == PART_MASK:
                    found[photo] = None
            if len(found) == most:
                break
        return list(found)

    def used(self, indices: range) -> dict[Photo, None]:
        """The photos that these jobs read, in the order in which they do. Stops where all are found."""
        everything = self._distinct + len(self.parts)
        used: dict[Photo, None] = {}
        for index in indices:
            used.update(dict.fromkeys(self.photos(self.place(index))))
            if len(used) == everything:
                break
        return used


class Jobs(Sequence[Job]):
    """Some or all jobs of a spread.

    Args:
        spread: of the whole plan.
        indices: which of them, as indices of the whole plan.
        checked: every photo that they read.
    """

    def __init__(self, spread: Spread, indices: range, checked: Mapping[Photo, Checked]) -> None:
        self.spread, self.indices, self._checked = spread, indices, checked
        self._category = safe_name(spread.category)
        self._types = [safe_name(type_) for type_ in spread.types]
        self._fillers = [_Filler(method) for method in spread.methods]

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, position: int) -> Job: ...
    @overload
    def __getitem__(self, position: slice) -> Jobs: ...
    def __getitem__(self, position: int | slice) -> Job | Jobs:
        if isinstance(position, slice):
            return Jobs(self.spread, self.indices[position], self._checked)
        return self._job(self.indices[position])

    def __iter__(self) -> Iterator[Job]:
        return map(self._job, self.indices)

    @property
    def source_bytes(self) -> int:
        """Bytes of the source photos, each as often as a job reads it."""
        spread = self.spread
        return sum(self._checked[spread.photos(spread.place(index))[0]].bytes for index in self.indices)

    def fingerprint(self) -> str:
        """sha256 of what the whole plan computes from which files, by their names: equal in every shard of it."""
        spread = self.spread
        content = {
            "methods": [[canonical_hash(m.graph), [[a.title, a.input, list(a.values)] for a in m.axes]]
                        for m in spread.methods],
            "holes": self.skeletons(),
            "category": spread.category,
            "types": spread.types,
            "good": [photo.relative for photo in spread.good],
            "defects": [[photo.relative for photo in pool] for pool in spread.defects],
            "parts": [[photo.relative, [mask.name for mask in part.masks]] for photo, part in spread.parts.items()],
            "shape": [spread.draws, spread.references, spread.seeds, spread.first_seed],
        }  # fmt: skip
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8", "surrogateescape")).hexdigest()

    def skeletons(self) -> list[str]:
        return [filler.template.skeleton for filler in self._fillers]

    def _job(self, index: int) -> Job:
        spread = self.spread
        place = spread.place(index)
        filler = self._fillers[place.method]
        type_ = self._types[place.type]
        seed = spread.first_seed + place.draw * spread.seeds + place.seed
        checked = [self._checked[photo] for photo in spread.photos(place)]
        inputs, assignments = filler.loaded(checked)
        assignments = [*assignments, *((node_id, name, seed) for node_id, name in filler.seeds)]
        combo = filler.method.combo(place.combo)
        assignments += [(*hole, setting.value) for hole, setting in zip(filler.varied, combo, strict=True)]
        saver = filler.method.roles.saver
        assignments += [(saver, "category", self._category), (saver, "type", type_)]
        return Job(
            id=filler.template.id(assignments, inputs),
            index=index,
            category=self._category,
            type=type_,
            seed=seed,
            inputs=inputs,
            assignments=tuple(assignments),
            varied=combo,
            seeds=filler.seeds,
            method=place.method,
            place=place.number,
            shared=filler.method.shared,
        )


class _Filler:
    """What the jobs of one method have in common, found once."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self.seeds = tuple(method.seeds)
        self.varied: list[Hole] = [(by_title(method.graph, axis.title), axis.input) for axis in method.axes]
        self._loaders = method.loaders
        self._known: dict[tuple[int, Checked], tuple[Input, list[Assignment]]] = {}
        saver = method.roles.saver
        holes = [(loader.node_id, name) for loader in self._loaders for name in loader.inputs]
        holes += [*self.seeds, *self.varied, (saver, "category"), (saver, "type")]
        self.template = IdTemplate(method.graph, saver, holes)

    def loaded(self, photos: Sequence[Checked]) -> tuple[tuple[Input, ...], list[Assignment]]:
        inputs: list[Input] = []
        assignments: list[Assignment] = []
        for number, checked in enumerate(photos):
            key = (number, checked)
            if key not in self._known:
                item = Input(self._loaders[number].node_id, checked)
                self._known[key] = item, loader_assignments(self._loaders[number], item)
            item, values = self._known[key]
            inputs.append(item)
            assignments += values
        return tuple(inputs), assignments


def loader_assignments(loader: Loader, item: Input) -> list[Assignment]:
    values: dict[str, Any] = {
        "root": item.root, "category": item.category, "split": item.checked.photo.split, "type": item.type, "index": 0,
        "image": item.address,
    }  # fmt: skip
    return [(loader.node_id, name, values[name]) for name in loader.inputs]


def refuse_twins(jobs: Jobs) -> None:
    """Two jobs that would be the same picture are a slip of the pen.

    Most plans cannot have any, and that is seen without computing a single id; the others are compared id by id, in 16
    bytes a job.

    Raises:
        RequestError: naming the first two.
    """
    if distinct_by_construction(jobs):
        return
    first: dict[bytes, int] = {}
    for index, job in zip(jobs.indices, jobs, strict=True):
        twin = first.setdefault(bytes.fromhex(job.id[:32]), index)
        if twin != index:
            raise request_error(
                "plan.twins",
                f"jobs {twin} and {index} of the request would be the same picture",
                where=f"both read {job.source.photo.relative} with the same values",
                expected="a different photo, seed or value in every job",
                mend="lower --count, or do not fix the seed with --set",
            )


def distinct_by_construction(jobs: Jobs) -> bool:
    """True only if no two jobs can be equal, whatever the photos hold: every digit of the index changes the graph.

    The draw and the seed do through a seed that the runner sets, the type through the saver, the values to vary if each
    list has no value twice and nothing that comes later in the graph overwrites them, the workflow if its skeleton is
    its own. References may be equal pictures, so several of them for each photo are compared.
    """
    spread = jobs.spread
    if spread.references > 1 or len(set(jobs.skeletons())) > 1 or len(spread.methods) > 1:
        # Another skeleton is no proof: one workflow may vary what another one holds fixed.
        return False
    method = spread.methods[0]
    varied = [(by_title(method.graph, axis.title), axis.input) for axis in method.axes]
    if len(set(varied)) < len(varied) or set(varied) & (method.roles.places | set(method.seeds)):
        return False
    for axis in method.axes:
        if len({as_json(value) for value in axis.values}) < len(axis.values):
            return False
    return bool(method.seeds)
