"""MVTec-shaped folders: what is read, and the one message for each thing that is wrong."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from defectforge.nodes.datasets.names import safe_name
from defectforge.runner.errors import RequestError
from defectforge.runner.plans.photos import Category, categories, check_photos, summed_up
from defectforge.runner.plans.plan import Input


def test_good_photos_come_from_train_and_from_test_where_there_is_no_training_split(mvtec: Path) -> None:
    assert [p.relative for p in Category(mvtec, "hazelnut").good_photos()] == [
        f"hazelnut/train/good/{n:03d}.png" for n in range(3)
    ]
    shutil.move(mvtec / "hazelnut" / "train" / "good", mvtec / "hazelnut" / "test" / "good")
    assert {p.split for p in Category(mvtec, "hazelnut").good_photos()} == {"test"}


def test_only_defect_photos_with_a_mask_are_references(mvtec: Path) -> None:
    photos = Category(mvtec, "hazelnut").defect_photos("hole")
    assert [photo.path.name for photo in photos] == ["000.png", "001.png"]
    assert all(photo.masks and photo.masks[0].exists() for photo in photos)


def test_a_sharded_folder_is_read_through_its_subfolders(mvtec: Path) -> None:
    good = mvtec / "hazelnut" / "train" / "good"
    (good / "0001").mkdir()
    (good / "002.png").rename(good / "0001" / "001000.png")
    assert [p.path.name for p in Category(mvtec, "hazelnut").good_photos()] == ["000.png", "001.png", "001000.png"]


def message(call: object) -> str:
    with pytest.raises(RequestError) as caught:
        call()  # type: ignore[operator]
    return caught.value.text()


def test_what_is_not_a_dataset_is_refused_with_the_way_out(mvtec: Path, tmp_path: Path) -> None:
    assert "there is no folder" in message(lambda: Category(tmp_path / "nowhere", "hazelnut"))
    (tmp_path / "empty").mkdir()
    assert "is not a dataset in any layout that is known" in message(lambda: Category(tmp_path / "empty", "hazelnut"))
    inside = message(lambda: Category(mvtec / "hazelnut", "hazelnut"))
    assert f"use --data {mvtec} --category hazelnut" in inside
    assert list(categories(mvtec)) == ["hazelnut"]


def test_unknown_names_get_the_nearest_one(mvtec: Path) -> None:
    assert "did you mean 'hazelnut'?" in message(lambda: Category(mvtec, "hazelnuts"))
    assert "did you mean 'hole'?" in message(lambda: Category(mvtec, "hazelnut").defect_photos("hoel"))
    assert "no photo of defect type 'crack' has a ground-truth mask" in message(
        lambda: Category(mvtec, "hazelnut").defect_photos("crack")
    )


def test_broken_pictures_and_masks_of_another_size_are_all_told_at_once(mvtec: Path) -> None:
    good = mvtec / "hazelnut" / "train" / "good" / "001.png"
    good.write_bytes(good.read_bytes()[:40])
    (mvtec / "hazelnut" / "train" / "good" / "002.png").write_text("no picture")
    mask = mvtec / "hazelnut" / "ground_truth" / "hole" / "000_mask.png"
    other = mvtec / "hazelnut" / "test" / "crack" / "000.png"
    from PIL import Image

    Image.open(other).convert("L").resize((10, 10)).save(mask)
    category = Category(mvtec, "hazelnut")
    with pytest.raises(RequestError) as caught:
        check_photos(category.good_photos() + category.defect_photos("hole"))
    assert [p.code for p in caught.value.problems] == ["data.image_broken", "data.image_broken", "data.mask_size"]
    assert "10x10" in caught.value.text() and "24x16" in caught.value.text()


def test_the_only_category_need_not_be_named(mvtec: Path) -> None:
    assert Category(mvtec).name == "hazelnut"
    shutil.copytree(mvtec / "hazelnut", mvtec / "nut")
    assert "--category with one of them" in message(lambda: Category(mvtec))


def test_a_layout_may_be_forced(mvtec: Path) -> None:
    assert Category(mvtec, layout="visa").read.layout.name == "visa"
    assert "is not a dataset in the layout BTAD" in message(lambda: Category(mvtec, layout="btad"))
    assert "did you mean 'btad'?" in message(lambda: Category(mvtec, layout="btat"))


def test_notes_of_one_kind_are_said_once(mvtec: Path) -> None:
    from PIL import Image

    for number, path in enumerate(sorted((mvtec / "hazelnut/train/good").iterdir())):
        Image.new("I;16", (24, 16), 1000 + number).save(path)
    notes = summed_up(check_photos(Category(mvtec).good_photos()).values())
    assert len(notes) == 1
    assert notes[0].startswith("hazelnut/train/good/000.png: its 16-bit values (1000 to 1000) are read as 12 bits")
    assert notes[0].endswith("(so it is with 2 more)")


@pytest.mark.parametrize("name", [b"\xff\xfe.png", b"line\nend.png", b"\x1b[31m.png"])
def test_a_name_that_cannot_travel_is_refused_escaped(mvtec: Path, name: bytes) -> None:
    good = mvtec / "hazelnut/train/good"
    os.rename(good / "000.png", os.fsencode(good) + b"/" + name)
    text = message(lambda: check_photos(Category(mvtec).good_photos()))
    assert "cannot be used: its name" in text
    assert text.isprintable() or all(line.isprintable() for line in text.splitlines())
    assert "\\x" in text or "\\n" in text


@pytest.mark.parametrize(
    "name", ['a "b".png', "back\\slash.png", "a:b.png", "dot..png", "\U0001f95c.png", "x" * 245 + ".png"]
)
def test_a_name_of_any_other_kind_travels_as_a_safe_one(mvtec: Path, name: str) -> None:
    good = mvtec / "hazelnut/train/good"
    (good / "000.png").rename(good / name)
    checked = check_photos(Category(mvtec).good_photos())
    item = next(Input("1", found) for photo, found in checked.items() if photo.path.name == name)
    last = item.address.rpartition("/")[2]
    assert item.address.startswith(f"{item.root}/hazelnut/train/good/")
    assert last == safe_name(name) and len(last) <= 80 and last.endswith(".png")
    assert not set(last) & set('":\\')


def test_large_photos_need_the_option_that_the_message_names(mvtec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFECTFORGE_MAX_PIXELS", "100")
    assert "--max-pixels 384" in message(lambda: check_photos(Category(mvtec).good_photos()))
