"""A real ComfyUI on the CPU with this pack linked into its custom_nodes, and a browser that looks at it.

Where there is none, every test here is skipped with the reason. `COMFYUI_PATH` names the checkout (default: comfy-cli's
workspace ~/comfy/ComfyUI), `COMFYUI_PYTHON` its interpreter (default: .venv/bin/python in it, else this one).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

ROOT = Path(__file__).resolve().parents[3]
START_TIMEOUT = 180
# The folder name is part of the URLs of help pages, templates and scripts.
PACK_FOLDER = "defectforge"
CHECKPOINTS = {
    "random-sd15": [],
    "random-sd15-inpaint": ["--in-channels", "9"],
    "random-sd15-ip2p": ["--in-channels", "8"],
    "random-sd21-unclip": ["--unclip"],
}


@dataclass(frozen=True)
class ComfyUI:
    """A running server and its folders."""

    url: str
    base: Path
    models: Path
    log: Path

    def get(self, path: str) -> Any:
        response = requests.get(self.url + path, timeout=60)
        response.raise_for_status()
        return response.json()

    def text(self, path: str) -> str:
        response = requests.get(self.url + path, timeout=60)
        response.raise_for_status()
        response.encoding = "utf-8"
        return response.text

    def object_info(self) -> dict[str, Any]:
        info: dict[str, Any] = self.get("/object_info")
        return info

    def run(self, graph: dict[str, Any], timeout: float = 600) -> dict[str, Any]:
        """Queue a graph, wait for it, give its outputs; fails with the server's own words."""
        reply = requests.post(self.url + "/prompt", json={"prompt": graph, "extra_data": {}}, timeout=60)
        assert reply.status_code == 200, reply.text
        assert not reply.json()["node_errors"], reply.text
        prompt_id = reply.json()["prompt_id"]
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            entry = self.get(f"/history/{prompt_id}").get(prompt_id)
            if entry is not None:
                assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
                outputs: dict[str, Any] = entry["outputs"]
                return outputs
            time.sleep(0.2)
        raise AssertionError(f"nothing came back within {timeout} s; the server's log is {self.log}")


def workspace() -> tuple[Path, Path] | str:
    """(ComfyUI's checkout, its interpreter), or why there is none."""
    path = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "comfy" / "ComfyUI").expanduser()
    if not (path / "main.py").is_file():
        return f"no ComfyUI at {path}: set COMFYUI_PATH to a checkout, or install one with comfy-cli"
    own = path / ".venv" / "bin" / "python"
    python = os.environ.get("COMFYUI_PYTHON") or (own if own.is_file() else sys.executable)
    return path, Path(python)


@pytest.fixture(scope="session")
def checkpoints(request: pytest.FixtureRequest, write_captioner: Callable[[Path], None]) -> Path:
    """A models folder with random checkpoints of each kind; written once and kept in pytest's cache."""
    models = request.config.cache.mkdir("models")
    folder = models / "checkpoints"
    folder.mkdir(exist_ok=True)
    for name, options in CHECKPOINTS.items():
        path = folder / f"{name}.safetensors"
        if not path.is_file():
            part = path.with_name("part-" + path.name)
            command = [
                sys.executable,
                "-m",
                "defectforge.runner.embedded.engine.random_checkpoint",
                str(part),
                *options,
            ]
            subprocess.run(command, check=True, cwd=ROOT)
            part.rename(path)
    captioner = models / "caption" / "blip-image-captioning-base"
    if not (captioner / "config.json").is_file():
        write_captioner(captioner)
    return models


