"""The blueprints in a graph of one's own: they are what the shipped workflows are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectforge.runner.graphs.convert import queue_form
from defectforge.runner.graphs.graph import SHIPPED, Workflow
from PIL import Image

SUBGRAPHS = SHIPPED.parent / "subgraphs"
PAINT, REFERENCE = "Paint a defect into a mask", "Local reference from a real defect"
#: Blueprint's socket -> what gives it in the shipped workflows.
SOURCES = {
    "image": "Good photo.image",
    "mask": "Hole mask.label_mask",
    "model": "Checkpoint.MODEL",
    "vae": "Checkpoint.VAE",
    "positive": "Prompt.CONDITIONING",
    "negative": "Negative prompt.CONDITIONING",
    "reference_photo": "Reference defect.image",
    "reference_mask": "Reference defect.mask",
}
#: What a blueprint does in the shipped workflow's stead.
REPLACED = {
    PAINT: ["Denoise mask", "Working crop", "Masked content", "Draws", "Sampler", "Decode", "Blend defect"],
    REFERENCE: ["Reference crop", "Reference-only", "Reference cache"],
}

Graph = dict[str, Any]


def saved(path: Path) -> Graph:
    data: Graph = json.loads(path.read_text(encoding="utf-8"))
    return data


class Drawing:
    """A window's graph in which nodes are taken out and blueprints put in."""

    def __init__(self, name: str) -> None:
        self.data = saved(SHIPPED / f"{name}.json")
        self.data["definitions"] = {"subgraphs": []}

    def node(self, title: str) -> Graph:
        found: Graph = next(node for node in self.data["nodes"] if node["title"] == title)
        return found

    def remove(self, *titles: str) -> None:
        gone = {self.node(title)["id"] for title in titles}
        self.data["nodes"] = [node for node in self.data["nodes"] if node["id"] not in gone]
        self.data["links"] = [link for link in self.data["links"] if not gone & {link[1], link[3]}]
        kept = {link[0] for link in self.data["links"]}
        for node in self.data["nodes"]:
            for entry in node.get("inputs", []):
                entry["link"] = entry["link"] if entry["link"] in kept else None
            for entry in node.get("outputs", []):
                entry["links"] = [link for link in entry["links"] or [] if link in kept]

    def add(self, blueprint: str, size: int) -> None:
        whole = saved(SUBGRAPHS / f"{blueprint}.json")
        (instance,) = whole["nodes"]
        instance["id"] = self.data["last_node_id"] = self.data["last_node_id"] + 1
        names = [entry["name"] for entry in instance["inputs"] if "widget" in entry]
        instance["widgets_values"][names.index("size")] = size
        self.data["nodes"].append(instance)
        self.data["definitions"]["subgraphs"] += whole["definitions"]["subgraphs"]

    def connect(self, origin: str, target: str) -> None:
        """Both as `title.socket`."""
        (source, output), (end, name) = origin.split("."), target.split(".")
        giver, taker = self.node(source), self.node(end)
        slot = next(i for i, entry in enumerate(giver["outputs"]) if entry["name"] == output)
        at = next(i for i, entry in enumerate(taker["inputs"]) if entry["name"] == name)
        number = self.data["last_link_id"] = self.data["last_link_id"] + 1
        typed = giver["outputs"][slot]["type"]
        self.data["links"].append([number, giver["id"], slot, taker["id"], at, typed])
        taker["inputs"][at]["link"] = number
        giver["outputs"][slot]["links"] = [*(giver["outputs"][slot]["links"] or []), number]


def rebuilt(name: str, size: int) -> Graph:
    """A shipped workflow with blueprints in the place of the nodes that they hold."""
    drawing = Drawing(name)
    blueprints = [PAINT, REFERENCE] if name == "reference_local" else [PAINT]
    drawing.remove(*(title for blueprint in blueprints for title in REPLACED[blueprint]))
    for blueprint in blueprints:
        drawing.add(blueprint, size)
    if REFERENCE in blueprints:
        drawing.connect(f"{REFERENCE}.model", f"{PAINT}.model")
    for blueprint in blueprints:
        for entry in drawing.node(blueprint)["inputs"]:
            if "widget" not in entry and entry["link"] is None:
                drawing.connect(SOURCES[entry["name"]], f"{blueprint}.{entry['name']}")
    for target in ("Score defect.image", "Keep best.image"):
        drawing.connect(f"{PAINT}.image", target)
    for target in ("Score defect.label_mask", "Keep best.label_mask"):
        drawing.connect(f"{PAINT}.label_mask", target)
    return drawing.data


def parts(graph: Graph) -> dict[str, Graph]:
    """{title: class and inputs} of a queue form; links as `title.slot`, through a repeated latent to its source."""
    titles = {id_: node["_meta"]["title"] for id_, node in graph.items()}

    def end(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        source = graph[value[0]]
        through = source["class_type"] == "RepeatLatentBatch"
        return end(source["inputs"]["samples"]) if through else f"{titles[value[0]]}.{value[1]}"

    found = {}
    for id_, node in graph.items():
        inputs = {name: end(value) for name, value in node["inputs"].items()}
        found[titles[id_]] = {"class_type": node["class_type"], "inputs": inputs}
    return found


@pytest.mark.parametrize("name", ["inpaint_latent_noise", "reference_local"])
def test_a_graph_of_blueprints_is_the_shipped_workflow(known_nodes: Graph, name: str) -> None:
    """The sampler is the short one, a latent is not repeated, and features are not cached; the rest is the same."""
    mine = Workflow(name, Path(f"{name}.json"), "window", rebuilt(name, 512), "")
    ours, theirs = parts(queue_form(mine, known_nodes)), parts(saved(SHIPPED / "api" / f"{name}.json"))
    for title, node in theirs.items():
        if title in ("Draws", "Reference cache"):
            continue
        inputs = node["inputs"].items()
        expected = {key: value for key, value in inputs if not str(value).startswith("Reference cache.")}
        if title == "Sampler":
            assert (ours[title]["class_type"], node["class_type"]) == ("KSampler", "KSamplerAdvanced")
            expected["seed"] = expected.pop("noise_seed")
            assert (expected.pop("add_noise"), expected.pop("return_with_leftover_noise")) == ("enable", "disable")
            assert (expected.pop("start_at_step"), expected.pop("end_at_step")) == (0, 10000)
            expected["denoise"] = 1.0
        if title == "Masked content":
            # For any family of models; the workflow is of one, and needs no model there.
            assert ours[title]["inputs"].pop("model") == ours["Sampler"]["inputs"]["model"]
        assert ours[title]["inputs"] == expected, title
    assert ours.keys() == theirs.keys() - {"Draws", "Reference cache"}


@pytest.mark.slow
def test_it_runs_and_labels_what_it_painted(cli: Any, nuts: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(rebuilt("reference_local", 128)), encoding="utf-8")
    done = cli("run", path, "--model", "miniature", "--data", nuts, "--count", 1, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    (label,) = (tmp_path / "out" / "hazelnut" / "ground_truth").rglob("*_mask.png")
    assert np.count_nonzero(np.asarray(Image.open(label))) > 20
