"""A request becomes jobs: photo x seed x every combination of varied inputs, each with an id that says what it makes.

Equal requests give equal ids, so a second run knows what is done; a changed request adds only what is new.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...nodes.datasets.names import GOOD, PART, nfc, safe_name, shown, stem_of
from ..errors import did_you_mean, request_error
from ..graphs.graph import Graph, by_title, canonical_hash, copied, title_of
from ..graphs.overrides import Axis, Setting, combinations
from ..graphs.roles import LOADER, PART_MASK, Loader, Roles, ordered
from .part_masks import PartMasks
from .photos import Category, Checked, Photo, check_photos, summed_up

#: Distance between the seeds of one job's rounds: more than any run has draws.
SEEDS_APART = 1_000_003

Assignment = tuple[str, str, Any]  # node id, input, value


@dataclass(frozen=True)
class Input:
    """A photo that a job reads, and where the runner puts it on the server (content-addressed)."""

    node_id: str
    checked: Checked
    shared_root: str = ""
    """Where several photos lie together, for a node that reads a folder of them."""
    shared_name: str = ""
    """The photo's name there."""

    @property
    def root(self) -> str:
        if self.shared_root:
            return self.shared_root
        # Both files decide: a photo whose mask was redrawn must not meet the old mask on the server.
        both = self.checked.sha256 + (self.checked.mask_sha256 or "")
        digest = self.checked.sha256 if not self.checked.mask_sha256 else hashlib.sha256(both.encode()).hexdigest()
        return f"defectforge/{digest[:16]}"

    @property
    def category(self) -> str:
        """Names on the server are safe ones, whatever the dataset's own are."""
        return safe_name(self.checked.photo.category)

    @property
    def type(self) -> str:
        return safe_name(self.checked.photo.type)

    @property
    def name(self) -> str:
        return self.shared_name or safe_name(self.checked.photo.path.name)

    @property
    def address(self) -> str:
        """Of the photo, below the server's input folder: MVTec AD's layout, whatever the dataset's is."""
        photo = self.checked.photo
        return f"{self.root}/{self.category}/{photo.split}/{self.type}/{self.name}"

    @property
    def mask_addresses(self) -> list[str]:
        """Of the masks, in their order; several lie in a folder named after the photo, as in MVTec LOCO."""
        masks = self.checked.photo.masks
        stem = stem_of(self.name)
        folder = f"{self.root}/{self.category}/ground_truth/{self.type}"
        if len(masks) == 1:
            return [f"{folder}/{stem}_mask{masks[0].suffix}"]
        return [f"{folder}/{stem}/{number:03d}{mask.suffix}" for number, mask in enumerate(masks)]


@dataclass(frozen=True)
class Job:
    """One image and mask to make."""

    id: str
    index: int
    category: str
    type: str
    seed: int
    inputs: tuple[Input, ...]
    assignments: tuple[Assignment, ...]
    varied: tuple[Setting, ...] = ()
    seeds: tuple[tuple[str, str], ...] = ()
    """(node id, input) of every seed that this job's own seed sets."""
    round: int = 0
    """How often it was drawn before."""
    shared: tuple[Input, ...] = ()
    """Photos of real defects that every job of the plan reads the masks of."""

    @property
    def source(self) -> Checked:
        return self.inputs[0].checked

    @property
    def references(self) -> list[Checked]:
        return [item.checked for item in self.inputs[1:] if item.checked.photo.type != PART]

    @property
    def part_masks(self) -> list[Checked]:
        return [item.checked for item in self.inputs if item.checked.photo.type == PART]

    @property
    def files(self) -> tuple[Input, ...]:
        """Everything that has to be on the server."""
        return (*self.inputs, *self.shared)

    def redrawn(self, round_: int) -> Job:
        """The same pair drawn with another seed, far from those of other jobs. Id and number stay."""
        if round_ == 0:
            return self
        seed = self.seed + (round_ - self.round) * SEEDS_APART
        mine = set(self.seeds)
        assignments = tuple((n, i, seed if (n, i) in mine else value) for n, i, value in self.assignments)
        return replace(self, seed=seed, assignments=assignments, round=round_)

    def graph(self, base: Graph, prefix: str, saver: str) -> Graph:
        """The graph that is queued. The prefix makes the saver's files this job's own: a cached repeat of a graph
        announces the files of the first one again."""
        filled = copied(base)
        for node_id, name, value in self.assignments:
            filled[node_id]["inputs"][name] = value
        filled[saver]["inputs"]["filename_prefix"] = prefix
        return filled


