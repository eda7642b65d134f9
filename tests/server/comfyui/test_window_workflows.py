"""What a person sees: templates with thumbnails, graphs that open, run, export and show their help."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from defectforge.runner.graphs.graph import SHIPPED, shipped_workflows
from newer_nodes import skip_if_newer

pytestmark = [pytest.mark.comfyui, pytest.mark.browser, pytest.mark.slow]

NAMES = shipped_workflows()
PACK_FOLDER = "defectforge"


def saved(name: str, form: str = "") -> dict[str, Any]:
    data: dict[str, Any] = json.loads((SHIPPED / form / f"{name}.json").read_text(encoding="utf-8"))
    return data


def without_titles(graph: dict[str, Any]) -> dict[str, Any]:
    return {id_: {"class_type": node["class_type"], "inputs": node["inputs"]} for id_, node in graph.items()}


def test_the_template_browser_lists_all_with_thumbnails(shared_window):
    cards = shared_window.browse_templates(PACK_FOLDER)
    shared_window.close_dialogs()
    assert set(cards) == set(NAMES)
    assert [name for name, width in cards.items() if width == 0] == [], "no thumbnail was drawn for these"


@pytest.fixture(scope="module", params=NAMES)
def opened(request: pytest.FixtureRequest, shared_window: Any, comfyui: Any) -> tuple[Any, str]:
    """A window in which this workflow was opened without a complaint, and its name."""
    skip_if_newer(request.param, comfyui)
    shared_window.load(saved(request.param))
    assert shared_window.complaints() == ""
    shared_window.close_dialogs()
    return shared_window, request.param


def test_it_opens_without_missing_nodes_and_exports_the_committed_queue_form(opened):
    window, name = opened
    exported = window.queue_form()
    committed = saved(name, "api")
    assert without_titles(exported) == without_titles(committed)
    assert {id_: node["_meta"]["title"] for id_, node in exported.items()} == {
        id_: node["_meta"]["title"] for id_, node in committed.items()
    }


def test_nodes_are_large_enough_for_what_they_hold(opened):
    """A node that is too small grows when it is opened, and then lies on its neighbour."""
    window, name = opened
    grown = window.page.evaluate(
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
    shared_window.alone(node_type)
    page = (SHIPPED.parent / "nodes" / "web" / "docs" / f"{node_type}.md").read_text(encoding="utf-8")
    prose = next(line for line in page.splitlines() if line[:1].isalpha() and "[" not in line and "`" not in line)
    beginning = " ".join(prose.replace("*", "").split()[:6])
    assert beginning in " ".join(shared_window.help_of(node_type, beginning).split())
    (picture,) = shared_window.help_pictures()
    assert picture["file"] == f"{node_type}.jpg"
    assert picture["width"] > 0, "it did not load"
    assert f"![{picture['words']}]" in page


def prepare(window: Any, nuts: Path, name: str = "inpaint_latent_noise") -> None:
    """What the note tells a person to set first, with the miniature."""
    window.load(saved(name))
    window.close_dialogs()
    window.set_widget("Good photo", "root", nuts.name)
    window.set_widget("Checkpoint", "ckpt_name", "miniature.safetensors")
    for title in ("Denoise mask", "Working crop"):
        if any(node["title"] == title for node in saved(name)["nodes"]):
            window.set_widget(title, "size", 128)


def test_run_gives_previews_on_the_canvas(miniatures, window, nuts_as_input):
    prepare(window, nuts_as_input)
    window.set_widget("Sampler", "steps", 4)
    window.run()
    sizes = window.preview_sizes("Object mask", "Hole mask", "Working crop", "Masked content", "Blend defect")
    assert sizes["Object mask"] == sizes["Hole mask"] == sizes["Blend defect"] == [256, 256]
    assert sizes["Working crop"] == sizes["Masked content"] == [128, 128]


def test_a_graph_saved_after_changing_a_widget_runs_headlessly(
    miniatures, window, nuts_as_input, run_headless, tmp_path
):
    prepare(window, nuts_as_input, "img2img")  # it saves whatever was painted
    window.set_widget("Sampler", "steps", 3)
    window.set_widget("Prompt", "text", "a cracked nut")
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(window.window_form()), encoding="utf-8")
    pairs = run_headless(path, out=tmp_path / "out")
    (record,) = pairs
    assert record["prompts"]["Prompt"] == "a cracked nut"
