"""Every format holds the same pairs with the same masks, and no source photo on both sides."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from defectforge.nodes.algorithms.run_length import encode as to_run_lengths
from defectforge.runner.errors import RequestError
from defectforge.runner.outputs.export import FORMATS
from defectforge.runner.outputs.masks import box, from_run_lengths, outline, parts
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .conftest import DRAWS, HEIGHT, SOURCES, WIDTH, a_mask, exported, sha256, write_run


def pictures(dest: Path) -> dict[Path, str]:
    return {path.relative_to(dest): sha256(path) for path in dest.rglob("*.png")}


@pytest.mark.parametrize("to", sorted(FORMATS))
class TestEveryFormat:
    @pytest.fixture(autouse=True)
    def what_it_needs(self, to: str) -> None:
        if to == "datumaro":
            pytest.importorskip("pycocotools", reason="the extra `export` is not installed")

    def test_it_holds_every_picture_unchanged_once(self, to: str, run: Path, tmp_path: Path) -> None:
        dest = exported(run, to, tmp_path / "dest")
        found = list(pictures(dest).values())
        for path in (run / "hazelnut/test/hole").iterdir():
            assert found.count(sha256(path)) == 1

    def test_no_source_photo_is_on_both_sides(self, to: str, run: Path, tmp_path: Path) -> None:
        dest = exported(run, to, tmp_path / "dest")
        sides: dict[int, set[str]] = {}
        for side, numbers in by_side(dest, to).items():
            for number in numbers:
                sides.setdefault(number % SOURCES, set()).add(side)
        assert len(sides) == SOURCES
        assert all(len(where) == 1 for where in sides.values())
        assert {len(numbers) for numbers in by_side(dest, to).values()} == {4, 6}

    def test_links_point_at_the_run(self, to: str, run: Path, tmp_path: Path) -> None:
        dest = exported(run, to, tmp_path / "dest", link=True)
        links = [path for path in dest.rglob("*.png") if path.is_symlink()]
        assert {link.resolve() for link in links} >= set((run / "hazelnut/test/hole").iterdir())

    def test_the_same_command_gives_the_same_files(self, to: str, run: Path, tmp_path: Path) -> None:
        one, other = exported(run, to, tmp_path / "one"), exported(run, to, tmp_path / "two")
        assert pictures(one) == pictures(other)


def by_side(dest: Path, to: str) -> dict[str, list[int]]:
    """Which pairs (by number) are on which side, by each format's own means."""
    number = lambda name: int(Path(name).stem.rpartition("-")[2])  # noqa: E731
    if to == "anomalib":
        return {
            side: [number(p.name) for p in (dest / f"hazelnut/{side}/hole").iterdir()] for side in ("train", "test")
        }
    if to == "csv":
        rows = table(dest)
        return {side: [number(r["image"]) for r in rows if r["split"] == side] for side in ("train", "val")}
    folder = {
        "coco": "{}", "yolo-seg": "images/{}", "datumaro": "images/{}", "fiftyone": "{}/data",
    }.get(to)  # fmt: skip
    if folder is not None:
        return {side: [number(p.name) for p in (dest / folder.format(side)).iterdir()] for side in ("train", "val")}
    lists = dest / "ImageSets/Segmentation"
    return {side: [number(line) for line in (lists / f"{side}.txt").read_text().split()] for side in ("train", "val")}


