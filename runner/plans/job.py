"""One image and mask to make: what it reads, what it sets, and the id that says what it makes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

from ...nodes.datasets.names import PART, safe_name, stem_of
from ..graphs.graph import Graph, copied
from ..graphs.overrides import Setting
from .photos import Checked

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
    method: int = 0
    """Which of the plan's workflows."""
    place: int | None = None
    """Which of its type; None: as of the whole plan."""
    shared: tuple[Input, ...] = ()
    """Photos of real defects that every job of the workflow reads the masks of."""

    @property
    def number(self) -> int:
        """Of its type, from 0: what its files are named after."""
        return self.index if self.place is None else self.place

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
