"""Choosing a photo in the window by looking: the dialog, the thumbnail on the node, and what graphs keep of it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from defectforge.runner.graphs.graph import SHIPPED
from PIL import Image, ImageStat

pytestmark = [pytest.mark.comfyui, pytest.mark.browser, pytest.mark.slow]

NAME = "inpaint_latent_noise"
TITLE = "Good photo"
DIALOG = ".defectforge-dataset"
MESSAGE = f"{DIALOG} [role=alert]:visible"
# Parts of the node, relative to its corner.
PICTURE = (12, 6, 74, 74)
BUTTON = (94, 8, 78, 22)

Box = tuple[int, int, int, int]


@pytest.fixture(scope="module")
def drawn(comfyui) -> str:
    """A dataset under the server's input folder; gives the root to type in."""
    from defectforge.runner.nuts import write_dataset

    write_dataset(comfyui.base / "input" / "drawn", n_good=3, n_defect=2, size=128, seed=3, kinds=("hole", "crack"))
    return "drawn"


@pytest.fixture
def errors(window) -> Iterator[list[str]]:
    """What scripts threw while the test ran: nothing, whatever the server says."""
    seen: list[str] = []
    window.page.on("pageerror", lambda error: seen.append(str(error)))
    yield seen
    assert seen == []


@pytest.fixture
def opened(window, errors):
    """A shipped workflow with its node that loads a photo in full view."""
    saved = json.loads((SHIPPED / f"{NAME}.json").read_text(encoding="utf-8"))
    window.load(saved)
    window.close_dialogs()
    window.page.evaluate(
        """title => {
            const node = window.app.graph._nodes.find(n => n.title === title)
            window.app.canvas.centerOnNode(node)
            window.app.canvas.setDirty(true, true)
        }""",
        TITLE,
    )
    return window


def committed(**changes: Any) -> dict[str, Any]:
    """The inputs of the committed queue form, by title, with other inputs for the photo."""
    graph = json.loads((SHIPPED / "api" / f"{NAME}.json").read_text(encoding="utf-8"))
    inputs = by_title(graph)
    inputs[TITLE] = inputs[TITLE] | changes
    return inputs


def by_title(graph: dict[str, Any]) -> dict[str, Any]:
    return {node["_meta"]["title"]: node["inputs"] for node in graph.values()}


def saved_node(window: Any) -> dict[str, Any]:
    return next(node for node in window.window_form()["nodes"] if node.get("title") == TITLE)


def on_screen(window: Any, box: Box) -> dict[str, float]:
    """A part of the node in the page's pixels."""
    return window.page.evaluate(
        """([title, [x, y, width, height]]) => {
            const { graph, canvas } = window.app
            const node = graph._nodes.find(n => n.title === title)
            const corner = canvas.convertOffsetToCanvas([node.pos[0] + x, node.pos[1] + y])
            const page = canvas.canvas.getBoundingClientRect(), scale = canvas.ds.scale
            return { x: page.left + corner[0], y: page.top + corner[1], width: width * scale, height: height * scale }
        }""",
        [TITLE, box],
    )


def set_root(window: Any, root: str) -> None:
    window.set_widget(TITLE, "root", root)
    window.page.evaluate("window.app.canvas.setDirty(true, true)")  # as after a person's typing


def press(window: Any, box: Box) -> None:
    place = on_screen(window, box)
    window.page.mouse.click(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)


def browse(window: Any) -> Any:
    """Press Browse on the node; gives the dialog once it lists or says something."""
    press(window, BUTTON)
    window.page.wait_for_selector(f"{DIALOG} .photos button, {MESSAGE}")
    return window.page.locator(DIALOG)


def take(window: Any, folder: str, index: int) -> None:
    """In the open dialog: choose a split and type, then a photo."""
    window.page.locator(f"{DIALOG} nav button[title='{folder}']").click()
    window.page.locator(f"{DIALOG} .photos button").nth(index).click()
    window.page.wait_for_selector(DIALOG, state="detached")


def wait_for_note(window: Any, note: str) -> None:
    """Wait for what the node says below Browse, or in place of a picture."""
    window.page.wait_for_function(
        "([t, note]) => window.app.graph._nodes.find(n => n.title === t).defectforgePreview.note === note",
        arg=[TITLE, note],
    )
    window.page.wait_for_timeout(300)


def colours(window: Any) -> float:
    """How much there is to see where the node shows its photo: the spread of the red channel."""
    place = on_screen(window, PICTURE)
    return ImageStat.Stat(Image.open(io.BytesIO(window.page.screenshot(clip=place)))).stddev[0]


