"""Part masks and real masks through a real server: they are what the nodes there use, and a pair can be made again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectforge.runner.errors import BAD_REQUEST, OK
from made import loader, saver, titled
from PIL import Image


@pytest.fixture
def any_defect(tmp_path: Path) -> Path:
    """Photo -> mask of any type -> saved pair. Runs without a checkpoint."""
    numbers = {"min_size": 0.0, "max_size": 0.0, "tries": 64, "grow": 6.0, "feather": 8.0}
    lies = {"orientation": "as the type does", "name": ""}
    graph = {
        "1": loader("Good photo"),
        "3": titled(
            "DefectForgePlaceDefectMask", "Defect mask", image=["1", 0], type="spot", seed=0, count=1, **lies, **numbers
        ),
        "4": saver("spot", source_path=["1", 2]),
    }
    path = tmp_path / "any.json"
    path.write_text(json.dumps(graph))
    return path


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]


def masks(out: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(out / record["mask"]["path"])) > 127 for record in records(out)]


def test_defects_lie_inside_the_users_part_masks_and_can_be_made_again(
    cli: Any, any_defect: Path, nuts: Path, tmp_path: Path, embedded_server: Any
) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    allowed = {}
    for n, photo in enumerate(sorted((nuts / "hazelnut/train/good").iterdir())):
        # A stripe of the nut, another one on each photo.
        area = np.zeros(np.asarray(Image.open(photo)).shape[:2], bool)
        area[60 + 12 * n : 96 + 12 * n, 50:140] = True
        Image.fromarray(area).save(parts / f"{photo.stem}.png")
        allowed[photo.name] = area
    out = tmp_path / "out"
    done = cli(
        "run", any_defect, "--data", nuts, "--part-masks", parts, "--server", embedded_server.url, "--out", out
    )  # fmt: skip
    assert done.returncode == OK, done.stderr
    assert "for Defect mask.part_mask" in done.stderr
    for record, mask in zip(records(out), masks(out), strict=True):
        assert mask.any()
        assert not (mask & ~allowed[Path(record["source"]["file"]).name]).any()
        assert len(record["part_masks"]) == 1
        assert record["references"] == []
    again = cli("rerun", out / "manifest.jsonl", "--server", embedded_server.url, "--out", tmp_path / "again")
    assert again.returncode == OK, again.stderr
    Image.fromarray(np.ones((192, 192), bool)).save(parts / "000.png")
    changed = cli("rerun", out / "manifest.jsonl", "--server", embedded_server.url, "--out", tmp_path / "changed")
    assert changed.returncode == BAD_REQUEST
    assert "the mask of the part is not the one of the record" in changed.stderr


def test_a_missing_part_mask_stops_the_run_before_anything_is_queued(
    cli: Any, any_defect: Path, nuts: Path, tmp_path: Path, embedded_server: Any
) -> None:
    (tmp_path / "parts").mkdir()
    out = tmp_path / "out"
    done = cli(
        "run", any_defect, "--data", nuts, "--part-masks", tmp_path / "parts", "--server", embedded_server.url,
        "--out", out,
    )  # fmt: skip
    assert done.returncode == BAD_REQUEST
    assert "4 of 4 photos have no mask of their part" in done.stderr
    assert not out.exists()


def test_masks_are_made_like_the_real_ones_and_can_be_made_again(
    cli: Any, any_defect: Path, nuts: Path, tmp_path: Path, embedded_server: Any
) -> None:
    out = tmp_path / "out"
    done = cli(
        "run", any_defect, "--data", nuts, "--type", "hole", "--server", embedded_server.url, "--out", out
    )  # fmt: skip
    assert done.returncode == OK, done.stderr
    assert "masks as the 2 real ones of hazelnut/hole in shape, size and place" in done.stderr
    made = records(out)
    assert all(len(record["real_masks"]) == 2 for record in made)
    assert all(mask.any() for mask in masks(out))
    again = cli("rerun", out / "manifest.jsonl", "--server", embedded_server.url, "--out", tmp_path / "again")
    assert again.returncode == OK, again.stderr
    assert "4 pairs: the same pixels" in again.stderr