@pytest.fixture(scope="session")
def comfyui(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUI]:
    """ComfyUI with own folders on a free port, stopped at the end of the session."""
    found = workspace()
    if isinstance(found, str):
        pytest.skip(found)
    path, python = found
    base = tmp_path_factory.mktemp("comfyui")
    for folder in ("input", "output", "temp", "user", "custom_nodes"):
        (base / folder).mkdir()
    (base / "models").symlink_to(checkpoints)
    (base / "custom_nodes" / PACK_FOLDER).symlink_to(ROOT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(python), "main.py", "--cpu", "--disable-api-nodes", "--listen", "127.0.0.1"]
    command += ["--port", str(port), "--base-directory", str(base)]
    log = base / "log.txt"
    environment = {**os.environ, "OMP_NUM_THREADS": str(min(2, os.cpu_count() or 1))}
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=path, stdout=out, stderr=subprocess.STDOUT, env=environment)
    server = ComfyUI(f"http://127.0.0.1:{port}", base, checkpoints, log)
    try:
        _wait(server, process)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(server: ComfyUI, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            if requests.get(server.url + "/system_stats", timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.3)
    tail = server.log.read_text(errors="replace")[-3000:]
    raise AssertionError(f"ComfyUI did not start (exit code {process.poll()}):\n{tail}")


def chromium() -> str | None:
    """The browser's path: Debian's chromium, or what CHROMIUM_PATH names."""
    return os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    path = chromium()
    if path is None:
        pytest.skip("no Chromium here: install Debian's `chromium`, or set CHROMIUM_PATH")
    sync_api = pytest.importorskip("playwright.sync_api")
    switches = "no-sandbox disable-gpu disable-background-networking no-first-run disable-component-update disable-sync"
    with sync_api.sync_playwright() as playwright:
        chrome = playwright.chromium.launch(
            executable_path=path, headless=True, args=[f"--{switch}" for switch in switches.split()]
        )
        yield chrome
        chrome.close()


#: Milliseconds after which the window will not come to it any more.
PATIENCE = 120_000
TEMPLATE_CARD = ".p-dialog .template-card[data-testid^='template-workflow-']"


def playwright_timeout() -> type[Exception]:
    from playwright.sync_api import TimeoutError

    return TimeoutError


class Window:
    """ComfyUI's window: what a person does in it, by name."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.url = url

    def open(self) -> Window:
        self.page.goto(self.url)
        self.page.wait_for_function(
            "window.app?.graph?._nodes && window.app.extensionManager?.workflow?.activeWorkflow"
        )
        self.close_dialogs()
        return self

    def close_dialogs(self) -> None:
        for _ in range(5):
            if not self.page.locator(".p-dialog").count():
                return
            self.page.keyboard.press("Escape")
            self.page.wait_for_timeout(400)
        raise AssertionError(f"a dialog stays open: {self.dialog_text()}")

    def dialog_text(self) -> str:
        return str(self.page.evaluate("[...document.querySelectorAll('.p-dialog')].map(d => d.innerText).join('\\n')"))

    def browse_templates(self, pack: str) -> dict[str, int]:
        """Open the template browser at a pack's page; {template: width of its thumbnail, 0 without one}."""
        self.page.evaluate("window.app.extensionManager.command.execute('Comfy.BrowseTemplates')")
        dialog = self.page.locator(".p-dialog")
        dialog.get_by_text(pack, exact=True).first.click()
        self.page.wait_for_selector(TEMPLATE_CARD)
        # Cards come, and their pictures are drawn, as they are scrolled into view.
        cards: dict[str, int] = {}
        while self._more_cards_than(len(cards)):
            card = self.page.locator(TEMPLATE_CARD).nth(len(cards))
            card.scroll_into_view_if_needed()
            name = str(card.get_attribute("data-testid")).removeprefix("template-workflow-")
            drawn = "selector => document.querySelector(selector)?.naturalWidth > 0"
            picture = f".template-card[data-testid='template-workflow-{name}'] img"
            with contextlib.suppress(playwright_timeout()):
                self.page.wait_for_function(drawn, arg=picture, timeout=15_000)
            cards[name] = self.page.evaluate("s => document.querySelector(s)?.naturalWidth ?? 0", picture)
            self.page.wait_for_timeout(300)
        return cards

    def _more_cards_than(self, number: int) -> bool:
        """Scroll on where needed: the next dozen of cards is added at the lower end."""
        if self.page.locator(TEMPLATE_CARD).count() <= number:
            self.page.locator(TEMPLATE_CARD).last.hover()
            self.page.mouse.wheel(0, 5_000)
            self.page.wait_for_timeout(1_500)
        return bool(self.page.locator(TEMPLATE_CARD).count() > number)

    def load(self, data: dict[str, Any]) -> None:
        """Open a saved workflow, as dropping its file on the canvas does."""
        self.page.evaluate("data => window.app.loadGraphData(data)", data)
        self.page.wait_for_timeout(300)

    def complaints(self) -> str:
        """What the window says about nodes or types it does not know; missing model files are another matter."""
        text = self.dialog_text()
        return text if "node" in text.lower() and "Missing Models" not in text else ""

    def queue_form(self) -> dict[str, Any]:
        form: dict[str, Any] = self.page.evaluate("window.app.graphToPrompt().then(p => p.output)")
        return form

    def window_form(self) -> dict[str, Any]:
        form: dict[str, Any] = self.page.evaluate("window.app.graphToPrompt().then(p => p.workflow)")
        return form

    def set_widget(self, title: str, widget: str, value: Any) -> None:
        self.page.evaluate(
            """([title, widget, value]) => {
                const node = window.app.graph._nodes.find(n => n.title === title)
                const found = node.widgets.find(w => w.name === widget)
                found.value = value
                found.callback?.(value)
            }""",
            [title, widget, value],
        )

    def run(self) -> None:
        """Press Run."""
        self.page.locator('[data-testid="queue-button"] button').first.click()

    def preview_sizes(self, *titles: str, timeout: float = 600) -> dict[str, list[int]]:
        """Wait for preview pictures on these nodes; {title: [width, height] of the first one}."""
        self.page.wait_for_function(
            """titles => titles.every(t => window.app.graph._nodes.find(n => n.title === t).imgs?.[0]?.naturalWidth)""",
            arg=list(titles),
            timeout=timeout * 1000,
        )
        sizes: dict[str, list[int]] = self.page.evaluate(
            """titles => Object.fromEntries(window.app.graph._nodes.filter(n => titles.includes(n.title)).map(n =>
                [n.title, [n.imgs[0].naturalWidth, n.imgs[0].naturalHeight]]))""",
            list(titles),
        )
        return sizes

    def fit(self) -> None:
        self.page.evaluate("window.app.extensionManager.command.execute('Comfy.Canvas.FitView')")
        self.page.wait_for_timeout(700)

    def help_of(self, node_type: str, awaited: str) -> str:
        """The text of the help panel of one node on the canvas, once it holds `awaited` (or as it is at the end)."""
        self.page.evaluate(
            """type => {
                const node = window.app.graph._nodes.find(n => n.type === type)
                window.app.canvas.deselectAll()
                window.app.canvas.selectNode(node)
                window.app.canvas.centerOnNode(node)
            }""",
            node_type,
        )
        self.page.locator('[data-testid="info-button"]').first.click()
        with contextlib.suppress(playwright_timeout()):
            self.page.wait_for_function(
                """text => document.querySelector('.sidebar-content-container')
                    ?.innerText.replace(/\\s+/g, ' ').includes(text)""",
                arg=awaited,
                timeout=30_000,
            )
        return str(self.page.evaluate("document.querySelector('.sidebar-content-container').innerText"))

    def help_pictures(self) -> list[dict[str, Any]]:
        """File, width (0 where it did not load) and words of each picture in the open help panel."""
        pictures = "[...document.querySelectorAll('.sidebar-content-container img')]"
        with contextlib.suppress(playwright_timeout()):
            self.page.wait_for_function(f"{pictures}.every(i => i.complete)", timeout=30_000)
        found: list[dict[str, Any]] = self.page.evaluate(
            pictures + ".map(i => ({file: i.src.split('/').pop(), width: i.naturalWidth, words: i.alt}))"
        )
        return found


def quiet_start(comfyui: ComfyUI) -> None:
    """No tour of the templates, and no list of model files, which these tests leave out on purpose."""
    settings = {"Comfy.TutorialCompleted": True, "Comfy.Workflow.ShowMissingModelsWarning": False}
    requests.post(comfyui.url + "/settings", json=settings, timeout=60).raise_for_status()


@contextlib.contextmanager
def opened(browser: Any, comfyui: ComfyUI) -> Iterator[Window]:
    """A fresh window on the running server."""
    quiet_start(comfyui)
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    yield Window(page, comfyui.url).open()
    context.close()


@pytest.fixture
def window(browser: Any, comfyui: ComfyUI) -> Iterator[Window]:
    """A window of one test's own."""
    with opened(browser, comfyui) as fresh:
        yield fresh


@pytest.fixture(scope="module")
def shared_window(browser: Any, comfyui: ComfyUI) -> Iterator[Window]:
    """One window for all tests that only look."""
    with opened(browser, comfyui) as fresh:
        yield fresh


@pytest.fixture(scope="session")
def nuts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small generated dataset of MVTec AD's shape."""
    from defectforge.runner.nuts import write_dataset

    root = tmp_path_factory.mktemp("data") / "nuts"
    write_dataset(root, n_good=2, n_defect=1, size=256, seed=11)
    return root


@pytest.fixture(scope="session")
def nuts_as_input(comfyui: ComfyUI, nuts: Path) -> Path:
    """The same dataset under the server's input folder, where a person in the window would put it."""
    place = comfyui.base / "input" / "nuts"
    shutil.copytree(nuts, place, dirs_exist_ok=True)
    return place


Records = list[dict[str, Any]]


@pytest.fixture(scope="session")
def run_headless(comfyui: ComfyUI, checkpoints: Path, nuts: Path) -> Callable[..., Records]:
    """`defectforge run` on the nuts, against ComfyUI or (embedded=True) our own server; gives the manifest's lines."""

    def run(workflow: str | Path, out: Path, *options: str, embedded: bool = False) -> Records:
        command = [sys.executable, "-m", "defectforge.runner", "run", str(workflow), "--data", str(nuts)]
        command += ["--category", "hazelnut", "--count", "1", "--seed", "5", "--out", str(out), *options]
        command += ["--models", str(checkpoints)] if embedded else ["--server", comfyui.url]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=900, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        lines = (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    return run
