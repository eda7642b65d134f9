"""The blueprints in `subgraphs/`: parts of the shipped workflows, to be used in graphs of one's own.

python tests/tools/blueprints.py   writes them again; tests hold them to what this writes
"""

from __future__ import annotations

import json
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from by_location import ROOT, import_package

PLACE = ROOT / "subgraphs"
CORE = {
    "KSampler": (
        [("model", "MODEL"), ("positive", "CONDITIONING"), ("negative", "CONDITIONING"), ("latent_image", "LATENT")],
        [
            ("seed", "INT", 1),
            ("control_after_generate", None, "fixed"),
            ("steps", "INT", 20),
            ("cfg", "FLOAT", 7.0),
            ("sampler_name", "COMBO", "euler_ancestral"),
            ("scheduler", "COMBO", "normal"),
            ("denoise", "FLOAT", 1.0),
        ],
        [("LATENT", "LATENT")],
    ),
    "VAEDecode": ([("samples", "LATENT"), ("vae", "VAE")], [], [("IMAGE", "IMAGE")]),
}


@dataclass
class Node:
    """A node inside: where it stands, what it is linked to ("@name" is the blueprint's own input), its own values."""

    type: str
    title: str
    at: tuple[int, int]
    size: tuple[int, int]
    links: dict[str, str]
    values: dict[str, Any] = field(default_factory=dict)


@dataclass
class Blueprint:
    """A blueprint: its sockets and widgets (name, type), its nodes, and what it gives (name, type, "title.output")."""

    name: str
    description: str
    inputs: list[tuple[str, str]]
    widgets: list[tuple[str, str]]
    nodes: list[Node]
    outputs: list[tuple[str, str, str]]


#: The frame in which the model paints: every blueprint that edits a photo begins with it.
FRAME = (
    Node("DefectForgeDenoiseMask", "Denoise mask", (240, 0), (330, 260), {"mask": "@mask", "size": "@size"}),
    Node(
        "DefectForgeCropForDefect",
        "Working crop",
        (640, 0),
        (330, 432),
        {
            "image": "@image",
            "mask": "Denoise mask.denoise_mask",
            "label_mask": "Denoise mask.drawable_mask",
            "size": "@size",
        },
    ),
)

BLUEPRINTS = [
    Blueprint(
        "Paint a defect into a mask",
        "Cuts a working crop around the mask, paints the defect there with the model and blends it into the photo. "
        "The label is what is visible afterwards; outside it the photo stays exact.",
        [
            ("image", "IMAGE"),
            ("mask", "MASK"),
            ("model", "MODEL"),
            ("vae", "VAE"),
            ("positive", "CONDITIONING"),
            ("negative", "CONDITIONING"),
        ],
        [("size", "INT"), ("mode", "COMBO"), ("seed", "INT"), ("steps", "INT"), ("cfg", "FLOAT")],
        [
            *FRAME,
            Node(
                "DefectForgeMaskedContent",
                "Masked content",
                (1040, 0),
                (330, 440),
                {
                    "pixels": "Working crop.image",
                    "mask": "Working crop.mask",
                    "vae": "@vae",
                    "mode": "@mode",
                    "seed": "@seed",
                    "model": "@model",
                },
                # The mask is soft already; seed 1 as in the sampler, which takes the same.
                {"mode": "latent noise", "seed": 1, "control_after_generate": "fixed", "mask_blur": 0.0},
            ),
            Node(
                "KSampler",
                "Sampler",
                (1440, 0),
                (330, 340),
                {
                    "model": "@model",
                    "positive": "@positive",
                    "negative": "@negative",
                    "latent_image": "Masked content.latent",
                    "seed": "@seed",
                    "steps": "@steps",
                    "cfg": "@cfg",
                },
            ),
            Node("VAEDecode", "Decode", (1840, 0), (240, 60), {"samples": "Sampler.LATENT", "vae": "@vae"}),
            Node(
                "DefectForgeBlendDefect",
                "Blend defect",
                (1840, 140),
                (330, 440),
                {
                    "stitch": "Working crop.stitch",
                    "image": "Decode.IMAGE",
                    "seed": "@seed",
                    "fine_mask": "Denoise mask.fine_mask",
                },
            ),
        ],
        [("image", "IMAGE", "Blend defect.image"), ("label_mask", "MASK", "Blend defect.label_mask")],
    ),
    Blueprint(
        "Local reference from a real defect",
        "Lets the model read a real defect (a photo and its mask) while it paints, and only where the new defect shall "
        "be: give it the photo, mask and size of “Paint a defect into a mask”, and that the model that comes out.",
        [
            ("model", "MODEL"),
            ("vae", "VAE"),
            ("reference_photo", "IMAGE"),
            ("reference_mask", "MASK"),
            ("image", "IMAGE"),
            ("mask", "MASK"),
        ],
        [("size", "INT"), ("strength", "FLOAT")],
        [
            # The target mask has to lie in it.
            *FRAME,
            Node(
                "DefectForgeCropForDefect",
                "Reference crop",
                (640, 520),
                (330, 432),
                {
                    "image": "@reference_photo",
                    "mask": "@reference_mask",
                    "label_mask": "@reference_mask",
                    "size": "@size",
                },
            ),
            Node(
                "DefectForgeReferenceOnly",
                "Reference-only",
                (1040, 0),
                (350, 560),
                {
                    "model": "@model",
                    "vae": "@vae",
                    "image": "Reference crop.image",
                    "reference_mask": "Reference crop.label_mask",
                    "target_mask": "Working crop.mask",
                    "strength": "@strength",
                },
                {"mode": "reference_only"},
            ),
        ],
        [("model", "MODEL", "Reference-only.model")],
    ),
]


