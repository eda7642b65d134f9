"""The docs' pictures of ComfyUI's window, taken from a running ComfyUI that has this pack and nothing else.

python tests/tools/window_pictures.py http://127.0.0.1:8188 --root FOLDER [--only templates help dataset ja run nodes]

Its models folder needs the miniature checkpoints (`defectforge models fetch`), FOLDER is a dataset of nuts (256 px) in
its input folder. Writes docs/images/window_*.jpg; runs and nodes in both renderers, side by side.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path
from typing import Any

import requests
from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent))
from by_location import ROOT, load

IMAGES = ROOT / "docs" / "images"
WIDTH, LIMIT = 1200, 330_000
VIEW: Any = {"width": 1680, "height": 1240}
NODE = "DefectForgePlaceHoleMask"
CLASSIC, NODES2 = "classic", "nodes2"
#: Workflow and the miniature that it runs with.
RUNS = {
    "inpaint_latent_noise": "miniature-inpaint.safetensors",
    "reference_local": "miniature.safetensors",
    "instruct_pix2pix_inpaint": "miniature-ip2p.safetensors",
}


def shot(page: Any, clip: Any = None) -> Image.Image:
    return Image.open(io.BytesIO(page.screenshot(**({"clip": clip} if clip else {})))).convert("RGB")


def keep(picture: Image.Image, name: str, width: int = WIDTH) -> None:
    """Write a picture as a JPEG of at most `LIMIT` bytes."""
    height = round(picture.height * width / picture.width)
    picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    for quality in range(90, 30, -5):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
        if buffer.tell() <= LIMIT:
            break
    (IMAGES / name).write_bytes(buffer.getvalue())
    print(f"{name}: {buffer.tell() / 1000:.0f} kB", flush=True)


def saved(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    return data


def prepare(window: Any, name: str, root: str) -> None:
    """A workflow as a person would set it, with the miniature."""
    data = saved(name)
    for node in data["nodes"]:
        if node["title"] == "Checkpoint":
            # Before it is opened, or the window says that the file which the workflow names is missing.
            node["widgets_values"] = [RUNS[name]]
            node["properties"].pop("models", None)
    window.load(data)
    window.close_dialogs()
    for title, widget, value in (
        ("Good photo", "root", root),
        ("Good photo", "index", 1),
        ("Reference defect", "root", root),
        ("Denoise mask", "size", 128),
        ("Working crop", "size", 128),
        ("Reference crop", "size", 128),
    ):
        if any(node["title"] == title for node in saved(name)["nodes"]):
            window.set_widget(title, widget, value)
    window.page.wait_for_timeout(1_500)


def templates(window: Any, card: str) -> None:
    """The template browser with the workflows' thumbnails drawn."""
    window.browse_templates("defectforge")
    window.page.locator(card).first.scroll_into_view_if_needed()
    window.page.mouse.move(5, 5)
    window.page.wait_for_timeout(1_500)
    keep(shot(window.page), "window_templates.jpg")
    window.close_dialogs()


def help_panel(window: Any, root: str) -> None:
    """A node's help page beside its graph."""
    prepare(window, "inpaint_latent_noise", root)
    window.help_of(NODE, "Draws plausible holes")
    window.help_pictures()
    window.center("Hole mask")
    window.page.wait_for_timeout(1_500)
    keep(shot(window.page), "window_help.jpg")


def dialog(window: Any, root: str, name: str) -> None:
    """Choosing a photo from what the dataset holds."""
    prepare(window, "inpaint_latent_noise", root)
    window.center("Good photo")
    window.page.evaluate("void window.app.graph._nodes.find(n => n.title === 'Good photo').defectforgePhoto.browse()")
    window.page.locator(".defectforge-dataset nav button[title='test/hole']").click()
    window.page.wait_for_timeout(2_500)
    keep(shot(window.page), name)
    window.page.keyboard.press("Escape")


def after_run(window: Any, name: str, root: str) -> Image.Image:
    prepare(window, name, root)
    window.run()
    window.fit()
    shows = ".defectforge-pairs canvas[data-view], .defectforge-pairs output:not(:empty)"
    window.page.wait_for_selector(shows, timeout=600_000)
    window.page.wait_for_timeout(2_500)
    return shot(window.page)


#: Bring a node into view, at 100 %.
BRING = """title => {
    const { canvas, graph } = window.app
    canvas.ds.scale = 1
    const node = graph._nodes.find(n => n.title === title)
    canvas.ds.offset = [420 - node.pos[0], 160 - node.pos[1]]
    canvas.setDirty(true, true)
}"""
#: The place of the same node in the page, with its title bar: as Vue draws it, else as the canvas does.
PLACE = """title => {
    const { canvas, graph } = window.app
    const node = graph._nodes.find(n => n.title === title)
    const drawn = document.querySelector(`[data-node-id="${node.id}"]`)?.getBoundingClientRect()
    const corner = canvas.canvas.getBoundingClientRect()
    if (drawn?.height) return [drawn.x, drawn.y, drawn.width, drawn.height]
    return [corner.x + 420, corner.y + 130, node.size[0], node.size[1] + 30]
}"""


