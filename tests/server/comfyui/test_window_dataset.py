"""Choosing a photo in the window by looking: the dialog, the thumbnail on the node, and what graphs keep of it.

In both renderers of the window; only what a person sees and reaches is looked at.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from defectforge.runner.graphs.graph import SHIPPED
from PIL import Image

pytestmark = [pytest.mark.comfyui, pytest.mark.browser, pytest.mark.slow]

NAME = "inpaint_latent_noise"
TITLE = "Good photo"
DIALOG = ".defectforge-dataset"
MESSAGE = f"{DIALOG} [role=alert]:visible"


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
    window.center(TITLE)
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


def set_root(window: Any, root: str) -> None:
    window.set_widget(TITLE, "root", root)


def photo_of(window: Any, title: str = TITLE) -> Any:
    """The part of the node that shows its photo, as the page has it."""
    found = window.page.evaluate_handle(
        "title => window.app.canvas.graph._nodes.find(n => n.title === title).defectforgePhoto.element", title
    )
    return found.as_element()


def browse(window: Any) -> Any:
    """Press Browse on the node; gives the dialog once it lists or says something."""
    photo_of(window).query_selector("[aria-haspopup=dialog]").click()
    window.page.wait_for_selector(f"{DIALOG} .photos button, {MESSAGE}")
    return window.page.locator(DIALOG)


def take(window: Any, folder: str, index: int) -> None:
    """In the open dialog: choose a split and type, then a photo."""
    window.page.locator(f"{DIALOG} nav button[title='{folder}']").click()
    window.page.locator(f"{DIALOG} .photos button").nth(index).click()
    window.page.wait_for_selector(DIALOG, state="detached")


def wait_for_note(window: Any, note: str, title: str = TITLE) -> None:
    """Wait for what the node says beside its photo."""
    window.page.wait_for_function(
        """([title, note]) => window.app.canvas.graph._nodes.find(n => n.title === title)
            .defectforgePhoto.element.querySelector('output').textContent === note""",
        arg=[title, note],
    )


def shown(window: Any, title: str = TITLE) -> Image.Image | None:
    """The picture that the node shows, pixel by pixel; None where it shows none."""
    link = (
        photo_of(window, title)
        .query_selector("img")
        .evaluate(
            """async image => {
            if (image.hidden || !image.src) return null
            await image.decode()
            const canvas = document.createElement("canvas")
            canvas.width = image.naturalWidth
            canvas.height = image.naturalHeight
            canvas.getContext("2d").drawImage(image, 0, 0)
            return canvas.toDataURL("image/png")
        }"""
        )
    )
    return None if link is None else Image.open(io.BytesIO(base64.b64decode(link.split(",")[1]))).convert("RGB")


def green(picture: Image.Image | None) -> int:
    """Pixels in the colour in which masks are drawn; nuts are brown."""
    assert picture is not None
    red, middle, blue = (band.get_flattened_data() for band in picture.split())
    return sum(g > 150 and g > 1.6 * r and g > 1.6 * b for r, g, b in zip(red, middle, blue, strict=True))


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
    assert shown(opened) is None
    set_root(opened, drawn)
    wait_for_note(opened, "index 0–2")
    good = shown(opened)
    browse(opened)
    take(opened, "test/hole", 1)
    wait_for_note(opened, "index 0–1")
    assert shown(opened).tobytes() != good.tobytes()
    assert by_title(opened.queue_form()) == committed(root=drawn, split="test", type="hole", index=1)
    node = saved_node(opened)
    assert node["widgets_values"] == [drawn, "hazelnut", "test", "hole", 1, "fixed"]
    opened.page.keyboard.press("Control+z")
    wait_for_note(opened, "index 0–2")
    assert saved_node(opened)["widgets_values"] == [drawn, "hazelnut", "train", "good", 0, "fixed"], "one step back"


def test_the_node_draws_the_mask_on_its_photo_until_it_is_told_not_to(opened, drawn):
    set_photo(opened, drawn, split="test", type="hole", index=0)
    wait_for_note(opened, "index 0–1")
    with_mask = green(shown(opened))
    assert with_mask > 30
    photo_of(opened).query_selector("input[type=checkbox]").click()
    opened.page.wait_for_function(
        "t => !window.app.graph._nodes.find(n => n.title === t).defectforgePhoto.shown.endsWith('true]')", arg=TITLE
    )
    assert green(shown(opened)) < with_mask / 5
    assert saved_node(opened)["widgets_values"] == [drawn, "hazelnut", "test", "hole", 0, "fixed"], "it is not saved"


def set_photo(window: Any, root: str, **changes: Any) -> None:
    for name, value in {"root": root, **changes}.items():
        window.set_widget(TITLE, name, value)


def test_the_node_shows_its_photo_right_after_loading_and_after_copying(opened, drawn):
    set_root(opened, drawn)
    saved = opened.window_form()
    opened.load(saved)
    wait_for_note(opened, "index 0–2")
    assert shown(opened) is not None
    opened.page.evaluate(
        """title => {
            const { canvas } = window.app
            canvas.selectNode(canvas.graph._nodes.find(n => n.title === title))
            canvas.copyToClipboard()
            canvas.pasteFromClipboard()
            const [copy] = canvas.graph._nodes.filter(n => n.title === title).slice(-1)
            copy.title = "Copy"
            copy.widgets.find(w => w.name === "index").value = 1
        }""",
        TITLE,
    )
    wait_for_note(opened, "index 0–2", "Copy")
    first, copy = shown(opened), shown(opened, "Copy")
    assert first is not None and copy is not None
    assert first.tobytes() != copy.tobytes(), "each follows its own values"


def test_the_node_shows_its_photo_in_a_subgraph(opened, drawn):
    set_root(opened, drawn)
    wait_for_note(opened, "index 0–2")
    if not opened.page.evaluate("typeof window.app.graph.convertToSubgraph === 'function'"):
        pytest.skip("this window has no subgraphs")
    opened.page.evaluate(
        """title => {
            const { canvas, graph } = window.app
            const { subgraph } = graph.convertToSubgraph(new Set([graph._nodes.find(n => n.title === title)]))
            canvas.setGraph(subgraph)
            canvas.centerOnNode(subgraph._nodes.find(n => n.title === title))
        }""",
        TITLE,
    )
    wait_for_note(opened, "index 0–2")
    assert shown(opened) is not None
    browse(opened)
    take(opened, "test/hole", 0)
    wait_for_note(opened, "index 0–1")


def test_a_photo_that_is_replaced_on_disk_is_shown_anew(opened, drawn, comfyui):
    folder = comfyui.base / "input" / drawn / "hazelnut" / "train" / "good"
    first = sorted(folder.iterdir())[0]
    before = first.read_bytes()
    set_root(opened, drawn)
    wait_for_note(opened, "index 0–2")
    try:
        Image.new("RGB", (128, 128), (250, 250, 250)).save(first)
        opened.page.wait_for_function(
            """async title => {
                const image = window.app.graph._nodes.find(n => n.title === title).defectforgePhoto.picture
                await image.decode()
                const canvas = document.createElement("canvas")
                canvas.width = canvas.height = 1
                const drawing = canvas.getContext("2d")
                drawing.drawImage(image, 0, 0, 1, 1)
                return drawing.getImageData(0, 0, 1, 1).data[2] > 230
            }""",
            arg=TITLE,
        )
    finally:
        first.write_bytes(before)


def test_keyboard_alone_chooses_a_photo(opened, drawn):
    set_root(opened, drawn)
    wait_for_note(opened, "index 0–2")
    photo_of(opened).query_selector("[aria-haspopup=dialog]").focus()
    opened.page.keyboard.press("Enter")
    opened.page.wait_for_selector(f"{DIALOG} .photos button")
    opened.page.locator(f"{DIALOG} .photos button").first.focus()
    opened.page.keyboard.press("ArrowRight")
    opened.page.keyboard.press("ArrowRight")
    opened.page.keyboard.press("Enter")
    opened.page.wait_for_selector(DIALOG, state="detached")
    assert by_title(opened.queue_form()) == committed(root=drawn, index=2)


def test_a_screen_reader_is_told_what_there_is(opened, drawn):
    set_root(opened, drawn)
    wait_for_note(opened, "index 0–2")
    part = photo_of(opened)
    assert part.get_attribute("role") == "group" and part.get_attribute("aria-label") == "Photo of the dataset"
    assert part.query_selector("img").get_attribute("alt") == "hazelnut, train, good, photo 0"
    assert part.query_selector("output").get_attribute("aria-live") == "polite"
    dialog = browse(opened)
    roles = opened.page.get_by_role("dialog", name=f"Choose a photo for “{TITLE}”")
    assert roles.count() == 1
    for role, name in (("button", "Close"), ("combobox", "category"), ("navigation", "splits and types")):
        assert dialog.get_by_role(role, name=name).count() == 1, name
    assert dialog.get_by_role("img", name="photo 1").count() == 1


def test_it_speaks_the_window_s_language(new_window, comfyui, drawn):
    requests.post(comfyui.url + "/settings", json={"Comfy.Locale": "ja"}, timeout=60).raise_for_status()
    try:
        with new_window() as window:
            window.load(json.loads((SHIPPED / f"{NAME}.json").read_text(encoding="utf-8")))
            window.close_dialogs()
            window.center(TITLE)
            wait_for_note(window, "写真なし")
            set_root(window, drawn)
            wait_for_note(window, "番号 0–2")
            assert photo_of(window).query_selector("[aria-haspopup=dialog]").inner_text() == "参照…"
            assert browse(window).locator("footer span").inner_text() == "hazelnut、train、good：番号 0 から 2"
    finally:
        requests.post(comfyui.url + "/settings", json={"Comfy.Locale": "en"}, timeout=60).raise_for_status()


@pytest.mark.parametrize("palette", ["dark", "light"])
def test_it_wears_the_window_s_theme(opened, drawn, palette):
    set_root(opened, drawn)
    wait_for_note(opened, "index 0–2")
    opened.page.evaluate("palette => window.app.extensionManager.setting.set('Comfy.ColorPalette', palette)", palette)
    opened.page.wait_for_timeout(500)
    dialog = browse(opened)
    contrast = dialog.evaluate(
        """dialog => {
            const light = colour => {
                const [r, g, b] = colour.match(/[\\d.]+/g).map(Number)
                return (0.299 * r + 0.587 * g + 0.114 * b) / 255
            }
            const style = getComputedStyle(dialog)
            return [light(style.backgroundColor), light(style.color)]
        }"""
    )
    opened.page.evaluate("window.app.extensionManager.setting.set('Comfy.ColorPalette', 'dark')")
    background, ink = contrast
    assert abs(background - ink) > 0.5, "readable"
    assert (background > ink) == (palette == "light")


def test_the_node_s_menu_has_browse(opened, drawn):
    found = opened.page.evaluate(
        """title => {
            const { app } = window
            const node = app.graph._nodes.find(n => n.title === title)
            const other = app.graph._nodes.find(n => n.title !== title)
            const menu = n => [
                ...(app.collectNodeMenuItems?.(n) ?? []),
                ...(() => { const options = []; n.getExtraMenuOptions?.(app.canvas, options); return options })(),
            ].map(entry => entry?.content).filter(entry => entry?.includes("Browse"))
            return [menu(node), menu(other)]
        }""",
        TITLE,
    )
    assert found == [["Browse dataset…"], []]


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