def _described(types: dict[str, Any], kind: str) -> tuple[list[Any], list[Any], list[Any]]:
    """(sockets, widgets with their defaults, outputs) of a node class."""
    if kind in CORE:
        return CORE[kind]
    info = types[kind].GET_NODE_INFO_V1()
    sockets, widgets = [], []
    for group in ("required", "optional"):
        for name in info["input_order"].get(group, []):
            typed, options = info["input"][group][name]
            if "default" in options:
                widgets.append((name, typed, options["default"]))
                if options.get("control_after_generate"):
                    widgets.append(("control_after_generate", None, "fixed"))
            else:
                sockets.append((name, typed))
    return sockets, widgets, list(zip(info["output_name"], info["output"], strict=True))


def written(blueprint: Blueprint, types: dict[str, Any], version: str) -> dict[str, Any]:
    """The blueprint as the window saves one: a graph that holds one instance of the subgraph."""
    own = [*blueprint.inputs, *blueprint.widgets]
    key = str(uuid.uuid5(uuid.NAMESPACE_URL, f"defectforge/{blueprint.name}"))
    ids = {node.title: number for number, node in enumerate(blueprint.nodes, 1)}
    links: list[dict[str, Any]] = []
    nodes, given = [], {}

    def link(origin: int, slot: int, target: int, at: int, typed: str) -> int:
        ends = {"origin_id": origin, "origin_slot": slot, "target_id": target, "target_slot": at}
        links.append({"id": len(links) + 1, **ends, "type": typed})
        return len(links)

    for node in blueprint.nodes:
        sockets, widgets, outputs = _described(types, node.type)
        values = [node.values.get(name, default) for name, _, default in widgets]
        inputs = []
        for name, typed in [*sockets, *((n, t) for n, t, _ in widgets if t is not None)]:
            entry: dict[str, Any] = {"name": name, "type": typed, "link": None}
            if any(name == widget for widget, _, _ in widgets):
                entry["widget"] = {"name": name}
            source = node.links.get(name)
            if source is not None and source.startswith("@"):
                slot = [own_name for own_name, _ in own].index(source[1:])
                entry["link"] = link(-10, slot, ids[node.title], len(inputs), typed)
                given.setdefault(source[1:], values[[n for n, _, _ in widgets].index(name)] if "widget" in entry else 0)
            elif source is not None:
                title, _, output = source.partition(".")
                before = next(n for n in nodes if n["title"] == title)
                slot = next(i for i, o in enumerate(before["outputs"]) if o["name"] == output)
                entry["link"] = link(ids[title], slot, ids[node.title], len(inputs), typed)
                before["outputs"][slot]["links"].append(entry["link"])
            if source is not None or "widget" not in entry:
                inputs.append(entry)
        ours = node.type.startswith("DefectForge")
        nodes.append(
            {
                "id": ids[node.title],
                "type": node.type,
                "title": node.title,
                "pos": list(node.at),
                "size": list(node.size),
                "flags": {},
                "order": ids[node.title] - 1,
                "mode": 0,
                "inputs": inputs,
                "outputs": [{"name": name, "type": typed, "links": []} for name, typed in outputs],
                "properties": {
                    "cnr_id": "defectforge" if ours else "comfy-core",
                    "ver": version if ours else "0.3.64",
                    "Node name for S&R": node.type,
                },
                "widgets_values": values,
            }
        )
    gives = []
    for slot, (name, typed, source) in enumerate(blueprint.outputs):
        title, _, output = source.partition(".")
        at = next(i for i, o in enumerate(nodes[ids[title] - 1]["outputs"]) if o["name"] == output)
        number = link(ids[title], at, -20, slot, typed)
        nodes[ids[title] - 1]["outputs"][at]["links"].append(number)
        gives.append({"id": str(uuid.uuid5(uuid.UUID(key), f"out/{name}")), "name": name, "type": typed})
        gives[-1]["linkIds"] = [number]
    takes = [
        {
            "id": str(uuid.uuid5(uuid.UUID(key), f"in/{name}")),
            "name": name,
            "type": typed,
            "linkIds": [entry["id"] for entry in links if entry["origin_id"] == -10 and entry["origin_slot"] == slot],
        }
        for slot, (name, typed) in enumerate(own)
    ]
    widget_names = [name for name, _ in blueprint.widgets]
    instance = {
        "id": len(nodes) + 1,
        "type": key,
        "pos": [0, 0],
        "size": [340, 60 + 24 * len(own)],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [
            {"name": name, "type": typed, "link": None} | ({"widget": {"name": name}} if name in widget_names else {})
            for name, typed in own
        ],
        "outputs": [{"name": name, "type": typed, "links": []} for name, typed, _ in blueprint.outputs],
        "title": blueprint.name,
        "properties": {"cnr_id": "defectforge", "ver": version},
        "widgets_values": [given[name] for name in widget_names],
    }
    subgraph = {
        "id": key,
        "version": 1,
        "state": {"lastGroupId": 0, "lastNodeId": len(nodes) + 1, "lastLinkId": len(links), "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": blueprint.name,
        "description": blueprint.description,
        "category": "DefectForge",
        "inputNode": {"id": -10, "bounding": [0, 0, 140, 40 + 20 * len(own)]},
        "outputNode": {"id": -20, "bounding": [max(n["pos"][0] for n in nodes) + 420, 0, 120, 60]},
        "inputs": takes,
        "outputs": gives,
        "widgets": [],
        "nodes": nodes,
        "groups": [],
        "links": links,
        "extra": {},
    }
    return {
        "revision": 0,
        "last_node_id": len(nodes) + 1,
        "last_link_id": 0,
        "nodes": [instance],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [subgraph]},
        "extra": {"BlueprintDescription": blueprint.description},
    }


def texts() -> dict[str, str]:
    """{file name: its text} of all blueprints."""
    import asyncio

    import defectforge
    from defectforge.nodes.extension import DefectForgeExtension

    types = {node.__name__: node for node in asyncio.run(DefectForgeExtension().get_node_list())}
    return {
        f"{blueprint.name}.json": json.dumps(written(blueprint, types, defectforge.__version__), indent=1) + "\n"
        for blueprint in BLUEPRINTS
    }


def main() -> None:
    import_package()
    PLACE.mkdir(exist_ok=True)
    for name, text in texts().items():
        (PLACE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
