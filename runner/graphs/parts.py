"""Masks of parts and real masks, put into a graph that has a place for them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ...nodes.datasets.names import PART
from ..errors import request_error
from .graph import Graph, is_link, label, title_of
from .inputs import specs_of
from .roles import LOADER, PART_INPUTS, Roles, photo_behind

PLACER = "DefectForgePlaceDefectMask"
PRIOR = "DefectForgeMaskPrior"
#: The choice of the placing node that takes a prior's shapes.
REAL_SHAPES = "as the real ones"
_MASK_OUTPUT = 1


def put_part_masks(graph: Graph, roles: Roles, object_info: dict[str, Any], references: bool) -> list[str]:
    """Link a loader of part masks into every input that takes one; what was linked there gives way.

    Args:
        graph: changed in place.
        roles: of the graph as it was.
        object_info: the server's, which says what inputs a node has.
        references: whether there are masks for the reference photos as well.

    Returns:
        The inputs that they were put into, as 'Title.input'.

    Raises:
        RequestError: no node has such an input, or what a node looks at is not a photo as it was loaded.
    """
    sources = {loader.node_id: loader.source for loader in roles.loaders}
    made: dict[str, str] = {}
    filled = []
    for node_id in list(graph):
        declared = specs_of(object_info.get(graph[node_id]["class_type"], {}))
        for name, beside in PART_INPUTS.items():
            value = graph[node_id]["inputs"].get(beside)
            # A node that may look at a photo and does not needs no part of it.
            if name not in declared or (value is None and not declared[name].required):
                continue
            photo = photo_behind(graph, node_id, name)
            if sources.get(photo) == "defect" and not references:
                continue
            if photo not in sources:
                raise request_error(
                    "workflow.part_of_what",
                    f"'{name}' takes the mask of the part on a photo, but '{beside}' is no photo as it was loaded",
                    where=label(graph, node_id),
                    expected=f"'{beside}' linked to the node 'Good photo' ({LOADER}) itself",
                    mend="link it so in the window and save the workflow, or leave --part-masks away",
                )
            if photo not in made:
                made[photo] = _add(graph, LOADER, f"Part mask of {title_of(graph, photo)}", _of_part(graph, photo))
            graph[node_id]["inputs"][name] = [made[photo], _MASK_OUTPUT]
            filled.append(f"{title_of(graph, node_id)}.{name}")
    if not filled:
        raise request_error(
            "workflow.no_part_mask",
            "no node of the workflow takes the mask of a part, so --part-masks would change nothing",
            expected=f"a node with an input of the name {' or '.join(PART_INPUTS)}, such as {PLACER}",
            mend="leave --part-masks away, or use a workflow that places a mask, such as inpaint_any_defect",
        )
    return filled


def put_real_masks(graph: Graph, placers: Collection[str], inputs: dict[str, Any]) -> str:
    """Add a node 'Mask prior' with these inputs and link it to the placing nodes; returns its id."""
    node_id = _add(graph, PRIOR, "Mask prior", inputs)
    for placer in placers:
        graph[placer]["inputs"] |= {"type": REAL_SHAPES, "prior": [node_id, 0]}
    return node_id


def placers_without_prior(graph: Graph) -> list[str]:
    """The nodes that draw masks by type."""
    return [
        node_id
        for node_id, node in graph.items()
        if node["class_type"] == PLACER and not is_link(node["inputs"].get("prior"))
    ]


def _of_part(graph: Graph, photo: str) -> dict[str, Any]:
    # Values that the runner replaces for every job; until then those of the photo's own loader, where it has them.
    own = graph[photo]["inputs"] if graph[photo]["class_type"] == LOADER else {}
    return {"root": "", "category": own.get("category", "part"), "split": "test", "type": PART, "index": 0}


def _add(graph: Graph, class_type: str, title: str, inputs: dict[str, Any]) -> str:
    node_id = str(max([0, *(int(known) for known in graph if known.isascii() and known.isdigit())]) + 1)
    graph[node_id] = {"class_type": class_type, "inputs": inputs, "_meta": {"title": title}}
    return node_id
