"""The programs that exports are for read them unchanged, and see the masks that the run wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from .conftest import DRAWS, HEIGHT, SOURCES, WIDTH, a_mask, exported

Load = Callable[..., Any]


def number(name: str) -> int:
    return int(Path(name).stem.split("-")[-1])


def mask_of(pixels: list[int]) -> np.ndarray:
    mask = np.zeros(HEIGHT * WIDTH, bool)
    mask[pixels] = True
    return mask.reshape(HEIGHT, WIDTH)


def test_pycocotools_reads_coco(load: Load, run: Path, tmp_path: Path) -> None:
    dest = exported(run, "coco", tmp_path / "dest")
    found = load("pycocotools", dest, "train") | load("pycocotools", dest, "val")
    assert len(found) == DRAWS
    for name, picture in found.items():
        assert (mask_of(picture["pixels"]) == a_mask(number(name))).all()
        assert all(counted == written for counted, written in picture["areas"])
        assert picture["box"][0] == picture["box"][1]
        assert picture["class"] == "hole"


@pytest.mark.parametrize("side", ["train", "val"])
def test_supervision_reads_coco(side: str, load: Load, run: Path, tmp_path: Path) -> None:
    found = load("supervision", exported(run, "coco", tmp_path / "dest"), "coco", side)
    assert len(found) == {"train": 6, "val": 4}[side]
    for name, picture in found.items():
        assert (mask_of(picture["pixels"]) == a_mask(number(name))).all()


@pytest.mark.parametrize("side", ["train", "val"])
def test_supervision_reads_yolo(side: str, load: Load, run: Path, tmp_path: Path) -> None:
    found = load("supervision", exported(run, "yolo-seg", tmp_path / "dest"), "yolo-seg", side)
    assert len(found) == {"train": 6, "val": 4}[side]
    for name, picture in found.items():
        mask = ndimage.binary_fill_holes(a_mask(number(name)))
        seen = mask_of(picture["pixels"])
        assert (seen & mask).sum() / (seen | mask).sum() > 0.8
        # supervision rounds to whole pixels and draws the outline itself as inside: never more than that one pixel.
        assert not (seen & ~ndimage.binary_dilation(mask, np.ones((3, 3)))).any()
        assert picture["classes"] == ["hole"]
        assert picture["size"] == [HEIGHT, WIDTH]


def test_supervision_reads_voc(load: Load, run: Path, tmp_path: Path) -> None:
    found = load("supervision", exported(run, "voc", tmp_path / "dest"), "voc", "all")
    assert len(found) == DRAWS
    for name, picture in found.items():
        rows, columns = np.nonzero(a_mask(number(name)) & (np.arange(WIDTH) > 8))
        x0, y0, x1, y1 = max(picture["boxes"], key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
        # VOC counts from 1; supervision takes one off again, or not, by its version.
        assert abs(x0 - columns.min()) <= 1 and abs(y0 - rows.min()) <= 1
        assert abs(x1 - columns.max()) <= 1 and abs(y1 - rows.max()) <= 1


def test_datumaro_reads_its_own_format(load: Load, run: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools", reason="the extra `export` is not installed")
    sides = load("datumaro", exported(run, "datumaro", tmp_path / "dest"))
    assert {side: len(items) for side, items in sides.items()} == {"train": 6, "val": 4}
    for items in sides.values():
        for name, item in items.items():
            assert (mask_of(item["pixels"]) == a_mask(number(name))).all()
            assert item["classes"] == ["hole"]
            assert item["size"] == [HEIGHT, WIDTH]
            assert item["attributes"] == ["defectforge_id", "source_sha256"]


@pytest.mark.parametrize("side", ["train", "val"])
def test_fiftyone_reads_its_directory(side: str, load: Load, run: Path, tmp_path: Path) -> None:
    """By its importer; its database, which is a server of its own, is not needed for that."""
    found = load("fiftyone", exported(run, "fiftyone", tmp_path / "dest") / side)
    assert len(found) == {"train": 6, "val": 4}[side]
    for name, picture in found.items():
        assert (mask_of(picture["pixels"]) == a_mask(number(name))).all()
        assert picture["values"] == [0, 1]


def test_anomalib_reads_its_folder(load: Load, run: Path, tmp_path: Path) -> None:
    dest = exported(run, "anomalib", tmp_path / "dest")
    sides = load("anomalib", dest / "hazelnut", "hole")
    assert len(sides["train"]) == 3 and not any(item["is_defect"] for item in sides["train"])
    defects = [item for item in sides["test"] if item["is_defect"]]
    assert len(defects) == 4 and len(sides["test"]) == 4 + (SOURCES - 3)
    for item in defects:
        assert (mask_of(item["pixels"]) == a_mask(number(item["image"]))).all()
