"""Every shared case gives its right answer: the areas, colours, photos and masks that its README names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from defectforge.nodes.datasets.errors import ReadError
from defectforge.nodes.datasets.masks import read_masks
from defectforge.nodes.datasets.pictures import read_photo
from defectforge.nodes.datasets.reader import Category, categories

BLOB, TWO_BLOBS = 2862, 5739
#: Masks with soft edges are cut within 2 % of the drawn area; hard ones within 1 %.
SOFT = {"feathered", "jpeg", "antialiased"}


def blob(cases: Path, kind: str) -> np.ndarray:
    folder = cases / "masks" / kind / "part"
    photo = read_photo(folder / "test/hole/000.png")
    return read_masks([folder / "ground_truth/hole/000_mask.png"], folder, photo.stored, photo.orientation).area


@pytest.mark.parametrize(
    "kind",
    ["plain", "zero-one", "sixteen-bit", "one-bit", "palette", "alpha", "red", "feathered", "jpeg", "antialiased"],
)
def test_every_encoding_of_the_mask_gives_the_blob(cases, kind):
    area, plain = blob(cases, kind), blob(cases, "plain")
    soft = kind in SOFT
    assert area.sum() == pytest.approx(BLOB, rel=0.02 if soft else 0.01)
    assert (area & plain).sum() / (area | plain).sum() >= (0.97 if soft else 0.99)


def test_an_inverted_mask_is_warned_about_and_an_empty_one_refused(cases):
    folder = cases / "masks/inverted/part/ground_truth/hole"
    mask = read_masks([folder / "000_mask.png"], folder, (200, 200))
    assert "000_mask.png: marks 93% of the photo as defect; is the mask inverted" in " ".join(mask.notes)
    with pytest.raises(ReadError, match="marks nothing"):
        blob(cases, "empty")


@pytest.mark.parametrize("turned", ["orientation-6", "orientation-3"])
def test_a_photo_that_is_stored_turned_lies_under_its_upright_mask(cases, turned):
    category = categories(cases / "exif" / turned)["part"]
    photo = category.photo("test", "hole", 0)
    picture = photo.read()
    mask = photo.read_mask(picture)
    assert picture.size == (260, 200)
    assert mask is not None and mask.area.sum() == 2000
    assert picture.pixels[mask.area].mean() < 20, "the defect is dark, and the mask lies on it"
    assert picture.pixels[~mask.area].max() > 100


def found(root: Path, name: str = "part") -> Category:
    return categories(root)[name]


def test_litter_is_no_photo(cases):
    category = found(cases / "litter")
    assert [photo.path.name for photo in category.photos("train", "good")] == ["000.png", "001.png"]
    assert [photo.path.name for photo in category.photos("test", "hole")] == ["000.png"]
    assert category.types("test") == ["hole"]


def test_photo_and_mask_need_not_agree_in_their_suffixes(cases):
    photos = found(cases / "suffixes").photos("test", "hole")
    assert [photo.masks[0].name for photo in photos] == ["000_mask.PNG", "001.bmp", "002-mask.tif"]
    for photo in photos:
        mask = photo.read_mask(photo.read())
        assert mask is not None and mask.area.sum() == BLOB


@pytest.mark.parametrize(
    ("case", "category", "layout", "good", "defects"),
    [
        ("mvtec-ad-2", "part", "mvtec-ad-2", 2, {"bad": [BLOB]}),
        ("mvtec-loco", "part", "mvtec-loco", 2, {"structural_anomalies": [BLOB, TWO_BLOBS]}),
        ("btad", "01", "btad", 2, {"ko": [BLOB]}),
        ("visa", "part", "visa", 2, {"Anomaly": [BLOB]}),
        ("anomalib-folder", "part", "anomalib-folder", 2, {"crack": [BLOB]}),
        ("photos-only", "photos-only", "photos", 3, {}),
    ],
)
def test_every_layout_is_found_by_what_is_there(cases, case, category, layout, good, defects):
    known = categories(cases / "layouts" / case)
    assert list(known) == [category], "the only one, so that --category may be left out"
    read = known[category]
    assert read.layout.name == layout
    assert read.count("train", "good") == good
    assert read.defect_types() == list(defects)
    for type_, areas in defects.items():
        photos = read.photos("test", type_)
        assert [photo.read_mask(photo.read()).area.sum() for photo in photos] == areas


@pytest.mark.parametrize(
    ("file", "right", "says"),
    [
        ("cmyk.tif", "right-rgb.png", "CMYK"),
        ("float-0-1.tif", "right-grey.png", "0 to 1"),
        ("float-0-255.tif", "right-grey.png", "8 bits"),
        ("grey12-in-16.png", "right-grey.png", "12 bits"),
        ("grey16.png", "right-grey.png", ""),
        ("grey32.tif", "right-grey.png", "16 bits"),
        ("la.png", "right-grey.png", ""),
        ("two-pages.tif", "right-rgb.png", "2 pages"),
    ],
)
def test_every_pixel_format_gives_the_right_colours_and_says_what_it_assumed(cases, file, right, says):
    picture, wanted = read_photo(cases / "pixels" / file), read_photo(cases / "pixels" / right)
    assert np.abs(picture.pixels.astype(int) - wanted.pixels).max() <= 2
    assert says in " ".join(picture.notes)
    assert bool(picture.notes) == bool(says)


def test_colour_under_full_transparency_never_shows(cases):
    picture, wanted = (read_photo(cases / "pixels" / name) for name in ("neon-under-alpha.png", "right-rgb.png"))
    hidden = (picture.pixels == 0).all(axis=-1)
    assert np.array_equal(picture.pixels[~hidden], wanted.pixels[~hidden])
    assert hidden.mean() == pytest.approx(0.447, abs=0.001)
    assert "transparent in places" in picture.notes[0]
