"""Does the converter give what ComfyUI's own window queues? Asks the window, over all official templates.

python tests/tools/window_truth.py                      compare over the templates; prints the count
python tests/tools/window_truth.py GRAPH.json ...       the same over these files
python tests/tools/window_truth.py --answers            write the window's answers into tests/unit/graphs/cases

Needs a ComfyUI (COMFYUI_PATH and COMFYUI_PYTHON as for the tests, with its comfyui-workflow-templates packages; started
on a free port without custom nodes) or --server URL of a running one, and Chromium. --frontend names another window
than the one that the ComfyUI brings. Math.random is 0 there, so that {a|b} gives a, and the converter chooses the same.

Compared are class and inputs of every node, by id. A template counts as known if the server has all of its nodes. The
exit code is 1 if one differs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import Browser, Error, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent))
from by_location import ROOT, import_package, load

CASES = ROOT / "tests" / "unit" / "graphs" / "cases"
# The window has made its node classes when the last of the server's is there.
READY = """names => {
  const app = window.app ?? window.comfyAPI?.app?.app;
  return app?.canvas && app.graph && names.every(name => name in window.LiteGraph.registered_node_types);
}"""
ASK = """async graph => {
  const app = window.app ?? window.comfyAPI.app.app;
  await app.loadGraphData(graph, true, false, null, {showMissingNodesDialog: false, showMissingModelsDialog: false});
  return JSON.stringify((await app.graphToPrompt()).output);
}"""
ENTRIES = """
import importlib.metadata as m, json
found = [d for d in m.distributions() if (d.metadata["Name"] or "").startswith("comfyui-workflow-templates")]
files = [d.locate_file(f) for d in found for f in d.files or [] if f.suffix == ".json" and "templates" in f.parts]
print(json.dumps([{d.metadata["Name"]: d.version for d in found}, list(map(str, files))]))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graphs", type=Path, nargs="*")
    parser.add_argument("--answers", action="store_true", help="write the window's answers beside our own cases")
    parser.add_argument("--server", metavar="URL")
    parser.add_argument("--frontend", type=Path, metavar="DIR", help="static folder of another frontend")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    given = parser.parse_args()
    import_package()
    with server(given.server, given.frontend) as url, sync_playwright() as play:
        object_info = requests.get(f"{url}/object_info", timeout=120).json()
        browser = play.chromium.launch(executable_path=given.chromium, args=["--no-sandbox"])
        window = Window(browser, url, list(object_info))
        try:
            if given.answers:
                return write_answers(window, given.graphs or sorted(CASES.glob("*.json")))
            graphs = given.graphs or known_templates(object_info)
            print(f"{time.strftime('%Y-%m-%d')}, {versions(url, window.page)}")
            return compare(window, graphs, object_info)
        finally:
            browser.close()


