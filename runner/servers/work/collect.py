"""From a finished job on the server to verified pairs with their provenance record."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....nodes.datasets.names import PART
from ...graphs.graph import Graph, is_link, title_of
from ...graphs.words import WORDS_NODE, prompt_of
from ...outputs.commit import Made
from ...outputs.pairs import Fetched, announced, verify
from ...plans.photos import Checked
from ...plans.plan import Job, Plan
from ..client import Client, ServerInfo
from .flight import Flight

RECORD_VERSION = 1
#: What decides where a defect is; the first of a graph is recorded on its own.
MASK_NODES = (
    "DefectForgePlaceHoleMask",
    "DefectForgePlaceDefectMask",
    "DefectForgeTransplantMask",
    "DefectForgeTransplantDefect",
)


@dataclass(frozen=True)
class Collected:
    """Verified, not yet committed. `refused` are the draws of the job that are not kept."""

    flight: Flight
    made: Made
    refused: list[dict[str, Any]]


@dataclass
class Collector:
    """Knows the plan, so that it can fill in graphs, and the request, so that it can write records."""

    plan: Plan
    request: dict[str, Any]
    """What is the same in every record: workflow, overrides, model, data root, pack version."""
    server: ServerInfo
    models: list[dict[str, Any]]
    root: Path
    """The dataset's root, as it was given."""
    extra: dict[str, Any] = field(default_factory=dict)
    """extra_pnginfo: the window form travels along, so that a saved PNG opens in the window."""

    methods: tuple[Collector, ...] = ()
    """Where the plan has several workflows: one for each of them."""

    def of(self, job: Job) -> Collector:
        """The one that knows the workflow of a job."""
        return self.methods[job.method] if self.methods else self

    def told(self, server: ServerInfo) -> None:
        """What the server says of itself from now on."""
        for collector in (self, *self.methods):
            collector.server = server

    def graph(self, job: Job, prompt_id: str) -> Graph:
        # Sharded, because the saver lists its folder for every picture; by attempt, because an attempt's files may
        # lie there already.
        prefix = f"defectforge/{job.id[:3]}/{job.id[:16]}-{prompt_id[:8]}"
        return job.graph(self.plan.graph, prefix, self.plan.roles.saver)

    @functools.cached_property
    def extra_data(self) -> str:
        """As JSON, once: the window form is large, and the same for every job."""
        return json.dumps({"extra_pnginfo": self.extra} if self.extra else {})

    def fetch(self, client: Client, flight: Flight, entry: dict[str, Any]) -> Collected:
        """Fetch and verify what one job gave.

        Raises:
            NothingKept, NotAPair, Unreachable, Unclear, Rejected, ServerError.
        """
        roles, job = self.plan.roles, flight.job
        saved = announced(entry, roles.saver, roles.keep)
        size = job.source.size if roles.keeps_size else None
        pairs = []
        for place, pair in enumerate(saved.pairs):
            image = client.view(pair["image"])
            mask = client.view(pair["mask"]) if "mask" in pair else None
            found_size, share = verify(image, mask, size, roles.may_be_empty)
            said = pair.get("record") if isinstance(pair.get("record"), dict) else {}
            pairs.append(Fetched(image, mask, _said(said or {}, place), found_size, share))
        record = self._record(job, flight.graph, flight.wall)
        return Collected(flight, Made(job.id, tuple(pairs), record), saved.refused)

    def _masks_of_parts(self, job: Job) -> dict[str, Any]:
        """The user's own masks of parts, and the real masks that new ones are made like; nothing without any."""
        record: dict[str, Any] = {}
        if job.part_masks:
            record["part_masks"] = [part_record(checked) for checked in job.part_masks]
        if job.shared:
            photos = [item.checked for item in job.shared]
            record["real_masks"] = [_file_record(one, self.root) for one in photos if one.photo.type != PART]
            record["real_part_masks"] = [part_record(one) for one in photos if one.photo.type == PART]
        return record

    def files_of(self, flight: Flight) -> Iterator[dict[str, Any]]:
        """The files on the server of a job that was fetched."""
        saved = ((flight.entry or {}).get("outputs") or {}).get(self.plan.roles.saver) or {}
        for pair in saved.get("defectforge_pairs") or []:
            yield from (pair[role] for role in ("image", "mask") if isinstance(pair.get(role), dict))

    def _record(self, job: Job, graph: Graph, submitted: float) -> dict[str, Any]:
        return {
            "version": RECORD_VERSION,
            **self.request,
            "category": job.category,
            "type": job.type,
            "seed": job.seed,
            "source": _file_record(job.source, self.root),
            "references": [_file_record(reference, self.root) for reference in job.references],
            **self._masks_of_parts(job),
            "prompts": prompts(graph),
            "mask_parameters": mask_parameters(graph),
            "assignments": [list(item) for item in job.assignments],
            "varied": {f"{s.title}.{s.input}": s.value for s in job.varied},
            "models": self.models,
            "server": self.server.as_dict(),
            "times": {"submitted": round(submitted, 3), "committed": round(time.time(), 3)},
        }


def _said(said: dict[str, Any], place: int) -> dict[str, Any]:
    """What the saving node says of one pair: what its mask holds, what was asked for, its scores, and the rest."""
    rest = {name: value for name, value in said.items() if name not in ("label", "requested", "scores")}
    return {
        "label": said.get("label", "given"),
        "requested": said.get("requested"),
        "scores": said.get("scores") or {},
        "pair": place,
        "node_record": rest,
    }


def _file_record(checked: Checked, root: Path) -> dict[str, Any]:
    """`path` is the photo's address in the layout; `file` where it lies below the data root."""
    photo = checked.photo
    record: dict[str, Any] = {
        "path": photo.relative,
        "file": photo.path.relative_to(root).as_posix(),
        "sha256": checked.sha256,
        "size": list(checked.size),
    }
    if photo.masks:
        files = [mask.relative_to(root).as_posix() for mask in photo.masks]
        record |= {"mask": files[0] if len(files) == 1 else files, "mask_sha256": checked.mask_sha256}
    if checked.notes:
        record["notes"] = list(checked.notes)
    return record


def part_record(checked: Checked) -> dict[str, Any]:
    """The mask of a part, which lies outside the dataset: its own path, as it was given."""
    masks = [mask.absolute().as_posix() for mask in checked.photo.masks]
    return {"of": checked.sha256, "mask": masks, "mask_sha256": checked.mask_sha256}


def prompts(graph: Graph) -> dict[str, str]:
    """Every text that is encoded, by the node's title, and every prompt that a node writes."""
    found = {}
    for node_id, node in graph.items():
        text = prompt_of(node["inputs"]) if node["class_type"] == WORDS_NODE else node["inputs"].get("text")
        if isinstance(text, str) and (text or node["class_type"] != WORDS_NODE):
            found[title_of(graph, node_id)] = text
    return found


def mask_parameters(graph: Graph) -> dict[str, Any]:
    for node in graph.values():
        if node["class_type"] in MASK_NODES:
            return {name: value for name, value in node["inputs"].items() if not is_link(value)}
    return {}
