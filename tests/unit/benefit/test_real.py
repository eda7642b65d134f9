"""What is tested and what training sees; and what is said where a set is too small or lacks something."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from defectforge.runner.benefit.protocol.study import truth_of
from defectforge.runner.benefit.sets.real import RealSet, read_real
from defectforge.runner.benefit.statistics.measures import PIXEL, measure
from defectforge.runner.errors import RequestError
from PIL import Image

from .conftest import SIZE


def read(root: Path, references: object = None, good: int = 400, **which: str) -> RealSet:
    return read_real(root, which.get("category"), which.get("type"), SIZE, references, good)  # type: ignore[arg-type]


def stems(photos: list) -> list[str]:
    return [photo.path.stem for photo in photos]


def test_a_third_of_the_defects_is_set_apart_and_never_tested(real: RealSet) -> None:
    assert stems(real.references) == ["000", "001"]
    assert stems(real.test_defects) == ["002", "003", "004", "005"]
    assert len(real.good) == 6 and len(real.test_good) == 4


def test_references_by_name(nuts: Path) -> None:
    real = read(nuts, ["004", "001"])
    assert stems(real.references) == ["004", "001"]
    assert stems(real.test_defects) == ["000", "002", "003", "005"]


def test_category_and_type_are_found_where_there_is_one(nuts: Path) -> None:
    assert (read(nuts).category, read(nuts).type) == ("hazelnut", "hole")


def test_a_mask_of_ones_reads_like_one_of_255(nuts: Path, own_nuts: Path) -> None:
    path = own_nuts / "hazelnut/ground_truth/hole/003_mask.png"
    Image.fromarray((np.asarray(Image.open(path)) > 127).astype(np.uint8)).save(path)
    of_255, of_ones = (
        next(photo.truth for photo in read(root).test if photo.path.stem == "003") for root in (nuts, own_nuts)
    )
    assert of_255 is not None and of_255.any()
    assert of_ones is not None and (of_ones == of_255).all()


def test_a_mask_of_another_size_is_refused(own_nuts: Path) -> None:
    path = own_nuts / "hazelnut/ground_truth/hole/003_mask.png"
    Image.open(path).resize((100, 128)).save(path)
    with pytest.raises(RequestError, match=r"is 100x128 px but its photo .* is 128x128 px"):
        read(own_nuts)


def test_more_good_photos_than_wanted_are_taken_evenly_and_it_is_said(nuts: Path) -> None:
    real = read(nuts, good=3)
    assert len(real.good) == 3
    assert any("3 of 6 good photos" in note for note in real.notes)
    assert len(real.other_good) == 6


def test_no_masks_in_the_test_set_is_said_and_images_are_measured(own_nuts: Path) -> None:
    for path in (own_nuts / "hazelnut/ground_truth/hole").iterdir():
        if path.stem[:3] not in ("000", "001"):
            path.unlink()
    real = read(own_nuts, ["000", "001"], type="hole")
    assert any("pixel measures and PRO are not measured" in note for note in real.notes)
    values = measure(np.zeros((8, SIZE, SIZE), np.float32), truth_of(real))
    assert all(values[name] is None for name in PIXEL)
    assert values["image_auroc"] == 0.5


def test_one_mask_missing_is_said(own_nuts: Path) -> None:
    (own_nuts / "hazelnut/ground_truth/hole/005_mask.png").unlink()
    real = read(own_nuts)
    assert any("1 of 5 defect photos to test have no mask" in note for note in real.notes)


def test_no_good_photos_to_test_is_said(own_nuts: Path) -> None:
    shutil.rmtree(own_nuts / "hazelnut/test/good")
    assert any("image AUROC is not measured" in note for note in read(own_nuts).notes)


@pytest.mark.parametrize(
    ("references", "code"),
    [(6, "benefit.nothing_to_test"), (7, "benefit.few_references"), (["nine"], "benefit.unknown_reference")],
)
def test_references_that_cannot_be(references: object, code: str, nuts: Path) -> None:
    with pytest.raises(RequestError) as refused:
        read(nuts, references)
    assert refused.value.problems[0].code == code


def test_one_photo_only(own_nuts: Path) -> None:
    for path in sorted((own_nuts / "hazelnut/train/good").iterdir())[1:]:
        path.unlink()
    with pytest.raises(RequestError, match="1 photo of good parts"):
        read(own_nuts)


def test_a_broken_photo_is_named(own_nuts: Path) -> None:
    (own_nuts / "hazelnut/test/hole/004.png").write_bytes(b"no picture")
    with pytest.raises(RequestError, match=r"004\.png"):
        read(own_nuts)


def test_several_types_want_a_choice(own_nuts: Path) -> None:
    category = own_nuts / "hazelnut"
    for folder in ("test", "ground_truth"):
        shutil.copytree(category / folder / "hole", category / folder / "crack")
    with pytest.raises(RequestError, match="--type is missing"):
        read(own_nuts)
    assert read(own_nuts, type="crack").type == "crack"
