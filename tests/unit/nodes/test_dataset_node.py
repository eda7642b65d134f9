"""Loading a photo: the right files, only from allowed folders, loaded anew when they change, clear errors."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from defectforge.nodes.dataset_nodes import DefectForgeLoadMVTec
from PIL import Image


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def dataset(embedded_host: Path) -> Path:
    """A small dataset in the server's input folder, under `parts`."""
    root = embedded_host / "input" / "parts"
    rng = np.random.default_rng(0)
    for name in ("2.png", "10.png", "1.png"):
        write(root / "hazelnut/train/good" / name, rng.integers(0, 256, (12, 10, 3), dtype=np.uint8))
    write(root / "hazelnut/test/hole/000.png", rng.integers(0, 256, (12, 10, 3), dtype=np.uint8))
    write(root / "hazelnut/test/hole/001.png", rng.integers(0, 256, (12, 10), dtype=np.uint8))
    mask = np.zeros((12, 10), np.uint8)
    mask[3:5, 4:7] = 255
    write(root / "hazelnut/ground_truth/hole/000_mask.png", mask)
    (root / "hazelnut/ground_truth/empty").mkdir()
    return root


def request(**changes: object) -> dict[str, object]:
    return {"root": "parts", "category": "hazelnut", "split": "train", "type": "good", "index": 0} | changes


def load(**changes: object) -> tuple:
    return DefectForgeLoadMVTec.execute(**request(**changes)).args


def test_a_good_photo_comes_exactly_with_an_empty_mask(dataset):
    image, mask, relative, count = load(index=1)
    assert relative == "hazelnut/train/good/2.png"
    assert count == 3
    assert torch.equal((image[0] * 255).round().byte(), torch.from_numpy(np.array(Image.open(dataset / relative))))
    assert mask.shape == (1, 12, 10)
    assert not mask.any()


def test_a_defect_photo_comes_with_its_mask(dataset):
    _, mask, relative, count = load(split="test", type="hole")
    assert (relative, count) == ("hazelnut/test/hole/000.png", 2)
    assert mask.sum() == 6
    assert mask[0, 3:5, 4:7].all()


@pytest.mark.parametrize("level", [1, 255])
def test_a_mask_is_cut_at_half_of_its_own_range(dataset, level):
    levels = np.zeros((12, 10), np.uint8)
    levels[3:5, 4:7] = level
    write(dataset / "hazelnut/ground_truth/hole/000_mask.png", levels)
    assert load(split="test", type="hole")[1].sum() == 6


def test_a_mask_of_one_level_says_nothing_and_is_refused(dataset):
    write(dataset / "hazelnut/ground_truth/hole/000_mask.png", np.full((12, 10), 255, np.uint8))
    with pytest.raises(ValueError, match="has one level throughout"):
        load(split="test", type="hole")


def test_a_grey_photo_becomes_rgb_and_a_missing_mask_is_said(dataset, caplog):
    image, mask, _, _ = load(split="test", type="hole", index=1)
    assert image.shape == (1, 12, 10, 3)
    assert not mask.any()
    assert "000" not in caplog.text
    assert "hazelnut/test/hole/001.png: it has no ground-truth mask" in caplog.text


@pytest.mark.parametrize("root", ["", "parts", "absolute"])
def test_the_root_may_be_empty_relative_or_absolute(dataset, root, monkeypatch):
    monkeypatch.setenv("DEFECTFORGE_DATA", str(dataset))
    assert load(root=str(dataset) if root == "absolute" else root)[3] == 3


