"""From a finished job on the server to a committed pair with its provenance record."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..graphs.graph import Graph, is_link, title_of
from ..outputs.commit import Committer, Fetched, pair_references, verify
from ..plans.photos import Checked
from ..plans.plan import Job, Plan
from .client import Client, ServerInfo

RECORD_VERSION = 1
MASK_NODE = "DefectForgePlaceHoleMask"


@dataclass
class Collector:
    """Knows the plan, so that it can fill in graphs, and the request, so that it can write records."""

    plan: Plan
    committer: Committer
    request: dict[str, Any]
    """What is the same in every record: workflow, overrides, model, data root, pack version."""
    server: ServerInfo
    models: list[dict[str, Any]]
    root: Path
    """The dataset's root, as it was given."""
    extra: dict[str, Any] = field(default_factory=dict)
    """extra_pnginfo: the window form travels along, so that a saved PNG opens in the window."""

    def graph(self, job: Job, prompt_id: str) -> Graph:
        # Sharded, because the saver lists its folder for every picture; by attempt, because an attempt's files may
        # lie there already.
        prefix = f"defectforge/{job.id[:2]}/{job.id[:16]}-{prompt_id[:8]}"
        return job.graph(self.plan.graph, prefix, self.plan.roles.saver)

    def collect(
        self, client: Client, job: Job, graph: Graph, entry: dict[str, Any], submitted: float
    ) -> dict[str, Any]:
        """Fetch, verify and commit one job.

        Raises:
            NotAPair, StorageError, Unreachable, Unclear.
        """
        roles = self.plan.roles
        pair = pair_references(entry, roles.saver)
        image, mask = client.view(pair["image"]), client.view(pair["mask"])
        size = job.source.size if roles.keeps_size else None
        found_size, share = verify(image, mask, size, roles.may_be_empty)
        said = pair.get("record") if isinstance(pair.get("record"), dict) else {}
        fetched = Fetched(image, mask, said or {}, found_size, share)
        return self.committer.commit(job.id, fetched, self._record(job, graph, said or {}, submitted))

    def _record(self, job: Job, graph: Graph, said: dict[str, Any], submitted: float) -> dict[str, Any]:
        return {
            "version": RECORD_VERSION,
            **self.request,
            "category": job.category,
            "type": job.type,
            "seed": job.seed,
            "source": _file_record(job.source, self.root),
            "references": [_file_record(reference, self.root) for reference in job.references],
            "prompts": prompts(graph),
            "mask_parameters": mask_parameters(graph),
            "assignments": [list(item) for item in job.assignments],
            "varied": {f"{s.title}.{s.input}": s.value for s in job.varied},
            "models": self.models,
            "scores": said.get("scores", {}),
            "node_record": said,
            "server": self.server.as_dict(),
            "times": {"submitted": round(submitted, 3), "committed": round(time.time(), 3)},
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


def prompts(graph: Graph) -> dict[str, str]:
    """Every text that is encoded, by the node's title."""
    return {
        title_of(graph, node_id): node["inputs"]["text"]
        for node_id, node in graph.items()
        if isinstance(node["inputs"].get("text"), str)
    }


def mask_parameters(graph: Graph) -> dict[str, Any]:
    for node in graph.values():
        if node["class_type"] == MASK_NODE:
            return {name: value for name, value in node["inputs"].items() if not is_link(value)}
    return {}
