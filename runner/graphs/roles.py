"""Which nodes of a graph the runner fills in: photo loaders, the pair saver, the seeds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..errors import request_error
from .graph import Graph, is_link, label, title_of, upstream

LOADER = "DefectForgeLoadMVTec"
SAVER = "DefectForgeSaveDefectPair"
KEEPER = "DefectForgeKeepBest"
SEED_INPUTS = ("seed", "noise_seed")
# The reference's noise has its own seed: varying it with every picture would throw the reference cache away.
KEEPS_ITS_SEED = {"DefectForgeReferenceOnly"}
# What gives photos back at their own size.
KEEP_SIZE = {"DefectForgeStitch", "DefectForgeBlendDefect", "DefectForgeTransplantDefect"}


@dataclass(frozen=True)
class Loader:
    """A node that reads a photo. `source` tells from which list: "good" parts or "defect" photos."""

    node_id: str
    source: str
    kind: str  # LOADER or "LoadImage"


@dataclass(frozen=True)
class Roles:
    loaders: tuple[Loader, ...]
    saver: str
    seeds: tuple[tuple[str, str], ...]
    default_type: str
    keeps_size: bool
    """True where the result goes back into the photo (a stitch, a transplant): it must have the photo's size."""
    may_be_empty: bool
    """True where the workflow saves an empty label mask on purpose."""
    keep: int = 1
    """Most pairs that one job gives: what 'Keep Best' before the saver keeps."""

    @property
    def needs_reference(self) -> bool:
        return any(loader.source == "defect" for loader in self.loaders)

    @property
    def filled_in(self) -> set[tuple[str, str]]:
        """(node id, input) pairs that the runner sets for every job."""
        pairs: set[tuple[str, str]] = set(self.seeds)
        for loader in self.loaders:
            names = ("root", "category", "split", "type", "index") if loader.kind == LOADER else ("image",)
            pairs |= {(loader.node_id, name) for name in names}
        return pairs | {(self.saver, name) for name in ("category", "type", "filename_prefix")}


def find_roles(graph: Graph, name: str) -> Roles:
    """Raises RequestError if the workflow has no pair to collect, or no photo to start from."""
    savers = [node_id for node_id, node in graph.items() if node["class_type"] == SAVER]
    if len(savers) != 1:
        raise request_error(
            "workflow.no_pair" if not savers else "workflow.several_pairs",
            f"the workflow has {len(savers)} nodes that save an image with its mask",
            where=", ".join(label(graph, node_id) for node_id in savers) or name,
            expected=f"one node 'Save pair' ({SAVER})",
            mend="change it in the window and save the workflow, or run it there",
        )
    saver = savers[0]
    feeding = upstream(graph, saver)
    loaders = tuple(_loaders(graph))
    if not any(loader.node_id in feeding for loader in loaders):
        raise request_error(
            "workflow.no_photo",
            "no photo goes into the pair that the workflow saves",
            where=label(graph, saver),
            expected=f"a node 'Good photo' ({LOADER}) that leads to it",
            mend="link one in the window and save the workflow",
        )
    inputs = graph[saver]["inputs"]
    type_ = inputs.get("type")
    return Roles(
        loaders=loaders,
        saver=saver,
        seeds=tuple(_seeds(graph)),
        default_type=type_ if isinstance(type_, str) and type_ else "hole",
        keeps_size=any(graph[node_id]["class_type"] in KEEP_SIZE for node_id in feeding),
        may_be_empty=_mask_is_empty_on_purpose(graph, saver),
        keep=_keep(graph, feeding),
    )


def _loaders(graph: Graph) -> list[Loader]:
    found = []
    for node_id, node in graph.items():
        title, inputs = title_of(graph, node_id).lower(), node["inputs"]
        if node["class_type"] == LOADER:
            good = inputs.get("type") == "good" and not title.startswith("reference")
            found.append(Loader(node_id, "good" if good else "defect", LOADER))
        elif node["class_type"] == "LoadImage" and title in ("good photo", "reference defect"):
            found.append(Loader(node_id, "good" if title == "good photo" else "defect", "LoadImage"))
    return found


def _seeds(graph: Graph) -> list[tuple[str, str]]:
    return [
        (node_id, name)
        for node_id, node in graph.items()
        if node["class_type"] not in KEEPS_ITS_SEED
        for name in SEED_INPUTS
        if type(node["inputs"].get(name)) is int
    ]


def _keep(graph: Graph, feeding: Collection[str]) -> int:
    values = [graph[node_id]["inputs"].get("keep") for node_id in feeding if graph[node_id]["class_type"] == KEEPER]
    return next((value for value in values if type(value) is int and value > 0), 1)


def _mask_is_empty_on_purpose(graph: Graph, saver: str) -> bool:
    value = graph[saver]["inputs"].get("mask")
    if not is_link(value):
        return True
    origin = value[0]
    if origin not in graph:
        return False
    node = graph[origin]
    black = node["class_type"] == "SolidMask" and node["inputs"].get("value") == 0
    return black or title_of(graph, origin) == "Empty mask"