def test_registered_folders_are_searched(dataset, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere / "bottle/test/good/0.png", np.zeros((4, 4, 3), np.uint8))
    wanted = request(root="", category="bottle", split="test")
    assert DefectForgeLoadMVTec.validate_inputs(**wanted) is not True
    monkeypatch.setenv("DEFECTFORGE_DATA", os.pathsep.join([str(tmp_path / "missing"), str(elsewhere)]))
    assert DefectForgeLoadMVTec.validate_inputs(**wanted) is True


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"category": "hazelnutt"}, ["category:", "did you mean 'hazelnut'?"]),
        ({"split": "test", "type": "holes"}, ["type:", "did you mean 'hole'?"]),
        ({"split": "tset"}, ["split: 'tset' is unknown", "train, test"]),
        ({"index": 3}, ["index: 3 is out of range", "0 to 2"]),
        ({"index": -1}, ["index: -1 is out of range"]),
        ({"root": "nothing"}, ["root: there is no folder 'nothing'"]),
        ({"root": "../output"}, ["root:", "outside the folders that may be read", "DEFECTFORGE_DATA"]),
        ({"root": "/"}, ["root:", "outside the folders that may be read"]),
        ({"root": "parts/hazelnut"}, ["is the folder of one category", "category to 'hazelnut'"]),
        ({"root": "parts/hazelnut/ground_truth/empty"}, ["is not a dataset", "<category>/{train/good, test/<type>"]),
        ({"category": "../../output"}, ["category:", "bare name"]),
    ],
)
def test_wrong_requests_say_what_was_expected(dataset, changes, says):
    """The same message before anything is queued and, for linked inputs, when the node runs."""
    message = DefectForgeLoadMVTec.validate_inputs(**request(**changes))
    for part in says:
        assert part in str(message)
    with pytest.raises(ValueError) as caught:
        load(**changes)
    assert str(caught.value) == message


def test_links_that_lead_out_are_not_followed(dataset, tmp_path):
    outside = tmp_path / "outside"
    write(outside / "0.png", np.zeros((4, 4, 3), np.uint8))
    (dataset / "hazelnut/test/leak").symlink_to(outside)
    (dataset / "hazelnut/train/good/3.png").symlink_to(outside / "0.png")
    for changes in ({"split": "test", "type": "leak"}, {"index": 2}):
        assert "outside the folders that may be read" in str(DefectForgeLoadMVTec.validate_inputs(**request(**changes)))


def test_a_picture_that_does_not_decode_is_named(dataset):
    cut = dataset / "hazelnut/train/good/1.png"
    cut.write_bytes(cut.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"good/1\.png does not decode as a picture"):
        load()


def test_a_mask_of_another_size_is_refused_with_both_sizes(dataset):
    write(dataset / "hazelnut/ground_truth/hole/000_mask.png", np.zeros((8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"000_mask\.png is 8x8 px but its photo .* is 10x12 px"):
        load(split="test", type="hole")


def test_the_fingerprint_follows_photo_mask_and_count(dataset):
    wanted = request(split="test", type="hole")
    before = DefectForgeLoadMVTec.fingerprint_inputs(**wanted)
    assert DefectForgeLoadMVTec.fingerprint_inputs(**wanted) == before
    seen = {before}
    for path in ("test/hole/000.png", "ground_truth/hole/000_mask.png"):
        file = dataset / "hazelnut" / path
        os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
        seen.add(DefectForgeLoadMVTec.fingerprint_inputs(**wanted))
    write(dataset / "hazelnut/test/hole/002.png", np.zeros((4, 4, 3), np.uint8))
    seen.add(DefectForgeLoadMVTec.fingerprint_inputs(**wanted))
    assert len(seen) == 4


def test_linked_inputs_are_left_to_the_run():
    assert DefectForgeLoadMVTec.validate_inputs(root="nothing", category="x") is True


def test_what_was_assumed_is_shown_on_the_node_and_logged(dataset, caplog):
    write(dataset / "hazelnut/train/good/1.png", np.full((12, 10), 2048, np.uint16))
    output = DefectForgeLoadMVTec.execute(**request())
    assert torch.allclose(output.args[0], torch.full((1, 12, 10, 3), 128 / 255))
    assert "read as 12 bits" in output.ui["text"][0]
    assert "hazelnut/train/good/1.png: its 16-bit values" in caplog.text
    assert DefectForgeLoadMVTec.execute(**request(index=1)).ui is None


@pytest.mark.parametrize("type_", ["good", "ok", "OK"])
def test_a_good_part_is_found_by_either_name(dataset, type_):
    write(dataset / "01/train/ok/0.bmp", np.zeros((4, 4, 3), np.uint8))
    write(dataset / "01/test/ko/1.png", np.zeros((4, 4, 3), np.uint8))
    assert load(category="01", type=type_)[2:] == ("01/train/ok/0.bmp", 1)


def test_a_photo_over_the_limit_names_the_variable_that_raises_it(dataset, monkeypatch):
    monkeypatch.setenv("DEFECTFORGE_MAX_PIXELS", "100")
    with pytest.raises(ValueError, match="DEFECTFORGE_MAX_PIXELS=120 in its environment"):
        load()
