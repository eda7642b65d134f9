"""What Save Defect Pair shows in the window after a run: source, result, requested mask and label, and the scores."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectforge.runner.graphs.graph import SHIPPED
from PIL import Image

pytestmark = [pytest.mark.comfyui, pytest.mark.browser, pytest.mark.slow]

TITLE = "Save pair"
VIEW = ".defectforge-pairs"

#: The shipped workflow that needs no model, with scores and with its label as what was asked for.
ADD_SCORES = """() => {
    const { graph } = window.app
    const node = title => graph._nodes.find(n => n.title === title)
    const score = window.LiteGraph.createNode("DefectForgeScoreDefect")
    graph.add(score)
    const slot = (node, name) => node.inputs.findIndex(i => i.name === name)
    const link = (from, output, to, input) => from.connect(output, to, slot(to, input))
    link(node("Good photo"), 0, score, "source")
    link(node("Transplant"), 0, score, "image")
    link(node("Transplant"), 1, score, "label_mask")
    link(node("Transplant"), 1, score, "requested_mask")
    link(node("Transplant"), 1, node("Save pair"), "requested_mask")
    link(score, 0, node("Save pair"), "scores")
}"""


@pytest.fixture
def prepared(window, nuts_as_input: Path):
    """A window with the graph that saves a pair, not run yet."""
    window.load(json.loads((SHIPPED / "transplant.json").read_text(encoding="utf-8")))
    window.close_dialogs()
    for title in ("Good photo", "Reference defect"):
        window.set_widget(title, "root", nuts_as_input.name)
    return window


def run(window: Any) -> Any:
    """Run the graph; gives the view once it shows something."""
    window.run()
    window.center(TITLE)
    window.page.wait_for_selector(f"{VIEW} canvas[data-view], {VIEW} output:not(:empty)", timeout=600_000)
    return window.page.locator(VIEW)


@pytest.fixture
def saved(prepared):
    """The same after a run with scores."""
    prepared.page.evaluate(ADD_SCORES)
    run(prepared)
    return prepared


def turn(window: Any, name: str) -> np.ndarray:
    window.page.locator(VIEW).get_by_role("radio", name=name).click()
    return shown(window, name)


def shown(window: Any, name: str) -> np.ndarray:
    """The picture in the view, once it is that of this name."""
    window.page.wait_for_selector(f"{VIEW} canvas[data-view={name}]")
    link = window.page.locator(f"{VIEW} canvas").evaluate("canvas => canvas.toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(link.split(",")[1]))).convert("RGB")).astype(int)


def test_it_flips_between_photo_result_requested_mask_and_label(saved):
    source, result, requested, label = (turn(saved, name) for name in ("source", "result", "requested", "label"))
    assert source.shape == result.shape == requested.shape == label.shape == (256, 256, 3)
    # The photo comes as a JPEG: away from the defect it differs from the result by that alone.
    changed = abs(source - result).max(axis=2) > 60
    assert 20 < changed.sum() < 0.2 * changed.size
    drawn = {"requested": abs(requested - source).max(axis=2) > 0, "label": abs(label - result).max(axis=2) > 0}
    np.testing.assert_array_equal(drawn["requested"], drawn["label"], "here the label is what was asked for")
    assert 20 < drawn["label"].sum() < 0.2 * changed.size
    assert drawn["label"][changed].mean() > 0.8


def test_the_scores_stand_under_it(saved):
    said = saved.page.locator(f"{VIEW} dl div").all_inner_texts()
    names = [text.split()[0] for text in said]
    assert {"quality", "presence", "label_share"} <= set(names)
    node = saved.page.evaluate("window.app.graph._nodes.find(n => n.type === 'DefectForgeScoreDefect').id")
    assert node is not None
    values = dict(text.split(maxsplit=1) for text in said)
    assert 0 < float(values["label_share"]) < 0.2
    assert values["likeness" if "likeness" in values else "quality"]


def test_keyboard_alone_turns_it(saved):
    view = saved.page.locator(VIEW)
    assert view.get_by_role("radiogroup").get_attribute("aria-label") == "What is shown of the pair"
    view.get_by_role("radio", name="result").focus()
    for key, name in (
        ("ArrowRight", "requested"),
        ("ArrowRight", "label"),
        ("ArrowRight", "source"),
        ("ArrowLeft", "label"),
    ):
        saved.page.keyboard.press(key)
        shown(saved, name)
        assert view.get_by_role("radio", name=name).get_attribute("aria-checked") == "true"
        assert saved.page.evaluate("document.activeElement.textContent") == name
    view.locator(".picture").focus()
    saved.page.keyboard.press("Enter")
    shown(saved, "source")
    assert view.get_by_role("img").get_attribute("aria-label") == "source"


def test_the_window_s_own_rows_of_the_same_pictures_are_not_shown(saved):
    node = "window.app.graph._nodes.find(n => n.title === 'Save pair')"
    saved.page.wait_for_timeout(1_000)
    assert saved.page.evaluate(f"{node}.widgets.map(w => w.name).includes('$$canvas-image-preview')") is False
    drawn = saved.page.evaluate(f'document.querySelectorAll(`[data-node-id="${{{node}.id}}"] img`).length')
    assert drawn == 0


def test_what_is_not_there_cannot_be_chosen_and_says_why(prepared):
    prepared.page.evaluate(
        """() => {
            const node = window.app.graph._nodes.find(n => n.title === "Save pair")
            node.disconnectInput(node.inputs.findIndex(i => i.name === "source_path"))
        }"""
    )
    view = run(prepared)
    for name, why in (("source", "connect source_path"), ("requested", "requested_mask is not connected")):
        button = view.get_by_role("radio", name=name)
        assert button.is_disabled()
        assert why in str(button.get_attribute("title"))
    assert view.get_by_role("radio", name="label").is_enabled()
    assert view.locator("dl").inner_text() == "no scores: connect Score Defect"


def test_the_graph_is_saved_and_queued_as_without_it(saved):
    before = json.loads((SHIPPED / "transplant.json").read_text(encoding="utf-8"))
    node = next(node for node in saved.window_form()["nodes"] if node["title"] == TITLE)
    same = next(node for node in before["nodes"] if node["title"] == TITLE)
    assert node["widgets_values"] == same["widgets_values"]
    assert VIEW.strip(".") not in json.dumps(saved.queue_form())