def test_the_dialog_lists_what_the_root_holds(opened, drawn):
    set_root(opened, drawn)
    dialog = browse(opened)
    assert dialog.locator("option").all_inner_texts() == ["hazelnut"]
    folders = dialog.locator("nav button")
    assert [folder.get_attribute("title") for folder in folders.all()] == ["train/good", "test/crack", "test/hole"]
    assert dialog.locator("nav button small").all_inner_texts() == ["3", "2", "2"]
    assert dialog.locator("[aria-current=true]").all_inner_texts() == ["good\n3", "0"], "what the node names now"
    assert dialog.locator("footer span").inner_text() == "hazelnut, train, good: index 0 to 2"
    opened.page.wait_for_function(
        "d => [...document.querySelectorAll(d + ' img')].every(i => i.naturalWidth === 128)", arg=DIALOG
    )
    opened.page.evaluate("t => window.app.canvas.selectNode(window.app.graph._nodes.find(n => n.title === t))", TITLE)
    folders.last.click()
    opened.page.keyboard.press("Delete")  # a shortcut of the graph, which is not meant while the dialog is open
    opened.page.keyboard.press("Escape")
    opened.page.wait_for_selector(DIALOG, state="detached")
    assert by_title(opened.queue_form()) == committed(root=drawn), "looking changes nothing"


def test_taking_a_photo_sets_the_widgets_and_the_node_shows_it(opened, drawn):
    wait_for_note(opened, "no photo")
    empty = colours(opened)
    set_root(opened, drawn)
    wait_for_note(opened, "index 0–2")
    browse(opened)
    take(opened, "test/hole", 1)
    wait_for_note(opened, "index 0–1")
    assert colours(opened) > 2 * empty
    assert by_title(opened.queue_form()) == committed(root=drawn, split="test", type="hole", index=1)
    node = saved_node(opened)
    assert node["widgets_values"] == [drawn, "hazelnut", "test", "hole", 1, "fixed"]
    assert node["size"] == [330, 244], "the preview takes no room from its neighbours"
    opened.page.keyboard.press("Control+z")
    wait_for_note(opened, "index 0–2")
    assert saved_node(opened)["widgets_values"] == [drawn, "hazelnut", "train", "good", 0, "fixed"], "one step back"


def test_a_wrong_root_is_mended_in_the_dialog(opened, drawn):
    set_root(opened, "drawm")
    dialog = browse(opened)
    assert "there is no folder 'drawm' under" in opened.page.locator(MESSAGE).inner_text()
    dialog.locator("input").fill(drawn)
    dialog.locator("input").press("Enter")
    opened.page.wait_for_selector(f"{DIALOG} .photos button")
    assert opened.page.locator(MESSAGE).count() == 0
    take(opened, "test/crack", 0)
    assert by_title(opened.queue_form()) == committed(root=drawn, split="test", type="crack", index=0)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda route: route.fulfill(status=404, body="404: Not Found"), "cannot list datasets (status 404)"),
        (lambda route: route.abort(), "does not answer"),
    ],
    ids=["no such address", "no server"],
)
def test_a_server_without_the_addresses_is_no_hindrance(opened, answer, says):
    opened.page.route("**/defectforge/**", answer)
    set_root(opened, "any")
    wait_for_note(opened, "no photo")
    browse(opened)
    assert opened.page.locator(f"{DIALOG} .photos:visible").count() == 0
    assert says in opened.page.locator(MESSAGE).inner_text()
    opened.page.keyboard.press("Escape")
    assert by_title(opened.queue_form()) == committed(root="any")


def test_a_root_from_another_node_is_said_to_be_out_of_reach(opened):
    opened.page.evaluate(
        """title => {
            const { graph } = window.app
            const text = window.LiteGraph.createNode("PrimitiveString")
            graph.add(text)
            const node = graph._nodes.find(n => n.title === title)
            text.connect(0, node, node.inputs.findIndex(i => i.name === "root"))
        }""",
        TITLE,
    )
    wait_for_note(opened, "linked")
    browse(opened)
    assert opened.page.locator(MESSAGE).inner_text().startswith("root: comes from another node.")


def test_a_new_node_keeps_its_photo_and_a_saved_one_its_own_setting(window, errors):
    values = window.page.evaluate(
        """() => ["DefectForgeLoadMVTec", "DefectForgePlaceHoleMask"].map(type => {
            const node = window.LiteGraph.createNode(type)
            window.app.graph.add(node)
            return node.widgets.find(w => w.name === "control_after_generate").value
        })"""
    )
    assert values == ["fixed", "randomize"]
    saved = json.loads(Path(SHIPPED / f"{NAME}.json").read_text(encoding="utf-8"))
    for node in saved["nodes"]:
        if node.get("title") == TITLE:
            node["widgets_values"][-1] = "increment"
    window.load(saved)
    window.close_dialogs()
    assert saved_node(window)["widgets_values"][-1] == "increment"
