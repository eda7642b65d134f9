"""Saved pairs are whole, numbered without gaps or clashes, sharded, and stay in the output folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from defectforge.nodes.output_nodes import DefectForgeSaveDefectPair
from defectforge.nodes.pairs.files import pair_paths, safe_prefix, save_pair
from PIL import Image


@pytest.fixture
def pair() -> tuple[Image.Image, Image.Image]:
    return Image.new("RGB", (6, 4), (1, 2, 3)), Image.new("L", (6, 4), 255)


def save(pair, output: Path, **texts: object) -> str:
    paths = save_pair(*pair, output, "set", "hazelnut", "hole", texts)
    return paths.image_name


def files(output: Path) -> list[str]:
    return sorted(str(path.relative_to(output)) for path in output.rglob("*") if path.is_file())


def test_pairs_lie_in_mvtec_layout_and_are_numbered(pair, tmp_path):
    assert [save(pair, tmp_path), save(pair, tmp_path)] == ["000000.png", "000001.png"]
    assert files(tmp_path) == [
        "set/hazelnut/ground_truth/hole/000000_mask.png",
        "set/hazelnut/ground_truth/hole/000001_mask.png",
        "set/hazelnut/test/hole/000000.png",
        "set/hazelnut/test/hole/000001.png",
    ]


@pytest.mark.parametrize("left", ["test/hole/000006.png", "ground_truth/hole/000006_mask.png"])
def test_a_number_taken_by_either_file_is_not_used_again(pair, tmp_path, left):
    path = tmp_path / "set/hazelnut" / left
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    assert save(pair, tmp_path) == "000007.png"


def test_a_number_claimed_by_another_server_is_passed_over(pair, tmp_path):
    folder = tmp_path / "set/hazelnut/ground_truth/hole"
    folder.mkdir(parents=True)
    (folder / "000000_mask.png.part").write_bytes(b"")
    assert save(pair, tmp_path) == "000001.png"
    assert (folder / "000000_mask.png.part").exists()


def test_a_failure_leaves_neither_file(pair, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pair[0], "save", full)
    with pytest.raises(OSError, match="No space left"):
        save(pair, tmp_path)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "folder"), [(999, "p/c/test/t"), (1000, "p/c/test/t/0001"), (2500, "p/c/test/t/0002")]
)
def test_each_thousand_gets_its_folder(number, folder):
    assert pair_paths("p", "c", "t", number).image_folder == folder


def test_numbering_goes_on_in_the_last_shard(pair, tmp_path):
    for folder in ("hole", "hole/0001"):
        (tmp_path / "set/hazelnut/test" / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / "set/hazelnut/test/hole/000999.png").write_bytes(b"")
    (tmp_path / "set/hazelnut/test/hole/0001/001041.png").write_bytes(b"")
    assert save(pair, tmp_path) == "001042.png"


@pytest.mark.parametrize("prefix", ["../x", "/etc", "a/../../b", "C:/x", "\\\\host\\share"])
def test_prefixes_that_lead_out_are_refused(prefix):
    with pytest.raises(ValueError, match="leads out of the output folder"):
        safe_prefix(prefix)
    assert isinstance(DefectForgeSaveDefectPair.validate_inputs(filename_prefix=prefix), str)


def test_prefixes_are_tidied():
    assert safe_prefix("a//b/./c\\d/") == "a/b/c/d"
    assert safe_prefix("") == ""


def test_texts_are_in_the_picture(pair, tmp_path):
    save(pair, tmp_path, prompt={"1": {}}, note="plain")
    with Image.open(tmp_path / "set/hazelnut/test/hole/000000.png") as picture:
        assert json.loads(picture.text["prompt"]) == {"1": {}}
        assert picture.text["note"] == "plain"


@pytest.fixture
def saved(embedded_host: Path) -> tuple[dict, Path]:
    node = DefectForgeSaveDefectPair.PREPARE_CLASS_CLONE(None)
    image = torch.arange(256).reshape(1, 16, 16, 1).expand(2, -1, -1, 3) / 255
    mask = torch.zeros(16, 16)
    mask[4:6, 2:5] = 0.98
    output = node.execute(
        image=torch.nextafter(image, torch.zeros(1)),
        mask=mask,
        filename_prefix="run",
        category="hazelnut",
        type="hole",
        source_path="hazelnut/train/good/000.png",
    )
    return output.ui, embedded_host / "output"


def test_the_node_saves_exact_pixels_and_a_hard_mask(saved):
    _, output = saved
    levels = np.asarray(Image.open(output / "run/hazelnut/test/hole/000000.png"))
    assert np.array_equal(levels[..., 0].ravel(), np.arange(256))
    with Image.open(output / "run/hazelnut/ground_truth/hole/000001_mask.png") as mask:
        assert mask.mode == "L"
        assert set(np.unique(np.asarray(mask))) == {0, 255}
        assert (np.asarray(mask) == 255).sum() == 6


def test_the_node_announces_each_pair_with_its_record_and_shows_an_overlay(saved):
    shown, output = saved
    assert len(shown["defectforge_pairs"]) == 2
    for number, pair in enumerate(shown["defectforge_pairs"]):
        for role in ("image", "mask"):
            reference = pair[role]
            assert (output / reference["subfolder"] / reference["filename"]).is_file()
            assert reference in shown["images"]
        assert pair["image"]["filename"] == f"{number:06d}.png"
        assert pair["record"]["mask"] == {"pixels": 6, "share": round(6 / 256, 6), "box": [2, 4, 5, 6]}
        assert pair["record"]["source_path"] == "hazelnut/train/good/000.png"
    assert [image["type"] for image in shown["images"]].count("temp") == 2


def test_the_record_is_in_the_picture_too(saved):
    shown, output = saved
    with Image.open(output / "run/hazelnut/test/hole/000000.png") as picture:
        assert json.loads(picture.text["defectforge"]) == shown["defectforge_pairs"][0]["record"]


@pytest.mark.parametrize("name", ["dot.", "CON", "a:b", 'a"b', "line\nend", "x" * 200])
def test_a_folder_s_name_that_windows_cannot_hold_is_refused(name):
    with pytest.raises(ValueError, match="filename_prefix"):
        safe_prefix(f"results/{name}")
