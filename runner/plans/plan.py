"""A request becomes jobs: photo x reference x seed x type x every workflow and combination of varied inputs.

Each job has an id that says what it makes. Equal requests give equal ids, so a second run knows what is done; a changed
request adds only what is new.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...nodes.datasets.names import GOOD, nfc, safe_name, shown
from ..errors import did_you_mean, request_error
from ..graphs.graph import Graph, canonical_hash, title_of
from ..graphs.overrides import Axis, Setting
from ..graphs.roles import LOADER, Roles
from .job import SEEDS_APART, Assignment, Input, Job
from .jobs import Jobs, Method, Spread, refuse_twins
from .part_masks import PartMasks
from .photos import Category, Checked, Photo, check_photos, summed_up

__all__ = [
    "SEEDS_APART", "Assignment", "Input", "Job", "Method", "Plan", "Selection", "check_chosen_type",
    "make_plan", "plan_of",
]  # fmt: skip

MOST_JOBS = 10_000_000


@dataclass(frozen=True)
class Plan:
    """All jobs of a request over one base graph (all static overrides applied), or over several."""

    graph: Graph
    roles: Roles
    jobs: Sequence[Job]
    settings: tuple[Setting, ...] = ()
    notes: list[str] = field(default_factory=list)
    methods: tuple[Method, ...] = ()
    """Where there are several workflows: all of them; `graph` and `roles` are the first one's."""

    @property
    def graph_sha256(self) -> str:
        return canonical_hash(self.graph)

    @property
    def keep(self) -> int:
        """Most pairs that one job gives: every job of the plan owns as many file numbers."""
        return max((method.roles.keep for method in self.methods), default=self.roles.keep)

    def described(self) -> dict[str, Any]:
        """What tells this plan from another one, whatever part of it a shard does; for the journal."""
        jobs = self.jobs
        if not isinstance(jobs, Jobs):
            return {"jobs": len(jobs)}
        return {"jobs": len(jobs.spread), "sha256": jobs.fingerprint()}

    def of_method(self, number: int) -> Plan:
        """The plan as the jobs of one workflow see it."""
        if not self.methods:
            return self
        method = self.methods[number]
        return Plan(method.graph, method.roles, self.jobs, method.settings, self.notes)


@dataclass(frozen=True)
class Selection:
    """Which photos and how many draws."""

    data: Path
    category: str | None = None
    """None: the only one there is."""
    type: str | None = None
    new_type: bool = False
    count: int | None = None
    seed: int = 0
    shard: tuple[int, int] = (0, 1)
    layout: str | None = None
    """None: found by what is there."""
    part_masks: Path | None = None
    """A folder of masks of the parts; None: the nodes find the parts."""
    types: tuple[str, ...] = ()
    """Several types, each for every draw, in place of `type`."""
    references: int = 1
    """Reference photos that every draw is done with, one after the other."""
    seeds: int = 1
    """Seeds that every draw is done with."""

    def open(self) -> Category:
        """The category to read; RequestError if there is none."""
        return Category(self.data, self.category, self.layout)


def make_plan(
    graph: Graph,
    roles: Roles,
    selection: Selection,
    axes: Sequence[Axis],
    fixed: Sequence[Setting],
    shared: tuple[Input, ...] = (),
) -> Plan:
    """Expand a request for one workflow. `graph` already has the fixed settings; they are kept for the record. `shared`
    is what every job reads besides.

    Raises:
        RequestError: as `plan_of`.
    """
    return plan_of([Method(graph, roles, tuple(axes), tuple(fixed), shared=shared)], selection)


def plan_of(methods: Sequence[Method], selection: Selection) -> Plan:
    """Expand a request for one or several workflows.

    Raises:
        RequestError: dataset, category, type, count or photos are wrong, or two jobs would be the same picture.
    """
    category = selection.open()
    spread = _spread(category, methods, selection)
    part, parts = selection.shard
    # The jobs that this shard does not do need not be read either.
    indices = range(len(spread))[part::parts]
    spread = _with_parts(spread, indices, category, selection)
    checked = check_photos(spread.used(indices))
    jobs = Jobs(spread, indices, checked)
    refuse_twins(jobs)
    notes = [*category.notes, *summed_up(checked.values())]
    for method in methods:
        notes += _core_loaders(method.graph, method.roles, checked.values())
    for type_, defects in zip(spread.types, spread.defects, strict=False):
        missing = category.without_mask(type_)
        if missing:
            notes.append(
                f"{missing} of {missing + len(defects)} photos of {shown(type_)} have no mask and are left out"
            )
    first = methods[0]
    several = tuple(methods) if len(methods) > 1 else ()
    return Plan(first.graph, first.roles, jobs, first.settings, list(dict.fromkeys(notes)), several)


