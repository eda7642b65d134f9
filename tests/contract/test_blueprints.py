"""The blueprints that the window lists: as written by their tool, of nodes that exist, links from socket to socket."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from defectforge.nodes.extension import DefectForgeExtension

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "tools"))

import blueprints  # noqa: E402

FILES = sorted((ROOT / "subgraphs").glob("*.json"))
OURS = {node.__name__: node for node in asyncio.run(DefectForgeExtension().get_node_list())}


def test_they_are_what_the_tool_writes():
    """`python tests/tools/blueprints.py` writes them."""
    assert {path.name: path.read_text(encoding="utf-8") for path in FILES} == blueprints.texts()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_holds_one_instance_of_one_subgraph(path):
    data = json.loads(path.read_text(encoding="utf-8"))
    (instance,), (subgraph,) = data["nodes"], data["definitions"]["subgraphs"]
    assert instance["type"] == subgraph["id"]
    assert path.stem == instance["title"] == subgraph["name"]
    assert [entry["name"] for entry in instance["inputs"]] == [entry["name"] for entry in subgraph["inputs"]]
    assert len(instance["widgets_values"]) == sum("widget" in entry for entry in instance["inputs"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_link_joins_what_fits(path):
    (subgraph,) = json.loads(path.read_text(encoding="utf-8"))["definitions"]["subgraphs"]
    nodes = {node["id"]: node for node in subgraph["nodes"]}
    for link in subgraph["links"]:
        inside = link["origin_id"] in nodes
        outputs = nodes[link["origin_id"]]["outputs"] if inside else subgraph["inputs"]
        inputs = nodes[link["target_id"]]["inputs"] if link["target_id"] in nodes else subgraph["outputs"]
        source, target = outputs[link["origin_slot"]], inputs[link["target_slot"]]
        assert source["type"] == target["type"] == link["type"], link
        assert link["id"] in (source["links"] if inside else source["linkIds"])
        assert link["id"] == target.get("link") or link["id"] in target.get("linkIds", ())
    for entry in subgraph["inputs"]:
        assert entry["linkIds"], f"{entry['name']} leads nowhere"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_our_nodes_in_it_have_every_required_socket_and_value(path):
    (subgraph,) = json.loads(path.read_text(encoding="utf-8"))["definitions"]["subgraphs"]
    for node in subgraph["nodes"]:
        if node["type"] not in OURS:
            continue
        info = OURS[node["type"]].GET_NODE_INFO_V1()
        linked = {entry["name"] for entry in node["inputs"] if entry["link"] is not None}
        for name, (_, options) in info["input"]["required"].items():
            assert "default" in options or name in linked, f"{node['title']}.{name}"