def table(dest: Path) -> list[dict[str, str]]:
    with (dest / "pairs.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


class TestCoco:
    def test_the_parts_together_are_the_mask(self, run: Path, tmp_path: Path) -> None:
        dest = exported(run, "coco", tmp_path / "dest")
        seen = 0
        for side in ("train", "val"):
            content = json.loads((dest / f"annotations/instances_{side}.json").read_text())
            for image in content["images"]:
                own = [a for a in content["annotations"] if a["image_id"] == image["id"]]
                assert len(own) == 2
                whole = np.any([from_run_lengths(a["segmentation"]) for a in own], 0)
                assert (whole == a_mask(int(image["file_name"].split("-")[-1][:6]))).all()
                assert sum(a["area"] for a in own) == whole.sum()
                seen += 1
        assert seen == DRAWS


class TestYolo:
    def test_the_outlines_drawn_are_the_mask_with_its_holes_filled(self, run: Path, tmp_path: Path) -> None:
        from scipy import ndimage

        dest = exported(run, "yolo-seg", tmp_path / "dest")
        for path in (dest / "labels").rglob("*.txt"):
            # Drawn four times as large, so that the drawing's own rounding is small.
            canvas = Image.new("1", (4 * WIDTH, 4 * HEIGHT))
            for line in path.read_text().splitlines():
                points = np.array(line.split()[1:], float).reshape(-1, 2) * (4 * WIDTH, 4 * HEIGHT)
                ImageDraw.Draw(canvas).polygon([tuple(point) for point in points], fill=1)
            drawn = np.asarray(canvas.resize((WIDTH, HEIGHT), Image.Resampling.NEAREST))
            mask = ndimage.binary_fill_holes(a_mask(int(path.stem.split("-")[-1])))
            assert (drawn & mask).sum() / (drawn | mask).sum() > 0.93

    def test_its_yaml_names_sides_and_classes(self, run: Path, tmp_path: Path) -> None:
        dest = exported(run, "yolo-seg", tmp_path / "dest")
        content = yaml.safe_load((dest / "data.yaml").read_text())
        assert content == {"train": "images/train", "val": "images/val", "names": {0: "hole"}}


class TestVoc:
    def test_boxes_count_from_one_and_hold_the_last_pixel(self, run: Path, tmp_path: Path) -> None:
        dest = exported(run, "voc", tmp_path / "dest")
        root = ElementTree.parse(dest / "Annotations/hazelnut-hole-000000.xml").getroot()
        limits = [[int(n.text or "") for n in one] for one in root.iter("bndbox")]
        mask = a_mask(0)
        for left, top, right, bottom in limits:
            assert mask[top - 1 : bottom, left - 1].any() and mask[top - 1 : bottom, right - 1].any()
        assert max(bottom for *_, bottom in limits) == HEIGHT

    def test_class_and_object_numbers(self, run: Path, tmp_path: Path) -> None:
        dest = exported(run, "voc", tmp_path / "dest")
        classes = np.asarray(Image.open(dest / "SegmentationClass/hazelnut-hole-000001.png"))
        objects = np.asarray(Image.open(dest / "SegmentationObject/hazelnut-hole-000001.png"))
        assert (classes == a_mask(1)).all()
        assert sorted(np.unique(objects)) == [0, 1, 2]
        assert Image.open(dest / "SegmentationClass/hazelnut-hole-000001.png").mode == "P"


class TestAnomalib:
    def test_sound_photos_are_on_their_pairs_side(self, run: Path, tmp_path: Path) -> None:
        dest = exported(run, "anomalib", tmp_path / "dest") / "hazelnut"
        for side in ("train", "test"):
            sound = {np.asarray(Image.open(path)).flat[0] for path in (dest / side / "good").iterdir()}
            assert sound == {int(path.stem.split("-")[-1]) % SOURCES for path in (dest / side / "hole").iterdir()}

    def test_test_masks_stand_in_the_order_of_their_photos(self, run: Path, tmp_path: Path) -> None:
        dest = exported(run, "anomalib", tmp_path / "dest") / "hazelnut"
        photos, masks = (sorted((dest / folder / "hole").iterdir()) for folder in ("test", "ground_truth"))
        assert [f"{path.stem}_mask" for path in photos] == [path.stem for path in masks]

    def test_sound_photos_that_have_gone_are_said(self, run: Path, tmp_path: Path, capsys: Any) -> None:
        (tmp_path / "data/hazelnut/train/good/001.png").unlink()
        exported(run, "anomalib", tmp_path / "dest")
        assert "1 of 5 source photos are not where the run read them" in capsys.readouterr().err


def test_the_table_has_scores_and_leaves_unmeasured_ones_empty(run: Path, tmp_path: Path) -> None:
    rows = table(exported(run, "csv", tmp_path / "dest"))
    assert {row["score_presence"] for row in rows} == {str(n / 10) for n in range(DRAWS)}
    assert {row["score_grain"] for row in rows} == {""}
    assert {row["label"] for row in rows} == {"requested"}


def test_several_types_are_several_classes(tmp_path: Path) -> None:
    run = write_run(tmp_path, lambda n: "hole" if n % 2 else "crack, long")
    content = yaml.safe_load((exported(run, "yolo-seg", tmp_path / "dest") / "data.yaml").read_text())
    assert content["names"] == {0: "crack, long", 1: "hole"}


class TestLabels:
    @pytest.fixture
    def both(self, tmp_path: Path) -> Path:
        """Visible masks in the files, a wider requested one in the line; the last pair has no label."""
        return write_run(
            tmp_path,
            label=lambda n: "none" if n == DRAWS - 1 else "visible",
            requested=lambda n: to_run_lengths(np.roll(a_mask(n), 3, 1)),
        )

    @pytest.mark.parametrize(("label", "shift", "count"), [("recorded", 0, 9), ("visible", 0, 9), ("requested", 3, 10)])
    def test_the_chosen_one_is_exported(self, label: str, shift: int, count: int, both: Path, tmp_path: Path) -> None:
        dest = exported(both, "csv", tmp_path / "dest", label=label)
        masks = sorted((dest / "masks").iterdir())
        assert len(masks) == count
        assert (np.asarray(Image.open(masks[4])) > 0).tolist() == np.roll(a_mask(4), shift, 1).tolist()

    def test_a_pair_without_a_label_is_left_out_and_said(self, both: Path, tmp_path: Path, capsys: Any) -> None:
        exported(both, "coco", tmp_path / "dest")
        assert "1 of 10 pairs have no recorded label: left out" in capsys.readouterr().err

    def test_0_1_0_recorded_no_visible_one(self, run: Path, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match="none of 10 pairs has a visible label"):
            exported(run, "coco", tmp_path / "dest", label="visible")


class TestRefusals:
    def test_a_destination_that_is_not_empty(self, run: Path, tmp_path: Path) -> None:
        dest = tmp_path / "dest"
        dest.mkdir()
        (dest / "mine.txt").write_text("keep")
        with pytest.raises(RequestError, match="not empty"):
            exported(run, "coco", dest)
        assert [path.name for path in dest.iterdir()] == ["mine.txt"]

    @pytest.mark.parametrize("inside", ["run/x", "data/x"])
    def test_a_destination_inside_run_or_dataset(self, inside: str, run: Path, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match="lies inside"):
            exported(run, "coco", tmp_path / inside)

    def test_a_folder_that_is_no_run(self, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match="there is no manifest"):
            exported(tmp_path, "coco", tmp_path / "dest")

    def test_a_picture_that_was_changed(self, run: Path, tmp_path: Path) -> None:
        (run / "hazelnut/test/hole/000003.png").write_bytes(b"other")
        with pytest.raises(RequestError, match=r"000003\.png"):
            exported(run, "coco", tmp_path / "dest")

    @pytest.mark.parametrize("val", [-0.1, 1.5])
    def test_a_share_that_is_none(self, val: float, run: Path, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match="--val"):
            exported(run, "coco", tmp_path / "dest", val=val)


def test_one_source_photo_gives_no_validation_and_says_so(tmp_path: Path, capsys: Any) -> None:
    run = write_run(tmp_path)
    lines = [json.loads(line) for line in (run / "manifest.jsonl").read_text().splitlines()]
    same = [line for line in lines if line["number"] % SOURCES == 0]
    (run / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in same))
    exported(run, "yolo-seg", tmp_path / "dest")
    said = capsys.readouterr().err
    assert "all pairs come from one source photo" in said
    assert "data.yaml names train for both" in said


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_run_lengths_give_the_mask_back(mask: NDArray[np.bool_]) -> None:
    code = to_run_lengths(mask)
    assert (from_run_lengths(code) == mask).all()
    assert all(run > 0 for run in code["counts"][1:])


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))).filter(lambda mask: bool(mask.any())))
def test_parts_are_the_mask_and_every_part_has_an_outline_in_its_box(mask: NDArray[np.bool_]) -> None:
    found = parts(mask)
    assert (np.sum(found, 0) == mask).all()
    for part in found:
        left, top, width, height = box(part)
        points = outline(part)
        assert len(points) >= 3
        assert (points.min(0) >= (left - 1e-9, top - 1e-9)).all()
        assert (points.max(0) <= (left + width + 1e-9, top + height + 1e-9)).all()