def nodes(window: Any) -> dict[str, Image.Image]:
    """{class: picture} of each of the pack's nodes in the graph that is open, at 100 %."""
    found: dict[str, Image.Image] = {}
    placed = window.page.evaluate(
        "window.app.graph._nodes.filter(n => n.type.startsWith('DefectForge')).map(n => [n.type, n.title])"
    )
    for kind, title in placed:
        window.page.evaluate(BRING, title)
        window.page.wait_for_timeout(900)
        x, y, width, height = window.page.evaluate(PLACE, title)
        clip = {"x": x - 10, "y": y - 26, "width": width + 20, "height": min(height + 36, VIEW["height"] - y)}
        found.setdefault(kind, shot(window.page, clip))
    return found


def every_node(window: Any) -> list[Image.Image]:
    """Those of the graph that is open, as it ran; then all others, alone and new."""
    found = nodes(window)
    kinds = window.page.evaluate(
        "Object.keys(window.LiteGraph.registered_node_types).filter(name => name.startsWith('DefectForge'))"
    )
    for kind in sorted(set(kinds) - set(found)):
        window.alone(kind)
        found |= nodes(window)
    return list(found.values())


def sheet(pictures: list[Image.Image], columns: int, width: int) -> Image.Image:
    """Pictures in columns of equal width, all drawn at one scale, each put where there is most room."""
    scale = width / max(picture.width for picture in pictures)
    heights = [0] * columns
    placed = []
    for picture in pictures:
        small = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
        column = heights.index(min(heights))
        placed.append((small, column, heights[column]))
        heights[column] += small.height + 6
    out = Image.new("RGB", (columns * (width + 6), max(heights)), (30, 30, 30))
    for small, column, y in placed:
        out.paste(small, (column * (width + 6), y))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description="Take the docs' pictures of ComfyUI's window.")
    parser.add_argument("server", help="URL of a running ComfyUI")
    parser.add_argument("--root", required=True, help="dataset below its input folder")
    parser.add_argument("--only", nargs="+", default=["templates", "help", "dataset", "run", "nodes", "ja"])
    parser.add_argument("--workflows", nargs="+", default=list(RUNS), choices=list(RUNS), help="which to run")
    parser.add_argument("--renderers", nargs="+", default=[CLASSIC, NODES2], choices=[CLASSIC, NODES2])
    given = parser.parse_args()
    url = given.server.rstrip("/")
    # The browser tests' set-up knows what a person does in the window.
    tests = load("browser_tests", ROOT / "tests" / "server" / "comfyui" / "conftest.py")

    def settings(**changes: Any) -> None:
        own = {"Comfy.TutorialCompleted": True, "Comfy.Locale": "en", "Comfy.Minimap.Visible": False}
        named = {name.replace("_", "."): value for name, value in changes.items()}
        requests.post(url + "/settings", json=own | named, timeout=60).raise_for_status()

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=tests.chromium(), headless=True, args=["--no-sandbox", "--disable-gpu"]
        )

        def opened() -> Any:
            page = browser.new_context(viewport=VIEW).new_page()
            page.set_default_timeout(tests.PATIENCE)
            return tests.Window(page, url).open()

        runs: dict[str, list[Image.Image]] = {name: [] for name in RUNS}
        for renderer in given.renderers:
            settings(Comfy_VueNodes_Enabled=renderer == NODES2)
            window = opened()
            if renderer == NODES2:
                if "templates" in given.only:
                    templates(window, tests.TEMPLATE_CARD)
                if "dataset" in given.only:
                    dialog(window, given.root, "window_dataset.jpg")
            if "run" in given.only:
                for name in given.workflows:
                    runs[name].append(after_run(window, name, given.root))
                    if name == "inpaint_latent_noise" and renderer == NODES2:
                        keep(runs[name][-1], "window_run.jpg")
                    if name == "reference_local" and "nodes" in given.only:
                        keep(sheet(every_node(window), 5, 320), f"window_nodes_{renderer}.jpg", 1600)
            if renderer == NODES2 and "help" in given.only:
                help_panel(window, given.root)
            window.page.close()
        for name, pair in runs.items():
            if len(pair) == 2:
                keep(sheet(pair, 2, 800), f"window_{name}.jpg", 1600)
        if "ja" in given.only:
            settings(Comfy_VueNodes_Enabled=True, Comfy_Locale="ja")
            dialog(opened(), given.root, "window_ja.jpg")
            settings()
        browser.close()


if __name__ == "__main__":
    main()
