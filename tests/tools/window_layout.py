"""How large the window draws each node of a workflow, in both renderers, and which of them lie on each other.

python tests/tools/window_layout.py http://127.0.0.1:8188 [--write] [workflows/NAME.json ...]

Needs a running ComfyUI with this pack. Without names: all shipped workflows. `--write` moves what lies on something
else down (and grows groups) in the files, until nothing does in either renderer; sizes grow to what the window needs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent))
from by_location import ROOT, load

TITLE_BAR, GAP = 30, 20

#: Size of each node at 100 %, as it is drawn: {id: [width, height without the title bar]}.
MEASURE = """nodes2 => Object.fromEntries(window.app.graph._nodes.map(node => {
    const drawn = nodes2 && document.querySelector(`[data-node-id="${node.id}"]`)
    if (!drawn) return [node.id, [...node.size]]
    const box = drawn.getBoundingClientRect(), scale = window.app.canvas.ds.scale
    return [node.id, [box.width / scale, box.height / scale - 30]]
}))"""

Box = tuple[float, float, float, float]


def box(node: dict[str, Any], size: list[float]) -> Box:
    x, y = node["pos"]
    return x, y - TITLE_BAR, x + size[0], y + size[1]


def overlaps(nodes: list[dict[str, Any]], sizes: dict[str, list[float]]) -> list[tuple[str, str, float]]:
    """Pairs of titles that lie on each other, and by how many pixels of height."""
    found = []
    for one, other in itertools.combinations(nodes, 2):
        a, b = (box(node, sizes[str(node["id"])]) for node in (one, other))
        wide = min(a[2], b[2]) - max(a[0], b[0])
        tall = min(a[3], b[3]) - max(a[1], b[1])
        if wide > 1 and tall > 1:
            found.append((one["title"], other["title"], round(tall)))
    return found


def needed(measured: list[dict[str, list[float]]]) -> dict[str, list[float]]:
    """The largest size over the renderers."""
    return {key: [max(m[key][axis] for m in measured) for axis in (0, 1)] for key in measured[0]}


def spread(data: dict[str, Any], sizes: dict[str, list[float]]) -> None:
    """Grow nodes to `sizes`, then move down whatever lies on something above it, groups and all."""
    for node in data["nodes"]:
        node["size"] = [max(node["size"][0], round(sizes[str(node["id"])][0])), node["size"][1]]
        node["size"][1] = max(node["size"][1], round(sizes[str(node["id"])][1]))
    groups = sorted(data["groups"], key=lambda group: group["bounding"][1])
    inside = {id(g): [n for n in data["nodes"] if _holds(g["bounding"], n["pos"])] for g in groups}
    for group in groups:
        members = sorted(inside[id(group)], key=lambda node: node["pos"][1])
        for number, node in enumerate(members):
            for above in members[:number]:
                a, b = box(above, above["size"]), box(node, node["size"])
                if a[0] < b[2] and b[0] < a[2] and b[1] < a[3] + GAP:
                    node["pos"][1] = round(a[3] + GAP + TITLE_BAR)
        lowest = max((box(node, node["size"])[3] for node in members), default=0) + GAP
        group["bounding"][3] = max(group["bounding"][3], round(lowest - group["bounding"][1]))
    for number, group in enumerate(groups):
        x, y, width, _ = group["bounding"]
        down = 0.0
        for above in groups[:number]:
            ax, ay, awidth, aheight = above["bounding"]
            if ax < x + width and x < ax + awidth and ay < y:
                down = max(down, ay + aheight + GAP - y)
        if down > 0:
            group["bounding"][1] += down
            for node in inside[id(group)]:
                node["pos"][1] += down


def _holds(bounding: list[float], place: list[float]) -> bool:
    x, y, width, height = bounding
    return x <= place[0] <= x + width and y <= place[1] <= y + height


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure how the window draws workflows, in both renderers.")
    parser.add_argument("server")
    parser.add_argument("--write", action="store_true", help="mend the files")
    parser.add_argument("workflows", type=Path, nargs="*")
    given = parser.parse_args()
    files = given.workflows or sorted((ROOT / "workflows").glob("*.json"))
    tests = load("browser_tests", ROOT / "tests" / "server" / "comfyui" / "conftest.py")
    measured: dict[Path, list[dict[str, list[float]]]] = {path: [] for path in files}
    wrong = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=tests.chromium(), args=["--no-sandbox", "--disable-gpu"])
        for nodes2 in (False, True):
            settings = {"Comfy.VueNodes.Enabled": nodes2, "Comfy.TutorialCompleted": True}
            requests.post(given.server + "/settings", json=settings, timeout=60).raise_for_status()
            page = browser.new_context(viewport={"width": 5000, "height": 3000}).new_page()
            page.set_default_timeout(tests.PATIENCE)
            window = tests.Window(page, given.server).open()
            for path in files:
                data = json.loads(path.read_text(encoding="utf-8"))
                window.load(data)
                window.close_dialogs()
                page.evaluate("window.app.canvas.ds.scale = 1; window.app.canvas.ds.offset = [60, 60]")
                page.evaluate("window.app.canvas.setDirty(true, true)")
                page.wait_for_timeout(1500)
                sizes = page.evaluate(MEASURE, nodes2)
                measured[path].append(sizes)
                for one, other, tall in overlaps(data["nodes"], sizes):
                    wrong += 1
                    print(f"{path.stem}, {'nodes 2.0' if nodes2 else 'classic'}: '{one}' and '{other}' by {tall} px")
            page.close()
        browser.close()
    if given.write:
        for path in files:
            data = json.loads(path.read_text(encoding="utf-8"))
            spread(data, needed(measured[path]))
            path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(files)} workflows, {wrong} overlaps" + (", mended" if given.write and wrong else ""))
    return 1 if wrong and not given.write else 0


if __name__ == "__main__":
    sys.exit(main())
