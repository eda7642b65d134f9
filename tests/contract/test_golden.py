"""Saved graphs keep working: what a node once promised stays, and anything new is appended.

Graphs store widget values by position and links by slot number, so an input in the middle or a renamed output breaks
every saved graph. `golden_nodes.json` holds what has been promised; after appending something on purpose, run
``DEFECTFORGE_UPDATE_GOLDEN=1 pytest tests/contract/test_golden.py`` and commit the file.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from defectforge.nodes.extension import DefectForgeExtension

GOLDEN = Path(__file__).with_name("golden_nodes.json")


def promise(node: Any) -> dict[str, Any]:
    """What saved graphs rely on: inputs in order with type and choices, outputs in order."""
    info = node.GET_NODE_INFO_V1()
    inputs = []
    for group in ("required", "optional"):
        for name in info["input_order"].get(group, []):
            kind, *options = info["input"][group][name]
            choices = kind if isinstance(kind, list) else (options[0].get("options") if options else None)
            inputs.append(
                {"name": name, "type": "COMBO" if isinstance(kind, list) else kind, "optional": group == "optional"}
                | ({"choices": choices} if choices else {})
            )
    return {
        "inputs": inputs,
        "outputs": [list(pair) for pair in zip(info["output"], info["output_name"], strict=True)],
        "output_node": info["output_node"],
    }


PRESENT = {node.GET_SCHEMA().node_id: promise(node) for node in asyncio.run(DefectForgeExtension().get_node_list())}
if os.environ.get("DEFECTFORGE_UPDATE_GOLDEN"):
    GOLDEN.write_text(json.dumps(PRESENT, indent=1) + "\n", encoding="utf-8")
PROMISED: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PROMISED)
def test_a_promised_node_is_still_there_and_has_only_grown_at_the_end(name):
    assert name in PRESENT, "deprecate a node, never remove it"
    old, new = PROMISED[name], PRESENT[name]
    for before, after in zip(old["inputs"], new["inputs"], strict=False):
        assert {key: after.get(key) for key in ("name", "type", "optional")} == {
            key: before[key] for key in ("name", "type", "optional")
        }
        assert set(before.get("choices", [])) <= set(after.get("choices", []))
    assert len(new["inputs"]) >= len(old["inputs"])
    assert all(entry["optional"] for entry in new["inputs"][len(old["inputs"]) :]), "a new input must be optional"
    assert new["outputs"][: len(old["outputs"])] == old["outputs"]
    assert new["output_node"] == old["output_node"]


def test_every_node_is_promised():
    assert set(PRESENT) == set(PROMISED), "a new node: update the golden file"
