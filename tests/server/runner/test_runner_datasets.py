"""Photos and masks of every kind through the runner and a real server: what comes back is what the reader sees here."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectforge.nodes.datasets.pictures import read_photo, turned
from defectforge.runner.errors import BAD_REQUEST, OK
from PIL import Image

NAMES = {"jpg": 'a "turned" photo.jpg', "png": "caf\u0065\u0301: 16 bits.png", "tif": "inks\\\U0001f95c.tif"}


@pytest.fixture
def photos(nuts: Path, tmp_path: Path) -> Path:
    """A plain folder of photos with odd names: stored turned, in 16 bits, in inks."""
    root = tmp_path / "nuts of many kinds"
    root.mkdir()
    sources = sorted((nuts / "hazelnut/train/good").glob("*.png"))
    nut = np.asarray(Image.open(sources[0]).convert("RGB"))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(turned(nut, 8)).save(root / NAMES["jpg"], exif=exif, quality=95)
    grey = np.asarray(Image.open(sources[1]).convert("L"), np.uint16) * 257
    Image.fromarray(grey).save(root / NAMES["png"])
    Image.open(sources[2]).convert("RGB").convert("CMYK").save(root / NAMES["tif"])
    return root


def test_photos_of_every_kind_come_back_as_the_reader_sees_them(
    cli: Any, photos: Path, place_workflow: Path, tmp_path: Path, embedded_server: Any
) -> None:
    out = tmp_path / "out"
    done = cli("run", place_workflow, "--data", photos, "--server", embedded_server.url, "--out", out)
    assert done.returncode == OK, done.stderr
    assert "is read as a plain folder of good photos; it has no defect photos" in done.stderr
    assert "it is CMYK without a colour profile" in done.stderr
    records = [json.loads(line) for line in (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {record["source"]["file"] for record in records} == set(NAMES.values())
    for record in records:
        file = photos / record["source"]["file"]
        with Image.open(out / record["image"]["path"]) as image:
            assert not image.getexif(), "saved upright, without the tag"
            assert np.array_equal(np.asarray(image), read_photo(file).pixels), file.name
        assert record["source"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest(), "the file's own"
        assert record["image"]["path"].startswith("nuts of many kinds/test/hole/")
    again = cli("rerun", out / "manifest.jsonl", "--server", embedded_server.url, "--out", tmp_path / "again")
    assert again.returncode == OK, again.stderr
    assert "3 pairs: the same pixels" in again.stderr


@pytest.fixture
def copy_workflow(tmp_path: Path, place_workflow: Path) -> Path:
    """Saves the reference photo with its mask, as the server reads them."""
    graph = json.loads(place_workflow.read_text())
    inputs = {"root": "", "category": "hazelnut", "split": "test", "type": "hole", "index": 0}
    graph["5"] = {"class_type": "DefectForgeLoadMVTec", "inputs": inputs, "_meta": {"title": "Reference defect"}}
    graph["4"]["inputs"] |= {"image": ["5", 0], "mask": ["5", 1], "source_path": ["5", 2]}
    del graph["2"], graph["3"]
    path = tmp_path / "copy.json"
    path.write_text(json.dumps(graph))
    return path


def test_masks_of_every_kind_come_back_as_the_drawn_area(
    cli: Any, copy_workflow: Path, tmp_path: Path, embedded_server: Any
) -> None:
    """Two masks of one photo (MVTec LOCO), a mask that is stored turned as its photo is, and one that is upright."""
    category = tmp_path / "data" / "part"
    colours = np.full((60, 80, 3), 120, np.uint8)
    first, second = (np.zeros((60, 80), np.uint8) for _ in range(2))
    first[5:15, 5:25], second[40:50, 60:70] = 255, 1
    exif = Image.Exif()
    exif[0x0112] = 6

    def write(path: str, array: np.ndarray, **options: Any) -> None:
        (category / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(category / path, **options)

    write("train/good/0.png", colours)
    for stem in ("0", "1", "2"):
        write(
            f"test/odd: type/{stem}.png",
            turned(colours, 8) if stem != "0" else colours,
            exif=exif if stem != "0" else b"",
        )
    write("ground_truth/odd: type/0/000.png", first)
    write("ground_truth/odd: type/0/001.bmp", second)
    write("ground_truth/odd: type/1_mask.PNG", turned(first, 8))
    write("ground_truth/odd: type/2-mask.tif", first)
    out = tmp_path / "out"
    line = ["run", copy_workflow, "--data", category.parent, "--type", "odd: type", "--count", 3]
    done = cli(*line, "--server", embedded_server.url, "--out", out)
    assert done.returncode == OK, done.stderr
    records = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    for record in sorted(records, key=lambda record: record["number"]):
        mask = np.asarray(Image.open(out / record["mask"]["path"])) > 0
        wanted = (first > 0) | (second > 0) if record["number"] == 0 else first > 0
        assert np.array_equal(mask, wanted), record["references"]
        assert ":" not in record["image"]["path"], "a folder's name on every machine"
    assert records[0]["references"][0]["mask"] == [f"part/ground_truth/odd: type/0/{n}" for n in ("000.png", "001.bmp")]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            lambda data: Image.new("L", (192, 192)).save(next((data / "hazelnut/ground_truth/hole").iterdir())),
            "marks nothing",
        ),
        (
            lambda data: next((data / "hazelnut/train/good").iterdir()).rename(data / "hazelnut/train/good/0\n0.png"),
            r"0\n0.png",
        ),
    ],
    ids=["empty mask", "line end in a name"],
)
def test_what_cannot_be_used_is_refused_before_anything_is_queued(
    cli: Any, nuts: Path, copy_workflow: Path, tmp_path: Path, embedded_server: Any, spoil: Any, says: str
) -> None:
    import shutil

    data = tmp_path / "copy"
    shutil.copytree(nuts, data)
    spoil(data)
    done = cli("run", copy_workflow, "--data", data, "--server", embedded_server.url, "--out", tmp_path / "out")
    assert done.returncode == BAD_REQUEST, done.stderr
    assert says in done.stderr
    assert not (tmp_path / "out").exists()
