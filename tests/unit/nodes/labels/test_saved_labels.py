"""What the saver writes for each kind of label, what it announces, and that old graphs save what they saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from defectforge.nodes.algorithms.run_length import decode
from defectforge.nodes.algorithms.scores.choice import choose, parse_thresholds
from defectforge.nodes.algorithms.scores.measures import score_defect
from defectforge.nodes.algorithms.scores.sheet import ScoreSheet
from defectforge.nodes.output_nodes import DefectForgeSaveDefectPair as Save
from defectforge.nodes.pairs.files import save_pair
from PIL import Image

HERE = {"filename_prefix": "set", "category": "hazelnut", "type": "hole"}


@pytest.fixture
def save(embedded_host: Path, monkeypatch: pytest.MonkeyPatch):
    """Call the node as a server does; gives what it announces."""
    hidden = type("Hidden", (), {"prompt": None, "extra_pnginfo": None, "unique_id": None})
    monkeypatch.setattr(Save, "hidden", hidden, raising=False)

    def call(image: torch.Tensor, mask: torch.Tensor, **more: Any) -> dict[str, Any]:
        return dict(Save.execute(image, mask, **HERE, **more).ui)

    return call


@pytest.fixture
def written(embedded_host: Path):
    """Files below the output folder."""
    root = embedded_host / "output" / "set" / "hazelnut"
    return lambda: sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


@pytest.fixture
def made(shell, with_hole, disc):
    """Two pictures, the first with a hole, the second without; their labels; and what was asked for."""
    photo, place = shell(), disc(200, 20)
    images = torch.from_numpy(np.stack([with_hole(photo, place), photo])).float()
    labels = torch.from_numpy(np.stack([place, np.zeros_like(place)])).float()
    return images, labels, torch.from_numpy(disc(200, 30)).float()[None]


PAIR = ["ground_truth/hole/000000_mask.png", "test/hole/000000.png"]
SECOND = ["ground_truth/hole/000001_mask.png", "test/hole/000001.png"]


def opened(root: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(root / "output" / "set" / "hazelnut" / name))


def test_an_old_graph_saves_what_it_saved(save, written, made, embedded_host):
    """Without the new inputs: every picture with the mask it is given, also an empty one."""
    images, labels, _ = made
    said = save(images, labels)
    assert written() == sorted(PAIR + SECOND)
    assert [set(pair) for pair in said["defectforge_pairs"]] == [{"image", "mask", "record"}] * 2
    assert said["defectforge_refused"] == []
    assert np.array_equal(opened(embedded_host, PAIR[0]), labels[0].numpy().astype(np.uint8) * 255)
    assert np.array_equal(opened(embedded_host, PAIR[1]), (images[0].numpy() * 255).round().astype(np.uint8))
    record = said["defectforge_pairs"][0]["record"]
    assert (record["label"], record["requested"], record["scores"]) == ("given", None, {})
    assert record["mask"]["pixels"] == int(labels[0].sum())


def test_visible_refuses_what_shows_nothing(save, written, made):
    images, labels, asked = made
    said = save(images, labels, label="visible", requested_mask=asked)
    assert written() == PAIR
    assert said["defectforge_refused"] == [{"draw": 1, "reason": "nothing is visible", "scores": {}}]
    assert said["text"] == ("draw 1: nothing is visible",)
    record = said["defectforge_pairs"][0]["record"]
    assert record["label"] == "visible"
    assert np.array_equal(decode(record["requested"]), asked[0].numpy() > 0), "what was asked for stays in the record"


def test_requested_is_the_old_way(save, written, made, embedded_host):
    images, labels, asked = made
    said = save(images, labels, label="requested", requested_mask=asked)
    assert written() == sorted(PAIR + SECOND)
    assert np.array_equal(opened(embedded_host, PAIR[0]) > 0, asked[0].numpy() > 0)
    assert {pair["record"]["label"] for pair in said["defectforge_pairs"]} == {"requested"}


def test_requested_needs_what_was_requested(save, made):
    with pytest.raises(ValueError, match="'requested' needs requested_mask"):
        save(*made[:2], label="requested")


def test_without_a_visible_change_a_picture_is_said_to_be_unlabelled(save, written, made):
    said = save(*made[:2], label="visible or none")
    assert written() == sorted([*PAIR, "unlabelled/hole/000001.png"]), "its number is none that a mask has"
    assert [pair["record"]["label"] for pair in said["defectforge_pairs"]] == ["visible", "none"]
    assert "mask" not in said["defectforge_pairs"][1] and said["defectforge_pairs"][1]["record"]["mask"] is None


def test_none_never_writes_a_mask(save, written, made):
    said = save(*made[:2], label="none")
    assert written() == ["unlabelled/hole/000000.png", "unlabelled/hole/000001.png"]
    assert all("mask" not in pair for pair in said["defectforge_pairs"])


def scores_of(images: torch.Tensor, labels: torch.Tensor) -> ScoreSheet:
    pairs = zip(images.numpy(), labels.numpy() > 0, strict=True)
    return ScoreSheet(tuple(score_defect(images[1].numpy(), image, label) for image, label in pairs))


def test_an_empty_batch_saves_nothing_and_announces_every_refusal(save, written, made):
    images, labels, _ = made
    sheet = scores_of(images, labels)
    none = sheet.chosen(choose(sheet.rows, 1, parse_thresholds("contrast >= 99")))
    said = save(images[:0], labels[:0], label="visible", scores=none)
    assert written() == [] and said["defectforge_pairs"] == []
    reasons = [entry["reason"] for entry in said["defectforge_refused"]]
    assert "wanted contrast >= 99" in reasons[0] and reasons[1] == "nothing is visible"
    assert all(json.dumps(entry) for entry in said["defectforge_refused"])


def test_scores_stand_in_the_record_and_in_the_picture(save, made, embedded_host):
    images, labels, _ = made
    said = save(images[:1], labels[:1], label="visible", scores=ScoreSheet(scores_of(images, labels).rows[:1]))
    record = said["defectforge_pairs"][0]["record"]
    assert record["scores"]["presence"] > 0.9 and record["scores"]["clip_similarity"] is None
    with Image.open(embedded_host / "output" / "set" / "hazelnut" / PAIR[1]) as picture:
        assert json.loads(picture.text["defectforge"]) == record


def test_scores_of_other_pictures_are_refused(save, made):
    images, labels, _ = made
    with pytest.raises(ValueError, match="2 rows for 1 pictures"):
        save(images[:1], labels[:1], scores=scores_of(images, labels))


def test_one_asked_mask_serves_a_batch_and_each_may_have_its_own(save, made):
    images, labels, asked = made
    each = torch.cat([asked, asked * 0])
    for given, expected in ((asked, [True, True]), (each, [True, False])):
        said = save(images, labels, requested_mask=given)
        found = [bool(decode(pair["record"]["requested"]).any()) for pair in said["defectforge_pairs"]]
        assert found == expected


def test_a_picture_without_a_label_lies_apart_and_takes_no_masks_number(tmp_path):
    picture, mask = Image.new("RGB", (4, 4)), Image.new("L", (4, 4), 255)
    places = [save_pair(picture, m, tmp_path, "", "nut", "hole", {}) for m in (mask, None, None, mask)]
    assert [(p.image_folder, p.number) for p in places] == [
        ("nut/test/hole", 0), ("nut/unlabelled/hole", 1), ("nut/unlabelled/hole", 2), ("nut/test/hole", 1)
    ]  # fmt: skip
    assert not list(tmp_path.rglob("*.part"))


PHOTO = {"root": "nuts", "category": "hazelnut", "split": "train", "type": "good", "index": 3}


@pytest.mark.parametrize(
    ("source_path", "photo", "said"),
    [
        (["2", 2], PHOTO, [PHOTO]),
        ("typed.png", PHOTO, None),
        (["2", 2], PHOTO | {"index": ["7", 0]}, None),
        (["404", 0], PHOTO, None),
    ],
    ids=["linked", "typed", "computed", "missing"],
)
def test_it_says_which_photo_the_window_may_show_beside_the_result(save, made, source_path, photo, said):
    nodes = {"5": ("DefectForgeSaveDefectPair", {"source_path": source_path}), "2": ("DefectForgeLoadMVTec", photo)}
    Save.hidden.prompt = {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in nodes.items()}
    Save.hidden.unique_id = "5"
    assert save(made[0], made[1]).get("defectforge_source") == said