@dataclass(frozen=True)
class Plan:
    """All jobs of a request over one base graph (all static overrides applied)."""

    graph: Graph
    roles: Roles
    jobs: tuple[Job, ...]
    settings: tuple[Setting, ...] = ()
    notes: list[str] = field(default_factory=list)

    @property
    def graph_sha256(self) -> str:
        return canonical_hash(self.graph)


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
    """Expand a request. `graph` already has the fixed settings; they are kept for the record. `shared` is what every
    job reads besides.

    Raises:
        RequestError: dataset, category, type, count or photos are wrong, or two jobs would be the same picture.
    """
    category = selection.open()
    type_ = _type(category, roles, selection)
    sources = {loader.source for loader in roles.loaders}
    good = category.good_photos() if "good" in sources else []
    defects = category.defect_photos(type_) if "defect" in sources else []
    count = selection.count if selection.count is not None else len(good or defects)
    if count < 1:
        raise request_error("plan.count", f"--count {count}", expected="at least 1", mend="give --count 1 or more")
    fixed_inputs = {(by_title(graph, s.title), s.input) for s in fixed}
    fixed_inputs |= {(by_title(graph, axis.title), axis.input) for axis in axes}
    seeds = [pair for pair in roles.seeds if pair not in fixed_inputs]
    # The jobs that this shard does not do need not be read either.
    part, parts = selection.shard
    combos = combinations(axes)
    numbered = itertools.product(range(count), enumerate(combos))
    mine = [(draw, combo) for n, (draw, (_, combo)) in enumerate(numbered) if n % parts == part]
    wanted = [_photos_of(draw, roles.loaders, good, defects) for draw, _ in mine]
    wanted = _with_parts(wanted, category, roles, selection)
    checked = check_photos(photo for row in wanted for photo in row)
    jobs = [
        _job(
            part + n * parts,
            graph,
            roles,
            [checked[photo] for photo in row],
            category.name,
            selection.seed,
            type_,
            seeds,
            draw,
            combo,
            shared,
        )
        for n, ((draw, combo), row) in enumerate(zip(mine, wanted, strict=True))
    ]
    _refuse_twins(jobs)
    notes = [*category.notes, *summed_up(checked.values()), *_core_loaders(graph, roles, checked.values())]
    missing = category.without_mask(type_) if "defect" in sources else 0
    if missing:
        notes.append(f"{missing} of {missing + len(defects)} photos of {shown(type_)} have no mask and are left out")
    return Plan(graph, roles, tuple(jobs), tuple(fixed), notes)


def _core_loaders(graph: Graph, roles: Roles, checked: Iterable[Checked]) -> list[str]:
    """A core node decodes pictures in its own way: what our reader had to interpret, it may see otherwise."""
    titles = [title_of(graph, loader.node_id) for loader in roles.loaders if loader.kind != LOADER]
    if not titles or not any(item.notes for item in checked):
        return []
    return [f"'{titles[0]}' is ComfyUI's own loader and may read these photos differently: use {LOADER} in its place"]


def _type(category: Category, roles: Roles, selection: Selection) -> str:
    check_chosen_type(category, selection)
    type_ = selection.type or roles.default_type
    if roles.needs_reference:
        category.check_type(type_)
    return type_


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


