"""The masks on real MVTec AD photos: outlines against hand-read ones, placement against real label masks."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from defectforge.nodes.algorithms.placement.foreground import Foreground, find_object
from defectforge.nodes.algorithms.placement.holes import place_holes
from PIL import Image
from scipy.interpolate import CubicSpline

pytestmark = pytest.mark.realdata

OUTLINES = json.loads((Path(__file__).parent / "outlines" / "hazelnut.json").read_text(encoding="utf-8"))
PARTS = ("hazelnut", "bottle", "capsule", "metal_nut", "pill")
TEXTURES = ("carpet", "grid", "wood")


def photo(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


@cache
def found_in(path: Path) -> Foreground:
    return find_object(photo(path))


def outlined(radii: list[float], centre: list[float], height: int, width: int) -> np.ndarray:
    """Fill a hand-read outline: a closed spline of the radius over the angle."""
    angles = np.linspace(0, 2 * np.pi, len(radii) + 1)
    y, x = np.mgrid[:height, :width]
    angle = np.mod(np.arctan2(y - centre[0], x - centre[1]), 2 * np.pi)
    edge = CubicSpline(angles, [*radii, radii[0]], bc_type="periodic")(angle)
    return np.hypot(y - centre[0], x - centre[1]) <= edge


@pytest.mark.parametrize("name", [name for name in OUTLINES if name != "note"])
def test_hazelnuts_are_outlined_as_a_careful_person_does(mvtec_root, name):
    path = mvtec_root / "hazelnut" / name
    if not path.is_file():
        pytest.skip(f"{path} is not in this copy of the dataset")
    found = found_in(path).mask
    by_hand = outlined(OUTLINES[name]["radii"], OUTLINES[name]["centre"], *found.shape)
    overlap = (found & by_hand).sum() / (found | by_hand).sum()
    print(f"{name}: IoU {overlap:.4f}")
    assert overlap >= 0.97


def photos(root: Path, *categories: str) -> list[Path]:
    return [
        path
        for category in categories
        for path in sorted(root.glob(f"{category}/*/*/*.png"))
        if "_mask" not in path.name
    ]


def test_every_part_is_found_with_confidence(mvtec_root):
    for path in photos(mvtec_root, *PARTS):
        found = found_in(path)
        assert found.problems == (), path
        assert found.confidence > 0.85, path
        assert 0.15 < found.mask.mean() < 0.7, path


def test_labelled_defects_lie_inside_the_mask_of_their_part(mvtec_root):
    """Ground truth is drawn on the part: a mask that misses a dark or bright defect would show here."""
    checked = 0
    for category in PARTS:
        for truth in sorted((mvtec_root / category / "ground_truth").glob("*/*_mask.png")):
            if truth.parent.name in ("bent", "flip"):
                continue  # labelled where the part should have been
            path = mvtec_root / category / "test" / truth.parent.name / truth.name.replace("_mask", "")
            defect = np.asarray(Image.open(truth)) > 0
            # 0.9: the label of a burst capsule includes the powder beside it.
            assert (found_in(path).mask & defect).sum() > 0.9 * defect.sum(), path
            checked += 1
    assert checked


def test_textures_are_not_taken_for_parts(mvtec_root):
    found = photos(mvtec_root, *TEXTURES)
    if not found:
        pytest.skip("no texture photos in this copy of the dataset")
    for path in found:
        assert found_in(path).confidence < 0.4, path


def test_placed_holes_look_like_real_ones_by_their_numbers(mvtec_root):
    """Share of the nut, place and on-object rate, over all good nuts and several seeds."""
    shares, radial = [], []
    for path in photos(mvtec_root, "hazelnut"):
        if path.parent.name != "good":
            continue
        image = photo(path)
        nut = found_in(path).mask
        centroid = np.array(np.nonzero(nut)).mean(axis=1)
        radius = np.sqrt(nut.sum() / np.pi)
        for seed in range(5):
            placed = place_holes(nut, seed, photo=image)
            assert not (placed.label & ~nut).any()
            shares.append(placed.label.sum() / nut.sum())
            radial.append(np.hypot(*(np.array(placed.holes[0].centre) - centroid)) / radius)
    # Real: 0.033-0.078, median 0.041; centres at 0.27-0.65 of the radius.
    assert min(shares) >= 0.032
    assert max(shares) <= 0.080
    assert 0.036 < np.median(shares) < 0.050
    assert np.mean((np.array(radial) > 0.25) & (np.array(radial) < 0.67)) > 0.9
