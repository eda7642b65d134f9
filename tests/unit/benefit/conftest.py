"""Shared set-up: a small real set of drawn nuts, and runs over it as a manifest describes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectforge.runner.benefit.sets.real import RealSet, read_real
from defectforge.runner.nuts import write_dataset
from numpy.typing import NDArray
from PIL import Image

SIZE = 64


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's uncompressed run-length code, counted pixel by pixel."""
    counts, value, run = [], False, 0
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            counts.append(run)
            value, run = pixel, 0
        run += 1
    return {"size": list(mask.shape), "counts": [*counts, run]}


@pytest.fixture(scope="session")
def nuts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six good nuts to train on, four to test, six with a hole."""
    root = tmp_path_factory.mktemp("real")
    write_dataset(root, n_good=6, n_defect=6, size=128, seed=3, n_test_good=4)
    return root


@pytest.fixture
def own_nuts(nuts: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    import shutil

    return Path(shutil.copytree(nuts, tmp_path / "nuts"))


@pytest.fixture
def real(nuts: Path) -> RealSet:
    return read_real(nuts, "hazelnut", "hole", SIZE, None, 400)


WriteRun = Callable[..., Path]


@pytest.fixture
def write_run(tmp_path: Path, nuts: Path) -> WriteRun:
    """Writes the output of a run below this test's folder; see `write_run_into`."""

    def write(name: str = "run", data: Path = nuts, **more: Any) -> Path:
        return write_run_into(tmp_path, data, name, **more)

    return write


def write_run_into(
    folder: Path,
    data: Path,
    name: str = "run",
    source: str = "train/good",
    label: str | None = None,
    references: tuple[str, ...] = (),
    **more: Any,
) -> Path:
    """The output of a run: dark discs on good nuts, one a good photo.

    Args:
        label: None writes lines as 0.1.0 did; "visible" a visible mask and a wider requested one.
    references: stems of defect photos; each pair gets the next one.
    """
    out, lines = folder / name, []
    for number, photo in enumerate(sorted((data / "hazelnut" / source).iterdir())):
        picture = np.array(Image.open(photo).convert("RGB"))
        side = picture.shape[0]
        y, x = np.mgrid[:side, :side]
        distance = np.hypot(y - side / 2, x - side / 2 - number)
        visible, requested = distance < side / 14, distance < side / 9
        picture[visible] = 12
        mask = visible if label == "visible" else requested
        paths = {
            "image": f"hazelnut/test/hole/{number:06d}.png",
            "mask": f"hazelnut/ground_truth/hole/{number:06d}_mask.png",
        }
        for path, array in ((paths["image"], picture), (paths["mask"], mask.astype(np.uint8) * 255)):
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(out / path)
        address = f"hazelnut/{source}/{photo.name}"
        line: dict[str, Any] = {
            "id": hashlib.sha256(f"{name}{number}".encode()).hexdigest(),
            "number": number,
            "category": "hazelnut",
            "type": "hole",
            "seed": number,
            "data": str(data),
            "workflow": {"name": "inpaint_latent_noise"},
            "source": {"path": address, "file": address, "sha256": sha256(photo)},
            "references": [_reference(data, references[number % len(references)])] if references else [],
            "image": {"path": paths["image"], "sha256": sha256(out / paths["image"])},
            "mask": {"path": paths["mask"], "sha256": sha256(out / paths["mask"])},
            "models": [],
            "scores": {"presence": 0.5, "grain": None},
            **more,
        }
        if label is not None:
            line |= {"label": label, "requested": run_lengths(requested)}
        lines.append(json.dumps(line))
    (out / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    return out


def _reference(data: Path, stem: str) -> dict[str, Any]:
    address = f"hazelnut/test/hole/{stem}.png"
    mask = data / "hazelnut" / "ground_truth" / "hole" / f"{stem}_mask.png"
    return {
        "path": address,
        "file": address,
        "sha256": sha256(data / address),
        "mask": str(mask.relative_to(data)),
        "mask_sha256": sha256(mask),
    }