def _photos_of(draw: int, loaders: Sequence[Loader], good: list[Photo], defects: list[Photo]) -> list[Photo]:
    """Loader by loader: draws walk through the photos and start over; further loaders of one list take the next. A
    loader of part masks takes the photo of the loader that it goes with."""
    taken = {"good": 0, "defect": 0}
    photos: dict[str, Photo] = {}
    for loader in ordered(loaders):
        if loader.source == PART_MASK:
            photos[loader.node_id] = photos[loader.of]
            continue
        pool = good if loader.source == "good" else defects
        photos[loader.node_id] = pool[(draw + taken[loader.source]) % len(pool)]
        taken[loader.source] += 1
    return list(photos.values())


def _with_parts(rows: list[list[Photo]], category: Category, roles: Roles, selection: Selection) -> list[list[Photo]]:
    """The photos of part-mask loaders, with their part's mask in the place of their defect's."""
    places = [n for n, loader in enumerate(ordered(roles.loaders)) if loader.source == PART_MASK]
    if not places:
        return rows
    if selection.part_masks is None:
        raise request_error(
            "request.no_part_masks",
            "the workflow loads a mask of each photo's part, and no folder of them is given",
            expected="--part-masks DIR",
            mend="add it to the command",
        )
    masks = PartMasks(selection.part_masks, category)
    parts = masks.of(row[place] for row in rows for place in places)
    return [[parts[photo] if n in places else photo for n, photo in enumerate(row)] for row in rows]


def _job(
    index: int,
    graph: Graph,
    roles: Roles,
    photos: list[Checked],
    category: str,
    first_seed: int,
    type_: str,
    seeds: Sequence[tuple[str, str]],
    draw: int,
    combo: tuple[Setting, ...],
    shared: tuple[Input, ...],
) -> Job:
    # What the outputs are named after has to be a folder's name on every machine.
    category, type_ = safe_name(category), safe_name(type_)
    seed = first_seed + draw
    inputs: list[Input] = []
    assignments: list[Assignment] = []
    for loader, checked in zip(ordered(roles.loaders), photos, strict=True):
        item = Input(loader.node_id, checked)
        inputs.append(item)
        assignments += _loader_assignments(loader, item)
    assignments += [(node_id, name, seed) for node_id, name in seeds]
    assignments += [(by_title(graph, s.title), s.input, s.value) for s in combo]
    assignments += [(roles.saver, "category", category), (roles.saver, "type", type_)]
    job = Job("", index, category, type_, seed, tuple(inputs), tuple(assignments), combo, tuple(seeds), shared=shared)
    return replace(job, id=job_id(graph, roles.saver, job))


def _loader_assignments(loader: Loader, item: Input) -> list[Assignment]:
    photo = item.checked.photo
    if loader.kind != LOADER:
        return [(loader.node_id, "image", item.address)]
    values = {"root": item.root, "category": item.category, "split": photo.split, "type": item.type, "index": 0}
    return [(loader.node_id, name, value) for name, value in values.items()]


def job_id(graph: Graph, saver: str, job: Job) -> str:
    """sha256 over what is computed from what: the filled-in graph, the input files, the expected outputs."""
    content = {
        "graph": canonical_hash(job.graph(graph, "", saver)),
        "inputs": [[item.node_id, item.checked.sha256, item.checked.mask_sha256] for item in job.inputs],
        "outputs": ["image", "mask"],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _refuse_twins(jobs: Sequence[Job]) -> None:
    first: dict[str, Job] = {}
    for job in jobs:
        twin = first.setdefault(job.id, job)
        if twin is not job:
            raise request_error(
                "plan.twins",
                f"jobs {twin.index} and {job.index} of the request would be the same picture",
                where=f"both read {job.source.photo.relative} with the same values",
                expected="a different photo, seed or value in every job",
                mend="lower --count, or do not fix the seed with --set",
            )


def varied_as_text(graph: Graph, job: Job) -> dict[str, Any]:
    """The inputs that differ from the base graph, by title, for the record."""
    return {f"{title_of(graph, node_id)}.{name}": value for node_id, name, value in job.assignments}
