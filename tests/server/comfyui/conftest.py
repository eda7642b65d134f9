"""Real ComfyUIs on the CPU with this pack linked into their custom_nodes, and a browser that looks at them.

Where there is none, every test here is skipped with the reason. `tests/tools/comfyui_hosts.py` says how cores and
windows are found: tests run on each core, those of the browser on each core with each window in each renderer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from defectforge.runner.checkpoints import miniature
from defectforge.runner.embedded import follows, launch

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "tools"))

import comfyui_hosts  # noqa: E402
import random_lora  # noqa: E402
from comfyui_hosts import NODES2, PACK_FOLDER, Cell, ComfyUI  # noqa: E402, F401

CHECKPOINTS = {
    "random-sd15": [],
    "random-sd15-inpaint": ["--in-channels", "9"],
    "random-sd15-ip2p": ["--in-channels", "8"],
    "random-sd21-unclip": ["--unclip"],
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each core for a test that talks to it; each core, window and renderer for one that looks at its window."""
    if "comfyui" in metafunc.fixturenames:
        looks = metafunc.definition.get_closest_marker("browser") is not None
        found = comfyui_hosts.cells() if looks else comfyui_hosts.cores()
        names = [cell.name for cell in found]
        metafunc.parametrize("comfyui", found or [None], ids=names or ["none"], indirect=True, scope="session")


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
                "defectforge.runner.embedded.engine.random_weights.random_checkpoint",
                str(part),
                *options,
            ]
            subprocess.run(command, check=True, cwd=ROOT)
            part.rename(path)
    random_lora.write(models / "loras" / random_lora.SHIPPED_NAME)
    captioner = models / "caption" / "blip-image-captioning-base"
    if not (captioner / "config.json").is_file():
        write_captioner(captioner)
    return models


@pytest.fixture(scope="session")
def miniatures(checkpoints: Path) -> Path:
    """The models folder, with the shipped miniatures rebuilt in it."""
    for name, entry in miniature.table().items():
        path = checkpoints / "checkpoints" / f"{name}.safetensors"
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            miniature.write_checkpoint(name, path)
    return checkpoints


@pytest.fixture(scope="session")
def running_once() -> Iterator[Callable[..., ComfyUI]]:
    """The server of a core and window: kept while tests ask for the same, stopped when they ask for another."""
    stack = contextlib.ExitStack()
    kept: dict[tuple[Path, str], ComfyUI] = {}

    def server(cell: Cell, checkpoints: Path, base: Path) -> ComfyUI:
        key = (cell.host.path, cell.window)
        if key not in kept:
            stack.close()
            kept.clear()
            kept[key] = stack.enter_context(comfyui_hosts.running(cell, base, checkpoints))
        return dataclasses.replace(kept[key], cell=cell)

    with stack:
        yield server


@pytest.fixture(scope="session")
def comfyui(
    request: pytest.FixtureRequest,
    checkpoints: Path,
    running_once: Callable[..., ComfyUI],
    tmp_path_factory: pytest.TempPathFactory,
) -> ComfyUI:
    """ComfyUI with own folders on a free port; it loads the tiny stand-ins of `tiny_models.py`."""
    if request.param is None:
        pytest.skip(comfyui_hosts.absent())
    base = tmp_path_factory.mktemp("comfyui")
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / "tiny_models").symlink_to(ROOT / "tests" / "tools" / "tiny_models_pack")
    return running_once(request.param, checkpoints, base)


