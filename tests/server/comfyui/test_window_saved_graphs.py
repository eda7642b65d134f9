"""Graphs that other windows saved: opened here with every value, and saved again with the same.

`saved_by/<core>_<window>.json` were saved by those windows: DEFECTFORGE_SAVE_GRAPHS=1 pytest on this file writes them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from defectforge.runner.graphs.graph import SHIPPED

pytestmark = [pytest.mark.comfyui, pytest.mark.browser, pytest.mark.slow]

FOLDER = Path(__file__).with_name("saved_by")
FILES = sorted(FOLDER.glob("*.json"))
NAME = "reference_local"
#: Away from every default, in each kind of widget.
VALUES: dict[str, dict[str, Any]] = {
    "Good photo": {"root": "my photos", "category": "screw", "split": "test", "type": "scratch", "index": 7},
    "Object mask": {"sensitivity": 1.25, "when_unsure": "take the whole picture"},
    "Hole mask": {"seed": 123456789, "count": 3, "min_size": 0.04, "max_cracks": 1, "feather": 5.5},
    "Working crop": {"size": 640, "context": 1.5},
    "Reference cache": {"memory_limit": 1024, "rows_ahead": 2, "clear": True},
    "Masked content": {"mode": "original", "denoise": 0.85},
    "Reference-only": {
        "mode": "reference_adain+attn",
        "style_fidelity": 0.25,
        "reference_seed": 42,
        "noise": "fixed",
    },
    "Save pair": {"filename_prefix": "mine", "category": "screw", "type": "scratch"},
}


def by_title(graph: dict[str, Any]) -> dict[str, Any]:
    return {node["_meta"]["title"]: node["inputs"] for node in graph.values()}


def ours(data: dict[str, Any]) -> dict[str, list[Any]]:
    """Saved widget values of our nodes, by title."""
    return {
        node.get("title", node["type"]): node.get("widgets_values", [])
        for node in data["nodes"]
        if node["type"].startswith("DefectForge")
    }


@pytest.mark.skipif(not os.environ.get("DEFECTFORGE_SAVE_GRAPHS"), reason="not asked for: no DEFECTFORGE_SAVE_GRAPHS")
def test_this_window_saves_its_graph(shared_window, comfyui):
    shared_window.load(json.loads((SHIPPED / f"{NAME}.json").read_text(encoding="utf-8")))
    shared_window.close_dialogs()
    for title, values in VALUES.items():
        for name, value in values.items():
            shared_window.set_widget(title, name, value)
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{comfyui.version}_{comfyui.cell.window}.json"
    path.write_text(json.dumps(shared_window.window_form(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_graph_of_another_window_keeps_its_values(shared_window, path):
    data = json.loads(path.read_text(encoding="utf-8"))
    shared_window.load(data)
    assert shared_window.complaints() == ""
    shared_window.close_dialogs()
    queued = by_title(shared_window.queue_form())
    for title, values in VALUES.items():
        assert {name: queued[title].get(name) for name in values} == values, title
    kept = ours(shared_window.window_form())
    # Inputs are only ever appended: what an older pack saved stands at the beginning, the rest is the default.
    for title, before in ours(data).items():
        assert kept[title][: len(before)] == before, title
    again = shared_window.window_form()
    shared_window.load(again)
    shared_window.close_dialogs()
    assert ours(shared_window.window_form()) == kept


def test_there_are_graphs_of_both_cores():
    assert {path.stem.split("_")[0] for path in FILES} >= {"0.3.64", "0.28.1"}