def _spread(category: Category, methods: Sequence[Method], selection: Selection) -> Spread:
    types = _types(category, methods, selection)
    sources = {loader.source for method in methods for loader in method.roles.loaders}
    good = category.good_photos() if "good" in sources else []
    defects = tuple(category.defect_photos(type_) for type_ in types) if "defect" in sources else ()
    count = selection.count if selection.count is not None else len(good or defects[0])
    if count < 1:
        raise request_error("plan.count", f"--count {count}", expected="at least 1", mend="give --count 1 or more")
    _check_references(selection.references, methods, types, defects)
    _check_seeds(selection.seeds, count, methods)
    spread = Spread(
        tuple(methods), category.name, types, good, defects, count, selection.references, selection.seeds,
        selection.seed,
    )  # fmt: skip
    if len(spread) > MOST_JOBS:
        raise request_error(
            "plan.count",
            f"the plan has {len(spread)} jobs",
            expected=f"at most {MOST_JOBS} in one run",
            mend="split the work: other seeds (--seed) into other folders (--out)",
        )
    return spread


def _with_parts(spread: Spread, indices: range, category: Category, selection: Selection) -> Spread:
    """With the masks of the parts, where a workflow loads them.

    Raises:
        RequestError: no folder of masks is given, or photos have none in it.
    """
    if not any(method.roles.needs_part_masks for method in spread.methods):
        return spread
    if selection.part_masks is None:
        raise request_error(
            "request.no_part_masks",
            "the workflow loads a mask of each photo's part, and no folder of them is given",
            expected="--part-masks DIR",
            mend="add it to the command",
        )
    return replace(spread, parts=PartMasks(selection.part_masks, category).of(spread.of_parts(indices)))


def _check_references(
    references: int, methods: Sequence[Method], types: Sequence[str], pools: Sequence[Sequence[Photo]]
) -> None:
    if references == 1:
        return
    without = [method.name for method in methods if not method.roles.needs_reference]
    fewest, type_ = min(((len(pool), type_) for type_, pool in zip(types, pools, strict=False)), default=(0, ""))
    if without or references > fewest:
        there = (
            f"the workflow {shown(without[0])} takes none: it would make every picture {references} times"
            if without
            else f"{fewest} photos of {shown(type_)} have a mask"
        )
        raise request_error(
            "plan.references",
            f"--references {references}, but {there}",
            expected="workflows with a reference, and as many photos with a mask",
            mend="lower --references, or plan the workflow without a reference by itself",
        )


def _check_seeds(seeds: int, count: int, methods: Sequence[Method]) -> None:
    if seeds > 1 and not all(method.seeds for method in methods):
        name = next(method.name for method in methods if not method.seeds)
        raise request_error(
            "plan.seeds",
            f"--seeds {seeds}, but no seed of the workflow {shown(name)} is free",
            expected="a workflow with a seed that is neither set nor varied",
            mend="leave --seeds away, or do not fix the seed with --set",
        )
    if seeds * count >= SEEDS_APART:
        raise request_error(
            "plan.seeds",
            f"{count} draws with {seeds} seeds each",
            expected=f"at most {SEEDS_APART - 1} seeds in one run",
            mend="split the work: other seeds (--seed) into other folders (--out)",
        )


def _core_loaders(graph: Graph, roles: Roles, checked: Iterable[Checked]) -> list[str]:
    """A core node decodes pictures in its own way: what our reader had to interpret, it may see otherwise."""
    titles = [title_of(graph, loader.node_id) for loader in roles.loaders if loader.kind != LOADER]
    if not titles or not any(item.notes for item in checked):
        return []
    return [f"'{titles[0]}' is ComfyUI's own loader and may read these photos differently: use {LOADER} in its place"]


def _types(category: Category, methods: Sequence[Method], selection: Selection) -> tuple[str, ...]:
    wanted = selection.types or ((selection.type,) if selection.type is not None else ())
    for type_ in wanted:
        check_chosen_type(category, replace(selection, type=type_))
    types = wanted or tuple(dict.fromkeys(method.roles.default_type for method in methods))
    if not wanted and len(types) > 1:
        raise request_error(
            "plan.which_type",
            f"the workflows name their pairs differently: {', '.join(map(shown, types))}",
            expected="one type for all of them, or a list",
            mend="give --type, or 'types' in the plan",
        )
    if any(method.roles.needs_reference for method in methods):
        for type_ in types:
            category.check_type(type_)
    folders: dict[str, str] = {}
    for type_ in types:
        other = folders.setdefault(safe_name(type_), type_)
        if other is not type_ or types.count(type_) > 1:
            raise request_error(
                "plan.types",
                f"the types {shown(other)} and {shown(type_)} would go into one folder",
                expected="types whose names differ as folders do",
                mend="leave one of them away",
            )
    return types


def check_chosen_type(category: Category, selection: Selection) -> None:
    """A `--type` the dataset does not have is a slip of the pen, unless --new-type says otherwise."""
    type_, known = selection.type, category.defect_types()
    if type_ is None:
        return
    if type_ != Path(type_).name or type_ in ("", ".", "..", GOOD):
        raise request_error(
            "data.type_name", f"--type '{shown(type_)}'", expected=f"a name for a folder, other than '{GOOD}'"
        )
    if known and nfc(type_) not in known and not selection.new_type:
        raise request_error(
            "data.unknown_type",
            f"category '{shown(category.name)}' has no defect type '{shown(type_)}'",
            where=shown(str(category.path)),
            expected="a defect type of the dataset",
            mend=did_you_mean(type_, map(shown, known), limit=20)
            + f"; or add --new-type if '{shown(type_)}' is meant to be a new one",
        )
