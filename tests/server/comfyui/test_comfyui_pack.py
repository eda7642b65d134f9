"""ComfyUI takes the pack: every node, its help page, its languages, its templates."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from defectforge.nodes.extension import DefectForgeExtension
from defectforge.runner.graphs.graph import SHIPPED, shipped_workflows

pytestmark = pytest.mark.comfyui

NODES = {node.define_schema().node_id: node for node in asyncio.run(DefectForgeExtension().get_node_list())}
ROOT = SHIPPED.parent
FOLDER = "defectforge"


@pytest.fixture(scope="module")
def object_info(comfyui: Any) -> dict[str, Any]:
    info: dict[str, Any] = comfyui.object_info()
    return info


def test_the_pack_is_loaded_without_a_complaint(comfyui):
    log = comfyui.log.read_text(encoding="utf-8", errors="replace")
    assert f"custom_nodes/{FOLDER}" in log
    assert "(IMPORT FAILED): " not in log or FOLDER not in log.split("(IMPORT FAILED): ", 1)[1].splitlines()[0]
    assert "DefectForge could not load" not in log


@pytest.mark.parametrize("node_id", NODES)
def test_comfyui_describes_the_node_as_the_stand_in_does(object_info, as_told_by, node_id):
    """Graphs that are made against one server have to fit the other: same inputs, same order, same outputs."""
    ours = as_told_by(NODES[node_id].GET_NODE_INFO_V1())
    theirs = object_info[node_id]
    assert theirs["input_order"] == ours["input_order"]
    assert theirs["input"] == ours["input"]
    for key in ("output", "output_name", "output_tooltips", "display_name", "description", "category", "output_node"):
        assert theirs[key] == ours[key], key


@pytest.mark.parametrize("node_id", NODES)
def test_its_help_page_is_served(comfyui, node_id):
    served = comfyui.text(f"/extensions/{FOLDER}/docs/{node_id}.md")
    assert served == (ROOT / "nodes" / "web" / "docs" / f"{node_id}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("language", ["en", "ja"])
def test_its_texts_are_served(comfyui, language):
    served = comfyui.get("/i18n")[language]["nodeDefs"]
    for node_id, texts in json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text("utf-8")).items():
        assert served[node_id] == texts


def test_its_templates_are_listed(comfyui):
    assert sorted(comfyui.get("/workflow_templates")[FOLDER]) == shipped_workflows()
