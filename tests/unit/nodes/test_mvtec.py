"""The MVTec layout as path arithmetic: names, order, masks, hints."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from defectforge.nodes.datasets.mvtec import mask_paths, nearest, photo_folders, pictures


def test_pictures_come_in_natural_order_without_other_files():
    names = ["10.png", "2.PNG", "Thumbs.db", ".hidden.png", "1.jpg", "readme.txt", "2_b.tif"]
    assert pictures(names) == ["1.jpg", "2.PNG", "2_b.tif", "10.png"]


def test_natural_order_copes_with_names_of_any_form():
    assert pictures(["b1.png", "1b.png", "a.png", "1.png"]) == ["1.png", "1b.png", "a.png", "b1.png"]


@pytest.mark.parametrize(
    ("photo", "first"),
    [
        ("hazelnut/test/hole/000.png", "hazelnut/ground_truth/hole/000_mask.png"),
        ("data/x/hazelnut/test/cut/7.jpg", "data/x/hazelnut/ground_truth/cut/7_mask.png"),
    ],
)
def test_masks_are_where_mvtec_puts_them(photo, first):
    assert mask_paths(PurePosixPath(photo))[0] == PurePosixPath(first)


def test_masks_of_mvtec_2_and_of_converted_sets_are_found_too():
    found = mask_paths(PurePosixPath("can/test_public/bad/000_regular.png"))
    assert PurePosixPath("can/test_public/ground_truth/bad/000_regular_mask.png") in found
    assert PurePosixPath("can/ground_truth/bad/000_regular.png") in found


@pytest.mark.parametrize("photo", ["hazelnut/train/good/000.png", "hazelnut/test/good/000.png"])
def test_good_parts_have_no_mask(photo):
    assert mask_paths(PurePosixPath(photo)) == []


@pytest.mark.parametrize(
    ("category", "split", "type_", "what"),
    [
        ("../secret", "test", "hole", "category"),
        ("..", "test", "hole", "category"),
        ("", "test", "hole", "category"),
        ("C:", "test", "hole", "category"),
        ("hazelnut", "test", "a\\b", "type"),
        ("hazelnut", "validation", "hole", "split"),
    ],
)
def test_names_that_are_paths_are_refused(category, split, type_, what):
    with pytest.raises(ValueError, match=f"^{what}: "):
        photo_folders(category, split, type_)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("hol", "did you mean 'hole'"), ("HOLE", "did you mean 'hole'"), ("zebra", "There are: crack, hole")],
)
def test_misspelt_names_get_the_nearest_right_one(name, hint):
    assert hint in nearest(name, ["hole", "crack"])


def test_no_names_at_all_is_said():
    assert nearest("hole", []) == "there is none at all"
