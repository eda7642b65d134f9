"""Layouts, found by what is there or forced: the same photos and masks whatever the folders are called."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from defectforge.nodes.datasets.disk import Disk
from defectforge.nodes.datasets.errors import ReadError
from defectforge.nodes.datasets.layouts import LAYOUTS, NAMES, layout_named
from defectforge.nodes.datasets.reader import Category, categories, why_empty
from PIL import Image

DOCS = Path(__file__).resolve().parents[3] / "docs" / "datasets.md"


@pytest.fixture
def dataset(tmp_path: Path):
    """Make a dataset of empty-ish pictures by their paths; gives its root."""

    def make(*paths: str) -> Path:
        for path in paths:
            target = tmp_path / "data" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.suffix:
                level = np.zeros((6, 8), np.uint8)
                level[2:4, 2:5] = 255
                Image.fromarray(level).save(target, "PNG")
            else:
                target.mkdir(exist_ok=True)
        return tmp_path / "data"

    return make


def content(category: Category) -> dict[str, list[str]]:
    """{split/type: photo files with the number of their masks}"""
    return {
        f"{split}/{type_}": [f"{p.path.name}:{len(p.masks)}" for p in category.photos(split, type_)]
        for split in ("train", "test")
        for type_ in category.types(split)
    }


CASES = {
    "mvtec-ad": (
        ["nut/train/good/0.png", "nut/test/good/1.png", "nut/test/hole/2.png", "nut/ground_truth/hole/2_mask.png"],
        {"train/good": ["0.png:0"], "test/good": ["1.png:0"], "test/hole": ["2.png:1"]},
    ),
    "mvtec-ad-2": (
        [
            "nut/train/good/0.png",
            "nut/test_public/bad/1.png",
            "nut/test_public/ground_truth/bad/1_mask.png",
            "nut/test_private/2.png",
        ],
        {"train/good": ["0.png:0"], "test/bad": ["1.png:1"]},
    ),
    "mvtec-loco": (
        [
            "nut/train/good/0.png",
            "nut/test/logical_anomalies/1.png",
            "nut/ground_truth/logical_anomalies/1/000.png",
            "nut/ground_truth/logical_anomalies/1/001.png",
            "nut/ground_truth/logical_anomalies/1/002.png",
        ],
        {"train/good": ["0.png:0"], "test/logical_anomalies": ["1.png:3"]},
    ),
    "btad": (
        ["nut/train/ok/0.bmp", "nut/test/ok/1.png", "nut/test/ko/2.png", "nut/ground_truth/ko/2.bmp"],
        {"train/good": ["0.bmp:0"], "test/good": ["1.png:0"], "test/ko": ["2.png:1"]},
    ),
    "visa": (
        ["nut/Data/Images/Normal/0.JPG", "nut/Data/Images/Anomaly/1.JPG", "nut/Data/Masks/Anomaly/1.png"],
        {"train/good": ["0.JPG:0"], "test/Anomaly": ["1.JPG:1"]},
    ),
    "anomalib-folder": (
        ["nut/normal/0.png", "nut/crack/1.png", "nut/cut/2.png", "nut/masks/crack/1.png", "nut/good_test/3.png"],
        {"train/good": ["0.png:0"], "test/good": ["3.png:0"], "test/crack": ["1.png:1"], "test/cut": ["2.png:0"]},
    ),
    "photos": (["nut/0.png", "nut/1.JPG"], {"train/good": ["0.png:0", "1.JPG:0"]}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_layout_is_found_and_may_be_forced(dataset, name):
    paths, expected = CASES[name]
    root = dataset(*paths)
    for layout in (None, layout_named(name)):
        (category,) = categories(root, layout=layout).values()
        assert (category.name, category.layout.name) == ("nut", name)
        assert content(category) == expected


def test_the_converted_form_of_visa_is_read_as_mvtec_ad_and_as_visa(dataset):
    root = dataset("nut/train/good/0.JPG", "nut/test/bad/1.JPG", "nut/ground_truth/bad/1.png")
    for layout, name in ((None, "mvtec-ad"), (layout_named("visa"), "visa")):
        category = categories(root, layout=layout)["nut"]
        assert category.layout.name == name
        assert content(category) == {"train/good": ["0.JPG:0"], "test/bad": ["1.JPG:1"]}


@pytest.mark.parametrize(("there", "forced"), [("mvtec-ad", "btad"), ("photos", "mvtec-ad"), ("visa", "mvtec-ad-2")])
def test_a_forced_layout_that_is_not_there_is_said(dataset, there, forced):
    root = dataset(*CASES[there][0])
    layout = layout_named(forced)
    assert categories(root, layout=layout) == {}
    assert layout.shape in str(why_empty(root, layout=layout)) or "one category" in str(why_empty(root, layout=layout))


@pytest.mark.parametrize("name", ["photos", "anomalib-folder"])
def test_a_folder_of_photos_is_its_own_category(dataset, name):
    root = dataset(*CASES[name][0]) / "nut"
    (category,) = categories(root).values()
    assert (category.name, category.layout.name) == ("nut", name)
    assert content(category) == CASES[name][1]


def test_one_category_is_told_from_a_root(dataset):
    root = dataset(*CASES["mvtec-ad"][0])
    assert categories(root / "nut") == {}, "its 'train' is no category in the anomalib Folder layout"
    assert "is the folder of one category" in str(why_empty(root / "nut"))


def test_what_a_layout_lacks_is_said(dataset):
    notes = " ".join(categories(dataset(*CASES["photos"][0], "nut/more/2.png"))["nut"].notes)
    assert "no defect photos, no masks and no test split" in notes
    assert "its folders are not read: more" in notes
    root = dataset("can/train/good/0.png", "can/test/hole/1.png")
    assert "there are no masks for hole" in " ".join(categories(root)["can"].notes)


def test_several_folders_of_photos_are_several_categories(dataset):
    assert list(categories(dataset("a/0.png", "b/0.png", "c/readme"))) == ["a", "b"]


@pytest.mark.parametrize(
    ("photo", "mask"),
    [
        ("1.PNG", "1_mask.png"),
        ("1.png", "1_mask.BMP"),
        ("1.jpeg", "1-mask.tif"),
        ("1.tif", "1.png"),
        ("caf\u00e9.png", "cafe\u0301_mask.png"),
        ("cafe\u0301.png", "caf\u00e9.png"),
    ],
)
def test_a_mask_is_found_by_its_name(dataset, photo, mask):
    root = dataset("nut/train/good/0.png", f"nut/test/hole/{photo}", f"nut/ground_truth/hole/{mask}")
    (found,) = categories(root)["nut"].photos("test", "hole")
    assert [path.name for path in found.masks] == [mask]


def test_the_mask_that_calls_itself_one_is_preferred_and_two_of_one_name_are_refused(dataset):
    base = ["nut/train/good/0.png", "nut/test/hole/1.png", "nut/ground_truth/hole/1_mask.png"]
    root = dataset(*base, "nut/ground_truth/hole/1.png")
    assert categories(root)["nut"].photo("test", "hole", 0).masks[0].name == "1_mask.png"
    root = dataset("nut/ground_truth/hole/1_mask.bmp")
    with pytest.raises(ReadError, match=r"1\.png has 2 masks of one name: 1_mask\.bmp, 1_mask\.png"):
        categories(root)["nut"].photos("test", "hole")


def test_a_mask_beside_its_photo_is_no_photo(dataset):
    root = dataset(
        "nut/train/good/0.png", "nut/test/hole/1.png", "nut/test/hole/1_mask.png", "nut/test/hole/x_mask.png"
    )
    assert content(categories(root)["nut"])["test/hole"] == ["1.png:1", "x_mask.png:0"]


def test_shards_are_read_with_their_masks_shallow_before_deep(dataset):
    root = dataset(
        "nut/train/good/0001/001000.png",
        "nut/train/good/002.png",
        "nut/test/hole/0001/001000.png",
        "nut/ground_truth/hole/0001/001000_mask.png",
    )
    assert content(categories(root)["nut"]) == {
        "train/good": ["002.png:0", "001000.png:0"],
        "test/hole": ["001000.png:1"],
    }


LITTER = ["@eaDir", ".ipynb_checkpoints", "__MACOSX", "._x", "#recycle", ".DS_Store"]


@pytest.mark.parametrize("litter", LITTER)
@pytest.mark.parametrize("name", CASES)
def test_litter_in_every_folder_changes_nothing(dataset, name, litter):
    paths, expected = CASES[name]
    folders = {parent for path in paths for parent in Path(path).parents}
    root = dataset(*paths, *(f"{folder}/{litter}/9.png" for folder in folders))
    for folder in folders:
        (root / folder / "Thumbs.db").write_bytes(b"x")
        (root / folder / "._9.png").write_bytes(b"x")
    (category,) = categories(root).values()
    assert content(category) == expected
    assert not any(litter in note for note in category.notes)


@pytest.mark.parametrize(
    "name", ["ca\u0301fe", 'a "quote"', "back\\slash", "dot.", "\U0001f95c", "line\nend", "x" * 200]
)
def test_names_of_any_kind_are_read(dataset, name):
    root = dataset(
        f"{name}/train/good/{name}.png", f"{name}/test/{name}/1.png", f"{name}/ground_truth/{name}/1_mask.png"
    )
    (category,) = categories(root).values()
    assert category.count("train", "good") == 1
    assert len(category.photo("test", name, 0).masks) == 1
    assert not any("\n" in note for note in category.notes)


def test_bytes_that_are_no_text_are_read_as_well(dataset):
    root = dataset("nut/train/good/0.png")
    os.rename(root / "nut/train/good/0.png", os.fsencode(root / "nut/train/good") + b"/\xff\xfe.png")
    assert categories(root)["nut"].count("train", "good") == 1


def test_a_link_to_a_folder_above_is_not_walked_in_circles(dataset):
    root = dataset("nut/train/good/0.png")
    (root / "nut/train/good/again").symlink_to(root / "nut/train")
    assert categories(root)["nut"].count("train", "good") == 1


def test_each_folder_is_listed_once(dataset, monkeypatch):
    """A folder may hold tens of thousands of photos, and be far away."""
    root = dataset(*CASES["mvtec-ad"][0])
    listed: list[Path] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (listed.append(Path(path)), scandir(path))[1])
    category = categories(root, Disk())["nut"]
    content(category)
    assert len(listed) == len(set(listed))


def test_the_docs_have_a_row_for_every_layout():
    page = DOCS.read_text(encoding="utf-8")
    for layout in LAYOUTS:
        assert f"| `{layout.name}` | {layout.title}" in page


def test_an_unknown_layout_gets_the_nearest_name():
    with pytest.raises(ValueError, match="did you mean 'mvtec-ad'"):
        layout_named("mvtec")
    assert len(set(NAMES)) == len(NAMES)
