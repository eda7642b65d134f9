"""The README's pictures of ComfyUI's window, taken from a running ComfyUI that has this pack and nothing else.

python tests/tools/window_pictures.py http://127.0.0.1:8188

Writes docs/images/window_templates.jpg and docs/images/window_help.jpg.
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
WIDTH, LIMIT = 1200, 250_000
VIEW: Any = {"width": 1680, "height": 1120}
NODE = "DefectForgePlaceHoleMask"


def keep(page: Any, name: str) -> None:
    """Write what the window shows as a JPEG of at most `LIMIT` bytes."""
    with Image.open(io.BytesIO(page.screenshot())) as shot:
        height = round(shot.height * WIDTH / shot.width)
        picture = shot.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
    for quality in range(90, 30, -5):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
        if buffer.tell() <= LIMIT:
            break
    (IMAGES / name).write_bytes(buffer.getvalue())
    print(f"{name}: {buffer.tell() / 1000:.0f} kB")


def templates(window: Any, pack: str, card: str) -> None:
    """The template browser with the workflows' thumbnails drawn."""
    window.browse_templates(pack)
    window.page.locator(card).first.scroll_into_view_if_needed()
    window.page.mouse.move(5, 5)
    window.page.wait_for_timeout(1_500)
    keep(window.page, "window_templates.jpg")
    window.close_dialogs()


def help_panel(window: Any) -> None:
    """A node's help page, in a panel that was drawn wide enough to read it."""
    window.load(json.loads((ROOT / "workflows" / "inpaint_latent_noise.json").read_text(encoding="utf-8")))
    window.close_dialogs()
    window.help_of(NODE, "Draws plausible holes")
    window.help_pictures()
    mouse, page = window.page.mouse, window.page
    page.wait_for_timeout(1_500)
    edge = page.locator(".p-splitter-gutter").first.bounding_box()
    x, y = edge["x"] + edge["width"] / 2, edge["height"] - 50
    mouse.move(x, y)
    mouse.down()
    mouse.move(x + 250, y, steps=12)
    mouse.up()
    page.evaluate(
        """type => {
            const canvas = window.app.canvas
            canvas.ds.scale = 0.8
            canvas.centerOnNode(window.app.graph._nodes.find(n => n.type === type))
        }""",
        NODE,
    )
    page.wait_for_timeout(1_500)
    keep(page, "window_help.jpg")


def main() -> None:
    parser = argparse.ArgumentParser(description="Take the README's pictures of ComfyUI's window.")
    parser.add_argument("server", help="URL of a running ComfyUI")
    url = parser.parse_args().server.rstrip("/")
    # The browser tests' set-up knows what a person does in the window.
    tests = load("browser_tests", ROOT / "tests" / "server" / "comfyui" / "conftest.py")
    settings = {"Comfy.TutorialCompleted": True, "Comfy.Workflow.ShowMissingModelsWarning": False}
    requests.post(url + "/settings", json=settings, timeout=60).raise_for_status()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=tests.chromium(), headless=True, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_context(viewport=VIEW).new_page()
        page.set_default_timeout(tests.PATIENCE)
        window = tests.Window(page, url).open()
        templates(window, tests.PACK_FOLDER, tests.TEMPLATE_CARD)
        help_panel(window)
        browser.close()


if __name__ == "__main__":
    main()
