"""Shared set-up: a run's output of ten pairs, its export, and the targets' own loaders (see tests/tools/loaders)."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectforge.runner.commands.results.export_command import export
from defectforge.runner.errors import OK
from defectforge.runner.reporter import Reporter
from numpy.typing import NDArray
from PIL import Image

SCRIPTS = Path(__file__).parents[2] / "tools" / "loaders"
sys.path.insert(0, str(SCRIPTS))
from install import python_of  # noqa: E402

WIDTH, HEIGHT = 60, 48
DRAWS, SOURCES = 10, 5


def a_mask(number: int) -> NDArray[np.bool_]:
    """Two parts, one of them at the picture's edge; the third pair's has a hole."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    mask = np.hypot(y - 20, x - 25 - number) < 9
    mask |= (x < 6) & (y > 30 + number)
    if number == 2:
        mask &= ~(np.hypot(y - 20, x - 27) < 4)
    return mask


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Ten pairs of five source photos, as 0.1.0 records them."""
    return write_run(tmp_path)


def write_run(folder: Path, type_: Callable[[int], str] = lambda n: "hole", **more: Any) -> Path:
    out, data, lines = folder / "run", folder / "data", []
    rng = np.random.default_rng(0)
    for number in range(DRAWS):
        source = f"hazelnut/train/good/{number % SOURCES:03d}.png"
        save(data / source, np.full((HEIGHT, WIDTH, 3), number % SOURCES, np.uint8))
        image = f"hazelnut/test/{type_(number)}/{number:06d}.png"
        mask = f"hazelnut/ground_truth/{type_(number)}/{number:06d}_mask.png"
        save(out / image, rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8))
        save(out / mask, a_mask(number).astype(np.uint8) * 255)
        line = {
            "id": hashlib.sha256(bytes([number])).hexdigest(),
            "number": number,
            "category": "hazelnut",
            "type": type_(number),
            "seed": number,
            "data": str(data),
            "workflow": {"name": "inpaint_latent_noise"},
            "source": {"path": source, "file": source, "sha256": sha256(data / source)},
            "references": [],
            "image": {"path": image, "sha256": sha256(out / image), "size": [WIDTH, HEIGHT]},
            "mask": {"path": mask, "sha256": sha256(out / mask)},
            "scores": {"presence": number / 10, "grain": None},
            **{key: value(number) for key, value in more.items()},
        }
        lines.append(json.dumps(line) + "\n")
    (out / "manifest.jsonl").write_text("".join(lines))
    return out


def save(path: Path, array: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def exported(run: Path, to: str, dest: Path, **options: Any) -> Path:
    settings = {"label": "recorded", "val": 0.4, "seed": 0, "link": False, **options}
    assert export(run, to, dest, Reporter(), **settings) == OK
    return dest


@pytest.fixture
def load() -> Callable[..., Any]:
    """load("supervision", DEST, ...) -> what the script printed; the test is skipped where the target is absent."""

    def run(name: str, *arguments: object) -> Any:
        if not python_of(name).exists():
            pytest.skip(f"{name} is not installed: python tests/tools/loaders/install.py {name}")
        command = [str(python_of(name)), str(SCRIPTS / f"load_{name}.py"), *map(str, arguments)]
        quiet = {**os.environ, "FIFTYONE_DO_NOT_TRACK": "1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=quiet)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
