"""Each detector learns what is easy to learn, repeats itself for the same seed; a command's faults are said."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectforge.runner.benefit.detectors.backbone import available
from defectforge.runner.benefit.detectors.base import Detector, Pool, shares
from defectforge.runner.benefit.detectors.command import CommandDetector
from defectforge.runner.benefit.detectors.head import Head
from defectforge.runner.benefit.detectors.patchcore import PatchCore
from defectforge.runner.benefit.detectors.unet import UNet
from defectforge.runner.benefit.sets import classical
from defectforge.runner.benefit.statistics.measures import Truth, measure
from defectforge.runner.errors import RequestError

SIDE = 64
needs_weights = pytest.mark.skipif(
    not available(), reason="the backbone's packages are not installed (extra `benefit`)"
)


def textures(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(90, 140, (count, SIDE, SIDE, 3), dtype=np.uint8)


def spotted(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Dark discs, as plain as can be."""
    pictures, rng = textures(count, seed), np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    masks = np.stack([np.hypot(y - cy, x - cx) < 7 for cy, cx in rng.integers(12, SIDE - 12, (count, 2))])
    pictures[masks] = 10
    return pictures, masks


@pytest.fixture(scope="module")
def test_set() -> tuple[np.ndarray, Truth]:
    pictures, masks = spotted(4, 5)
    masks = np.concatenate([masks, np.zeros((4, SIDE, SIDE), bool)])
    truth = Truth(masks, np.ones(8, bool), np.arange(8) < 4)
    return np.concatenate([pictures, textures(4, 6)]), truth


def maps(detector: Detector, test: np.ndarray, seed: int = 0, with_defects: bool = True) -> Any:
    pictures, masks = spotted(6, 1)
    pools = [Pool(detector.prepare(pictures), masks)] if with_defects else []
    return detector.maps(detector.prepare(textures(8, 2)), pools, detector.prepare(test), seed)


@pytest.mark.parametrize(
    "detector",
    [
        pytest.param(Head(60), id="head", marks=needs_weights),
        pytest.param(UNet(40), id="unet"),
    ],
)
def test_it_finds_what_it_was_trained_on_and_repeats_itself(detector: Detector, test_set: Any) -> None:
    pictures, truth = test_set
    first, again, other = maps(detector, pictures), maps(detector, pictures), maps(detector, pictures, seed=1)
    values = measure(first, truth)
    assert values["image_auroc"] == 1
    assert values["pixel_ap"] is not None and values["pixel_ap"] > 0.8
    assert (first == again).all()
    assert (first != other).any()
    assert first.shape == truth.masks.shape and first.dtype == np.float32


@needs_weights
def test_patchcore_needs_no_defect(test_set: Any) -> None:
    pictures, truth = test_set
    found = maps(PatchCore(), pictures, with_defects=False)
    assert measure(found, truth)["image_auroc"] == 1
    assert (found == maps(PatchCore(), pictures, with_defects=False)).all()


@needs_weights
def test_the_head_of_a_worker_goes_without_the_backbone() -> None:
    import pickle

    head = Head(3)
    head.require()
    assert len(pickle.dumps(head)) < 1000


@pytest.mark.parametrize(("pools", "expected"), [(1, [4]), (2, [2, 2]), (3, [2, 1, 1]), (5, [1, 1, 1, 1, 0])])
def test_a_batch_is_shared_out_whole(pools: int, expected: list[int]) -> None:
    assert shares(4, pools, 0) == expected
    over_time = np.sum([shares(4, pools, step) for step in range(pools)], 0)
    assert (over_time == 4).all()


BRIGHTNESS = """
import sys, pathlib, numpy as np
from PIL import Image
train, test, maps, how = sys.argv[1:5]
names = lambda *folder: sorted(p.name for p in pathlib.Path(*folder).iterdir())
assert len(names(train, "good")) == 8 and len(names(train, "defect")) == 6
assert names(train, "ground_truth/defect")[0] == "000000_mask.png"
for path in pathlib.Path(test).iterdir():
    dark = 255 - np.asarray(Image.open(path).convert("L"), np.float32)
    if how == "npy": np.save(f"{maps}/{path.stem}.npy", dark[::2, ::2])
    elif how == "png": Image.fromarray(dark.astype(np.uint8)).save(f"{maps}/{path.name}")
    elif how == "nan": np.save(f"{maps}/{path.stem}.npy", dark * np.nan)
    elif how == "half": np.save(f"{maps}/{path.stem}.npy", dark); break
    elif how == "fails": sys.exit("no such GPU")
"""


class TestCommand:
    @pytest.fixture
    def template(self, tmp_path: Path) -> str:
        script = tmp_path / "my detector.py"
        script.write_text(BRIGHTNESS)
        return f"'{sys.executable}' '{script}' {{train}} {{test}} {{maps}}"

    @pytest.mark.parametrize("how", ["npy", "png"])
    def test_its_maps_are_read(self, how: str, template: str, test_set: Any) -> None:
        pictures, truth = test_set
        values = measure(maps(CommandDetector(f"{template} {how}"), pictures), truth)
        assert values["image_auroc"] == 1
        assert values["pixel_ap"] is not None and values["pixel_ap"] > 0.8

    @pytest.mark.parametrize(
        ("how", "what"),
        [
            ("fails", "exit code 1: no such GPU"),
            ("half", "no map for the test photo"),
            ("nan", "not one finite number a pixel"),
            ("nothing", "there is nothing"),
        ],
    )
    def test_its_faults_are_said(self, how: str, what: str, template: str, test_set: Any) -> None:
        with pytest.raises(RequestError, match=what):
            maps(CommandDetector(f"{template} {how}"), test_set[0])

    @pytest.mark.parametrize(
        ("text", "what"),
        [
            ("", "lacks"),
            ("python d.py {train} {test}", r"lacks \{maps\}"),
            ("python d.py {train} {test} {maps} {sead}", "did you mean 'seed'"),
            ("python 'd.py {train} {test} {maps}", "cannot be filled in"),
        ],
    )
    def test_a_template_that_cannot_be_is_refused(self, text: str, what: str) -> None:
        with pytest.raises(RequestError, match=what):
            CommandDetector(text)

    def test_a_program_that_is_not_there(self, test_set: Any) -> None:
        with pytest.raises(RequestError, match="no-such-program"):
            maps(CommandDetector("no-such-program {train} {test} {maps}"), test_set[0])


class TestClassical:
    @pytest.mark.parametrize("draw", [classical.cutpaste, classical.perlin])
    def test_only_the_mask_is_changed(self, draw: classical.Draw) -> None:
        good = textures(1, 3)
        pictures, masks = classical.drawn(draw, good, 5)
        assert masks.any((1, 2)).all()
        assert (pictures == good[0])[~masks].all()
        again, _ = classical.drawn(draw, good, 5)
        assert (pictures == again).all()

    def test_augmented_variants_move_picture_and_mask_together(self) -> None:
        pictures, masks = spotted(1, 4)
        many, moved = classical.augmented(pictures[0], masks[0], 12, 0)
        assert many.shape == (12, SIDE, SIDE, 3)
        assert (many[:4] == classical.turned(pictures[0])).all()
        for picture, mask in zip(many, moved, strict=True):
            if mask.sum() > 20:
                assert picture[mask].mean() < 60 < picture[~mask].mean()
