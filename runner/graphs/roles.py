"""Which nodes of a graph the runner fills in: photo loaders, the pair saver, the seeds."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ...nodes.datasets.names import PART
from ..errors import request_error
from .graph import Graph, is_link, label, links, title_of, upstream

LOADER = "DefectForgeLoadMVTec"
SAVER = "DefectForgeSaveDefectPair"
KEEPER = "DefectForgeKeepBest"
SEED_INPUTS = ("seed", "noise_seed")
# The reference's noise has its own seed: varying it with every picture would throw the reference cache away.
KEEPS_ITS_SEED = {"DefectForgeReferenceOnly"}
#: Inputs that take the mask of a part, and the input of the same node that takes the photo it is on.
PART_INPUTS = {
    "part_mask": "image",
    "object_mask": "image",
    "reference_part_mask": "reference",
    "part_masks": "images",
}
GOOD_PHOTO, DEFECT_PHOTO, PART_MASK = "good", "defect", "part"
#: The order in which a job's photos are listed and recorded.
_SOURCES = (GOOD_PHOTO, DEFECT_PHOTO, PART_MASK)
# What gives photos back at their own size.
KEEP_SIZE = {"DefectForgeStitch", "DefectForgeBlendDefect", "DefectForgeTransplantDefect"}


@dataclass(frozen=True)
class Loader:
    """A node that reads a photo. `source` tells from which list: "good" parts, "defect" photos, or "part" for the mask
    of the part on the photo that the loader `of` reads."""

    node_id: str
    source: str
    kind: str  # LOADER or "LoadImage"
    of: str = ""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Those that name the photo: a job sets them."""
        return ("root", "category", "split", "type", "index") if self.kind == LOADER else ("image",)


def ordered(loaders: Iterable[Loader]) -> list[Loader]:
    """The source photo first: good parts, then references, then masks of parts."""
    return sorted(loaders, key=lambda loader: _SOURCES.index(loader.source))


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
        return any(loader.source == DEFECT_PHOTO for loader in self.loaders)

    @property
    def needs_part_masks(self) -> bool:
        return any(loader.source == PART_MASK for loader in self.loaders)

    @property
    def filled_in(self) -> set[tuple[str, str]]:
        """(node id, input) pairs that the runner sets for every job."""
        return self.places | set(self.seeds)

    @property
    def places(self) -> set[tuple[str, str]]:
        """(node id, input) pairs that say which photos are read and where the pair is put."""
        read = {(loader.node_id, name) for loader in self.loaders for name in loader.inputs}
        return read | {(self.saver, name) for name in ("category", "type", "filename_prefix")}


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
            if inputs.get("type") == PART:
                found.append(Loader(node_id, PART_MASK, LOADER, _photo_of_part(graph, node_id)))
                continue
            good = inputs.get("type") == "good" and not title.startswith("reference")
            found.append(Loader(node_id, GOOD_PHOTO if good else DEFECT_PHOTO, LOADER))
        elif node["class_type"] == "LoadImage" and title in ("good photo", "reference defect"):
            found.append(Loader(node_id, GOOD_PHOTO if title == "good photo" else DEFECT_PHOTO, "LoadImage"))
    return found


def photo_behind(graph: Graph, node_id: str, part_input: str) -> str:
    """The node that reads the photo of which `part_input` takes the part's mask; "" unless it is linked directly."""
    value = graph[node_id]["inputs"].get(PART_INPUTS[part_input])
    if not is_link(value) or value[1] != 0 or value[0] not in graph:
        return ""
    reads = graph[value[0]]["class_type"] in (LOADER, "LoadImage")
    return str(value[0]) if reads else ""


def _photo_of_part(graph: Graph, loader_id: str) -> str:
    """Which photo a loader of part masks goes with: the one beside it at the nodes that it feeds."""
    beside = {
        photo_behind(graph, node_id, name)
        for node_id, name, origin, _ in links(graph)
        if origin == loader_id and name in PART_INPUTS
    }
    if len(beside) != 1 or "" in beside:
        raise request_error(
            "workflow.part_of_what",
            "a mask of a part is loaded, and the workflow does not say of which photo",
            where=label(graph, loader_id),
            expected=f"links to {', '.join(PART_INPUTS)} of nodes that take one photo directly from its loader",
            mend="link it in the window; or leave it away and use --part-masks",
        )
    return beside.pop()


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