@contextlib.contextmanager
def server(url: str | None, frontend: Path | None) -> Iterator[str]:
    """A running ComfyUI: the given one, or one of our own that is stopped at the end."""
    if url:
        yield url.rstrip("/")
        return
    conftest = load("comfyui_conftest", ROOT / "tests" / "server" / "comfyui" / "conftest.py")
    found = conftest.workspace()
    if isinstance(found, str):
        raise SystemExit(found)
    path, python = found
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as base:
        (Path(base) / "custom_nodes").mkdir()
        command = [str(python), "main.py", "--cpu", "--disable-api-nodes", "--listen", "127.0.0.1", "--port", str(port)]
        command += ["--base-directory", base]
        if frontend is not None:
            command += ["--front-end-root", str(frontend.resolve())]
        with open(Path(base) / "log.txt", "wb") as log:
            process = subprocess.Popen(command, cwd=path, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield answering(f"http://127.0.0.1:{port}", process)
        finally:
            process.terminate()
            process.wait(30)


def answering(url: str, process: subprocess.Popen[bytes], seconds: float = 300) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(requests.RequestException):
            requests.get(f"{url}/system_stats", timeout=5).raise_for_status()
            return url
        time.sleep(0.5)
    raise SystemExit("ComfyUI does not start")


class Window:
    """ComfyUI's window, ready to open graphs."""

    def __init__(self, browser: Browser, url: str, classes: list[str]) -> None:
        self.browser, self.url, self.classes = browser, url, classes
        self.page = self._fresh()

    def _fresh(self) -> Page:
        page = self.browser.new_context().new_page()
        page.add_init_script("Math.random = () => 0;")
        page.goto(self.url, timeout=120_000)
        page.wait_for_function(READY, arg=self.classes, timeout=180_000)
        return page

    def ask(self, data: dict[str, Any]) -> dict[str, Any] | str:
        """The queue form of a graph, or the window's error; after one the window is a fresh one."""
        try:
            answer: dict[str, Any] = json.loads(self.page.evaluate(ASK, data))
            return answer
        except Error as error:
            self.page.context.close()
            self.page = self._fresh()
            return error.message.removeprefix("Page.evaluate: ")


def versions(url: str, page: Page) -> str:
    system = requests.get(f"{url}/system_stats", timeout=60).json()["system"]
    window_version = page.evaluate("window.__COMFYUI_FRONTEND_VERSION__ ?? 'of unknown version'")
    return f"ComfyUI {system.get('comfyui_version')}, window {window_version}"


def known_templates(object_info: dict[str, Any]) -> list[Path]:
    """The official templates whose nodes the server knows, out of the packages of the ComfyUI's own environment."""
    from defectforge.runner.graphs.window.form import saved_graphs
    from defectforge.runner.graphs.window.virtual import VIRTUAL

    conftest = load("comfyui_conftest", ROOT / "tests" / "server" / "comfyui" / "conftest.py")
    found = conftest.workspace()
    if isinstance(found, str):
        raise SystemExit(found)
    listed = subprocess.run([str(found[1]), "-c", ENTRIES], check=True, capture_output=True, text=True)
    packages, files = json.loads(listed.stdout)
    print(", ".join(f"{name} {version}" for name, version in sorted(packages.items())))
    known: dict[str, Path] = {}
    templates = 0
    for path in sorted({Path(file) for file in files}):
        data = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(data, dict) or "nodes" not in data or path.name in known:
            continue
        templates += 1
        top, inner = saved_graphs(data)
        types = {str(node.get("type")) for graph in (top, *inner.values()) for node in graph.nodes}
        if types <= {*object_info, *VIRTUAL, *inner}:
            known[path.name] = path
    print(f"{templates} templates, {len(known)} of them of nodes that the server knows")
    return list(known.values())


def compare(window: Window, graphs: list[Path], object_info: dict[str, Any]) -> int:
    from defectforge.runner.errors import DefectForgeError
    from defectforge.runner.graphs.convert import queue_form
    from defectforge.runner.graphs.graph import load as load_workflow

    counts = dict.fromkeys(("equal", "different", "refused", "refused by the window"), 0)
    for path in graphs:
        workflow = load_workflow(path)
        answer = window.ask(workflow.data)
        try:
            ours = plain(queue_form(workflow, object_info, choose=lambda where, count: 0))
        except DefectForgeError as error:
            ours = str(error)
        if isinstance(answer, str):
            counts["refused by the window"] += 1
            print(f"{path.name}: the window: {answer.splitlines()[0][:160]}")
        elif isinstance(ours, str):
            counts["refused"] += 1
            print(f"{path.name}: {ours}")
        elif ours == plain(answer):
            counts["equal"] += 1
        else:
            counts["different"] += 1
            nodes = sorted(id_ for id_ in {*ours, *answer} if ours.get(id_) != plain(answer).get(id_))
            print(f"{path.name}: nodes {', '.join(nodes)} differ")
    print(", ".join(f"{number} {name}" for name, number in counts.items()), f"of {len(graphs)}")
    return 1 if counts["different"] else 0


def plain(graph: dict[str, Any]) -> dict[str, Any]:
    """What is compared: titles and packs of nodes do not matter to the queue."""
    bare = {id_: [node.get("class_type"), node.get("inputs")] for id_, node in graph.items()}
    result: dict[str, Any] = json.loads(json.dumps(bare))
    return result


def write_answers(window: Window, cases: list[Path]) -> int:
    """Put the window's answer into every case: {"shows", "graph", "answer"}, or "refused" with the window's words."""
    for path in cases:
        case = json.loads(path.read_text(encoding="utf-8"))
        answer = window.ask(case["graph"])
        case = {"shows": case["shows"], "graph": case["graph"]}
        if isinstance(answer, str):
            case["refused"] = answer.splitlines()[0]
        else:
            case["answer"] = plain(answer)
        path.write_text(json.dumps(case, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
        print(f"{path.stem}: {'refused' if isinstance(answer, str) else f'{len(answer)} nodes'}")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