def chromium() -> str | None:
    """The browser's path: Debian's chromium, or what CHROMIUM_PATH names."""
    return os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium.

    No longer than a module: while Playwright is open, its event loop runs in this thread, and `asyncio.run` refuses.
    """
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
TEMPLATE_CARD = "[data-testid^='template-workflow-']"
#: What is shown when the mouse rests on something has the role of a dialog, too, and is none.
DIALOG = ".p-dialog, [role='dialog']:not(.p-popover, [data-reka-popper-content-wrapper] *)"
HELP = ".node-help-content"


def playwright_timeout() -> type[Exception]:
    from playwright.sync_api import TimeoutError

    return TimeoutError


class Window:
    """ComfyUI's window: what a person does in it, by name."""

    def __init__(self, page: Any, url: str, renderer: str = "") -> None:
        self.page = page
        self.url = url
        self.renderer = renderer

    def open(self) -> Window:
        self.page.goto(self.url)
        self.page.wait_for_function(
            "window.app?.graph?._nodes && window.app.extensionManager?.workflow?.activeWorkflow"
        )
        self.close_dialogs()
        return self

    def close_dialogs(self) -> None:
        for _ in range(5):
            if not self.page.locator(DIALOG).count():
                return
            self.page.keyboard.press("Escape")
            self.page.wait_for_timeout(400)
        raise AssertionError(f"a dialog stays open: {self.dialog_text()}")

    def dialog_text(self) -> str:
        texts = "selector => [...document.querySelectorAll(selector)].map(d => d.innerText).join('\\n')"
        return str(self.page.evaluate(texts, DIALOG))

    def browse_templates(self, pack: str) -> dict[str, int]:
        """Open the template browser at a pack's page; {template: width of its thumbnail, 0 without one}."""
        self.page.evaluate("window.app.extensionManager.command.execute('Comfy.BrowseTemplates')")
        dialog = self.page.locator(DIALOG).first
        dialog.get_by_text(pack, exact=True).first.click()
        self.page.wait_for_selector(TEMPLATE_CARD)
        # Cards come, and their pictures are drawn, as they are scrolled into view.
        cards: dict[str, int] = {}
        while self._more_cards_than(len(cards)):
            card = self.page.locator(TEMPLATE_CARD).nth(len(cards))
            card.scroll_into_view_if_needed()
            name = str(card.get_attribute("data-testid")).removeprefix("template-workflow-")
            drawn = "selector => document.querySelector(selector)?.naturalWidth > 0"
            picture = f"[data-testid='template-workflow-{name}'] img"
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

    def alone(self, node_type: str) -> None:
        """An empty graph with one node of this type."""
        self.load({"nodes": [], "links": [], "version": 0.4})
        self.close_dialogs()
        self.page.evaluate("type => { window.app.graph.add(window.LiteGraph.createNode(type)) }", node_type)
        self.page.wait_for_timeout(300)

    def complaints(self) -> str:
        """What the window says about nodes or types it does not know; missing model files are another matter."""
        text = self.dialog_text()
        return text if "node" in text.lower() and "Missing Models" not in text else ""

    def center(self, title: str) -> None:
        """Bring a node into view, at 100 %."""
        self.page.evaluate(
            """title => {
                const { canvas } = window.app
                canvas.ds.scale = 1
                canvas.centerOnNode(canvas.graph._nodes.find(n => n.title === title))
                canvas.setDirty(true, true)
            }""",
            title,
        )
        self.page.wait_for_timeout(300)

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
        """What the Run button does."""
        self.page.evaluate("window.app.queuePrompt(0)")

    def preview_sizes(self, *titles: str, timeout: float = 600) -> dict[str, list[int]]:
        """Wait for preview pictures on these nodes; {title: [width, height] of the first one}."""
        find = """titles => {
            const picture = node => window.document.querySelector(`[data-node-id="${node.id}"]`)
                ? [...document.querySelectorAll(`[data-node-id="${node.id}"] img`)].find(i => i.naturalWidth)
                : node.imgs?.[0]
            const nodes = titles.map(title => window.app.graph._nodes.find(n => n.title === title))
            const pictures = nodes.map(picture)
            if (pictures.some(p => !p?.naturalWidth)) return null
            return Object.fromEntries(pictures.map((p, n) => [titles[n], [p.naturalWidth, p.naturalHeight]]))
        }"""
        found = self.page.wait_for_function(find, arg=list(titles), timeout=timeout * 1000)
        sizes: dict[str, list[int]] = found.json_value()
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
                """([help, text]) => document.querySelector(help)?.innerText.replace(/\\s+/g, ' ').includes(text)""",
                arg=[HELP, awaited],
                timeout=30_000,
            )
        return str(self.page.evaluate("help => document.querySelector(help).innerText", HELP))

    def help_pictures(self) -> list[dict[str, Any]]:
        """File, width (0 where it did not load) and words of each picture in the open help panel."""
        pictures = f"[...document.querySelectorAll('{HELP} img')]"
        with contextlib.suppress(playwright_timeout()):
            self.page.wait_for_function(f"{pictures}.every(i => i.complete)", timeout=30_000)
        found: list[dict[str, Any]] = self.page.evaluate(
            pictures + ".map(i => ({file: i.src.split('/').pop(), width: i.naturalWidth, words: i.alt}))"
        )
        return found


