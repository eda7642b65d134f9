"""Blueprints in the window: listed by the server, opened with their widgets, queued as the graph that they hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from defectforge.runner.graphs.graph import SHIPPED

FILES = sorted((SHIPPED.parent / "subgraphs").glob("*.json"))

pytestmark = [pytest.mark.comfyui, pytest.mark.browser, pytest.mark.slow]


def test_the_server_lists_them(comfyui):
    if comfyui.version == "0.3.64":
        pytest.skip("ComfyUI 0.3.64 knows no blueprints of packs")
    listed = comfyui.get("/global_subgraphs").values()
    ours = {entry["name"] for entry in listed if entry["info"]["node_pack"].endswith(".defectforge")}
    assert ours == {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_opens_and_gives_its_values_to_the_nodes_inside(window, path):
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if not window.page.evaluate("typeof window.app.graph.convertToSubgraph === 'function'"):
        pytest.skip("this window has no subgraphs")
    window.load(data)
    assert window.complaints() == ""
    window.close_dialogs()
    (instance,) = data["nodes"]
    names = [entry["name"] for entry in instance["inputs"] if "widget" in entry]
    shown = window.page.evaluate("window.app.graph._nodes[0].widgets.map(w => [w.name, w.value])")
    assert [name for name, _ in shown] == names
    assert [value for _, value in shown] == instance["widgets_values"]
    window.page.evaluate("() => { const w = window.app.graph._nodes[0].widgets[0]; w.value = 256; w.callback?.(256) }")
    queued = window.queue_form()
    crop = next(node for node in queued.values() if node["class_type"] == "DefectForgeCropForDefect")
    assert crop["inputs"]["size"] == 256
