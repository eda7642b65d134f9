"""Shared set-up: the folder of a run as `defectforge run` leaves it, as many pairs as wanted, without running one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectforge.nodes.algorithms.run_length import encode as to_run_lengths
from defectforge.runner.outputs.commit import Committer
from defectforge.runner.outputs.journal import Journal
from defectforge.runner.outputs.manifest import Manifest
from defectforge.runner.outputs.pairs import Fetched, names
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
from made import Job, png

WIDTH, HEIGHT = 64, 48
METHODS = ("inpaint_latent_noise", "transplant", "img2img")


def a_photo(number: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> NDArray[np.uint8]:
    width, height = size
    y, x = np.mgrid[:height, :width]
    nut = np.hypot((y - height / 2) / height, (x - width / 2) / width) < 0.4
    picture = np.full((height, width, 3), 16, np.uint8)
    picture[nut] = (140 + number % 40, 90, 50)
    return picture


def a_mask(number: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> NDArray[np.bool_]:
    width, height = size
    y, x = np.mgrid[:height, :width]
    return np.asarray(np.hypot(y - height / 2, x - width / 2 - (number % 11) + 5) < height / 8)


def write_run(
    folder: Path,
    count: int = 8,
    type_: Callable[[int], str] = lambda n: "hole",
    more: Callable[[int], dict[str, Any]] = lambda n: {},
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> Path:
    """FOLDER/run of `count` pairs of five source photos; every third has no label. Returns it.

    More than a hundred are written without the committer's syncs, and their jobs are not in the journal.
    """
    out, data = folder / "run", folder / "data"
    out.mkdir(parents=True)
    shas = []
    for number in range(5):
        path = data / f"hazelnut/train/good/{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(a_photo(number, size)))
        shas.append(hashlib.sha256(path.read_bytes()).hexdigest())
    journal = Journal(out / "run.sqlite")
    try:
        journal.start_run({"workflow": "inpaint_latent_noise"}, "0.2.0")
        jobs = [Job(number, type_(number)) for number in range(count)]
        few = count <= 100
        journal.add(jobs if few else [])  # type: ignore[arg-type]
        committer = Committer(out, journal, Manifest(out / "manifest.jsonl"))
        plain: list[str] = []
        for number, job in enumerate(jobs):
            mask, labelled = a_mask(number, size), number % 3 != 2
            picture = a_photo(number % 5, size)
            picture[mask] = (10, number % 251, 5)
            source = f"hazelnut/train/good/{number % 5:03d}.png"
            record = {
                "version": 1,
                "category": "hazelnut",
                "type": job.type,
                "seed": 100 + number,
                "data": str(data),
                "workflow": {"name": METHODS[number % 3]},
                "source": {"path": source, "file": source, "sha256": shas[number % 5]},
                "references": [],
                "times": {"submitted": 1000.0 + number, "committed": 1002.0 + number},
                "server": {"kind": "embedded"},
                "label": "visible" if labelled else "none",
                "requested": to_run_lengths(a_mask(number, size)),
                "scores": {"quality": (number % 97) / 97, "presence": (number % 89) / 89, "grain": None},
                "pair": 0,
                **more(number),
            }
            said = Fetched(png(picture), png(mask.astype(np.uint8) * 255) if labelled else None, {}, size, 0.1)
            if few:
                committer.commit(job.id, said, record)
            else:
                plain.append(_plainly(out, job, said, record))
        if plain:
            (out / "manifest.jsonl").write_text("".join(plain), encoding="utf-8")
    finally:
        journal.close()
    return out


def _plainly(out: Path, job: Job, said: Fetched, record: dict[str, Any]) -> str:
    """Write a pair's files; its manifest line."""
    line = {**record, "id": job.id, "number": job.index, "mask": None}
    paths = names("hazelnut", job.type, job.index, said.mask is not None)
    for role, path, data in zip(("image", "mask"), paths, (said.image, said.mask), strict=True):
        if data is not None:
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_bytes(data)
            line[role] = {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "size": list(said.size)}
    return json.dumps(line) + "\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Eight pairs, of which two have no label."""
    return write_run(tmp_path)


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, for pages that are opened from the file system.

    No longer than a module: while Playwright is open, its event loop runs in this thread, and `asyncio.run` refuses.
    """
    path = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not path:
        pytest.skip("no Chromium here: install Debian's `chromium`, or set CHROMIUM_PATH")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        chrome = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield chrome
        chrome.close()


@pytest.fixture(scope="session")
def axe() -> Callable[[Any], list[str]]:
    """What the automatic accessibility check finds on an open page: the names of the rules that are broken."""
    path = os.environ.get("AXE_PATH")
    if not path:
        pytest.skip("no axe here: npm install axe-core, and set AXE_PATH to its axe.min.js")
    script = Path(path).read_text(encoding="utf-8")

    def check(page: Any) -> list[str]:
        page.evaluate(script)
        found: list[str] = page.evaluate("axe.run().then((found) => found.violations.map((v) => v.id))")
        return found

    return check