@contextlib.contextmanager
def opened(browser: Any, comfyui: ComfyUI, **settings: Any) -> Iterator[Window]:
    """A fresh window on the running server."""
    comfyui_hosts.use_renderer(comfyui, **settings)
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    yield Window(page, comfyui.url, comfyui.cell.renderer).open()
    context.close()


@pytest.fixture
def new_window(browser: Any, comfyui: ComfyUI) -> Callable[..., contextlib.AbstractContextManager[Window]]:
    """Opens a window when it is called, for a test that sets something up first: a server of its own, settings."""
    return lambda server=comfyui, **settings: opened(browser, server, **settings)


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


@pytest.fixture(scope="session")
def as_told_by(comfyui: ComfyUI) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A node's entry of `/object_info` without what the core at hand cannot say of any node, being older."""
    entries = comfyui.object_info()

    def options(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for group in entry["input"].values():
            yield from (given[1] for given in group.values() if len(given) > 1 and isinstance(given[1], dict))

    known = {name for entry in entries.values() for name in entry}
    # Cores whose nodes may say one of the two let inputs say the other; single old nodes say "advanced" themselves.
    folds = "search_aliases" in known

    def told(entry: dict[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in json.loads(json.dumps(entry)).items() if name in known}
        for given in options(kept):
            if not folds:
                given.pop("advanced", None)
        return kept

    return told


Records = list[dict[str, Any]]


def followed(version: str) -> str:
    """The core that the embedded server has to follow to draw as this one does."""
    old = comfyui_hosts.numbers(version) < follows.STEP_NOISE_FROM_NEXT_SEED
    return follows.CHOICES[-1] if old else follows.COMFYUI_VERSION


@pytest.fixture(scope="session")
def embedded_like(
    comfyui: ComfyUI, checkpoints: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[launch.RunningServer]:
    """An embedded server with the same models that follows the core at hand."""
    base = tmp_path_factory.mktemp("embedded")
    places = {name: base / name for name in ("input", "output", "temp")}
    follow = followed(comfyui.version)
    log = base / "log.txt"
    with launch.start(models=[checkpoints], device="cpu", follow=follow, log=log, timeout=300, **places) as server:
        yield server


@pytest.fixture(scope="session")
def run_headless(comfyui: ComfyUI, nuts: Path, request: pytest.FixtureRequest) -> Callable[..., Records]:
    """`defectforge run` on the nuts, against ComfyUI or (embedded=True) our own server; gives the manifest's lines."""

    def run(workflow: str | Path, out: Path, *options: str, embedded: bool = False) -> Records:
        url = request.getfixturevalue("embedded_like").url if embedded else comfyui.url
        command = [sys.executable, "-m", "defectforge.runner", "run", str(workflow), "--data", str(nuts)]
        command += ["--category", "hazelnut", "--count", "1", "--seed", "5", "--out", str(out), *options]
        command += ["--server", url]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=900, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        lines = (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    return run
