"""What a person sees: templates with thumbnails, graphs that open, run, export and show their help."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from comfyui_hosts import numbers
from defectforge.runner.graphs.graph import SHIPPED, shipped_workflows

pytestmark = [pytest.mark.comfyui, pytest.mark.browser, pytest.mark.slow]

NAMES = shipped_workflows()
#: Nodes that came after the oldest core.
NEWER = {"Flux2Scheduler"}
PACK_FOLDER = "defectforge"


def saved(name: str, form: str = "") -> dict[str, Any]:
    data: dict[str, Any] = json.loads((SHIPPED / form / f"{name}.json").read_text(encoding="utf-8"))
    return data


def skip_if_newer(name: str, comfyui: Any) -> None:
    """A workflow of nodes that this core does not have: `check` names them (test_modern_models.py)."""
    if {node["type"] for node in saved(name)["nodes"]} & NEWER and numbers(comfyui.version) < (0, 28):
        pytest.skip(f"ComfyUI {comfyui.version} lacks {', '.join(NEWER)}")


def without_titles(graph: dict[str, Any]) -> dict[str, Any]:
    return {id_: {"class_type": node["class_type"], "inputs": node["inputs"]} for id_, node in graph.items()}


def test_the_template_browser_lists_all_with_thumbnails(shared_window):
    cards = shared_window.browse_templates(PACK_FOLDER)
    shared_window.close_dialogs()
    assert set(cards) == set(NAMES)
    assert [name for name, width in cards.items() if width == 0] == [], "no thumbnail was drawn for these"


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_without_missing_nodes_and_exports_the_committed_queue_form(shared_window, comfyui, name):
    skip_if_newer(name, comfyui)
    shared_window.load(saved(name))
    assert shared_window.complaints() == ""
    shared_window.close_dialogs()
    exported = shared_window.queue_form()
    committed = saved(name, "api")
    assert without_titles(exported) == without_titles(committed)
    assert {id_: node["_meta"]["title"] for id_, node in exported.items()} == {
        id_: node["_meta"]["title"] for id_, node in committed.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_nodes_are_large_enough_for_what_they_hold(shared_window, comfyui, name):
    """A node that is too small grows when it is opened, and then lies on its neighbour."""
    skip_if_newer(name, comfyui)
    shared_window.load(saved(name))
    shared_window.close_dialogs()
    grown = shared_window.page.evaluate(
        """saved => window.app.graph._nodes.filter(n => {
            const least = n.computeSize(), was = saved.find(s => String(s.id) === String(n.id)).size
            return least[0] > was[0] + 1 || least[1] > was[1] + 1
        }).map(n => [n.title, [...n.computeSize()], [...n.size]])""",
        saved(name)["nodes"],
    )
    assert grown == []


def help_pages() -> list[str]:
    return sorted(path.stem for path in (SHIPPED.parent / "nodes" / "web" / "docs").glob("*.md"))


@pytest.mark.parametrize("node_type", help_pages())
def test_the_help_panel_shows_the_page_of_each_node_with_its_picture(shared_window, node_type):
    name = next(name for name in NAMES if any(n["type"] == node_type for n in saved(name)["nodes"]))
    shared_window.load(saved(name))
    shared_window.close_dialogs()
    page = (SHIPPED.parent / "nodes" / "web" / "docs" / f"{node_type}.md").read_text(encoding="utf-8")
    prose = next(line for line in page.splitlines() if line[:1].isalpha() and "[" not in line and "`" not in line)
    beginning = " ".join(prose.replace("*", "").split()[:6])
    assert beginning in " ".join(shared_window.help_of(node_type, beginning).split())
    (picture,) = shared_window.help_pictures()
    assert picture["file"] == f"{node_type}.jpg"
    assert picture["width"] > 0, "it did not load"
    assert f"![{picture['words']}]" in page


def prepare(window: Any, nuts: Path, name: str = "inpaint_latent_noise") -> None:
    """What the note tells a person to set first, and a small, quick sampling."""
    window.load(saved(name))
    window.close_dialogs()
    window.set_widget("Good photo", "root", nuts.name)
    window.set_widget("Checkpoint", "ckpt_name", "random-sd15.safetensors")
    window.set_widget("Working crop", "size", 128)
    window.set_widget("Sampler", "steps", 2)


def test_run_gives_previews_on_the_canvas(window, nuts_as_input):
    prepare(window, nuts_as_input)
    window.run()
    sizes = window.preview_sizes("Object mask", "Hole mask", "Working crop", "Masked content", "Save pair")
    assert sizes["Object mask"] == sizes["Hole mask"] == sizes["Save pair"] == [256, 256]
    assert sizes["Working crop"] == sizes["Masked content"] == [128, 128]


def test_a_graph_saved_after_changing_a_widget_runs_headlessly(window, nuts_as_input, run_headless, tmp_path):
    prepare(window, nuts_as_input)
    window.set_widget("Sampler", "steps", 3)
    window.set_widget("Prompt", "text", "a cracked nut")
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(window.window_form()), encoding="utf-8")
    pairs = run_headless(path, out=tmp_path / "out")
    (record,) = pairs
    assert record["prompts"]["Prompt"] == "a cracked nut"
