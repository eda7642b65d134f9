"""The object mask finds one part before a plain background, and says when it should not be trusted."""

from __future__ import annotations

import numpy as np
import pytest
from defectforge.nodes.algorithms.placement.foreground import find_object


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def disc(size: int, radius: float, cy: float | None = None, cx: float | None = None) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return np.hypot(y - (size / 2 if cy is None else cy), x - (size / 2 if cx is None else cx)) <= radius


@pytest.mark.parametrize(
    ("colour", "background"),
    [((150, 80, 50), (30, 30, 32)), ((40, 42, 50), (250, 250, 250)), ((60, 120, 60), (128, 128, 128))],
    ids=["brown on black", "dark on white", "green on grey of the same lightness"],
)
@pytest.mark.parametrize("size", [300, 1024])
def test_a_part_is_found_whatever_its_polarity(photo_of, colour, background, size):
    part = disc(size, 0.33 * size)
    found = find_object(photo_of(part, colour, background))
    assert iou(found.mask, part) > 0.98
    assert found.confidence > 0.95
    assert found.problems == ()


def test_the_dark_side_of_a_part_belongs_to_it(photo_of):
    """Otsu on grey loses it: the lower edge here is only a few levels brighter than the background."""
    part = disc(400, 130)
    found = find_object(photo_of(part, (170, 90, 60), (28, 28, 30), shade=0.75))
    assert iou(found.mask, part) > 0.97


def test_a_soft_shadow_beside_the_part_does_not_belong_to_it(photo_of):
    part = disc(400, 100)
    photo = photo_of(part, (20, 20, 22), (215, 215, 215)).astype(float)
    y, x = np.mgrid[:400, :400]
    distance = np.maximum(np.hypot(y - 215, x - 200) - 100, 0)
    photo *= np.where(part, 1.0, 1.0 - 0.25 * np.exp(-distance / 25))[..., None]
    assert iou(find_object(photo.astype(np.uint8)).mask, part) > 0.96


def test_uneven_light_is_not_a_part(photo_of):
    part = disc(400, 120)
    photo = photo_of(part).astype(float)
    y, x = np.mgrid[-1:1:400j, -1:1:400j]
    photo *= (1.0 - 0.35 * (y**2 + x**2))[..., None] * 1.2
    assert iou(find_object(np.clip(photo, 0, 255).astype(np.uint8)).mask, part) > 0.97


def test_a_dark_hole_and_a_bright_label_inside_the_part_belong_to_it(photo_of):
    part = disc(400, 130)
    photo = photo_of(part)
    photo[disc(400, 20, 180, 190)] = 30
    photo[230:250, 180:230] = 240
    assert iou(find_object(photo).mask, part) > 0.98


def test_the_bore_of_a_ring_stays_open_on_request(photo_of):
    ring = disc(400, 150) & ~disc(400, 60)
    photo = photo_of(ring)
    assert iou(find_object(photo).mask, disc(400, 150)) > 0.98
    assert iou(find_object(photo, largest_opening=0.05).mask, ring) > 0.97


def test_a_reflection_in_a_bore_is_no_island_of_the_part(photo_of):
    ring = disc(400, 150) & ~disc(400, 60)
    photo = photo_of(ring | disc(400, 6))
    found = find_object(photo, largest_opening=0.05).mask
    assert not found[190:210, 190:210].any()


def test_dust_beside_the_part_is_left_out(photo_of):
    part = disc(400, 120)
    photo = photo_of(part)
    photo[20:24, 30:36] = 200
    assert not find_object(photo).mask[:60, :60].any()


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        (disc(400, 20), "covers 0.8% of the picture"),
        (disc(400, 150, 60, 60), "touches 2 borders: top, left"),
        (disc(400, 70, 110, 110) | disc(400, 60, 290, 290), "second part"),
    ],
    ids=["too small", "cut off", "two parts"],
)
def test_the_gate_says_what_is_implausible(photo_of, part, problem):
    found = find_object(photo_of(part))
    assert any(problem in text for text in found.problems), found.problems
    assert found.confidence <= 0.5


def test_a_texture_has_no_part():
    texture = np.random.default_rng(0).integers(60, 200, (300, 300, 3), dtype=np.uint8)
    assert find_object(texture).confidence < 0.4


def test_one_flat_colour_has_no_part():
    found = find_object(np.full((100, 100, 3), 77, np.uint8))
    assert not found.mask.any()
    assert found.confidence == 0
    assert found.problems == ("the picture is one flat colour",)


def test_a_tiny_picture_does_not_fail(photo_of):
    assert iou(find_object(photo_of(disc(24, 8))).mask, disc(24, 8)) > 0.7


def test_sensitivity_moves_the_outline(photo_of):
    photo = photo_of(disc(400, 120), (60, 50, 45), (40, 40, 40))
    areas = [find_object(photo, sensitivity).mask.sum() for sensitivity in (0.5, 1.0, 2.0)]
    assert areas == sorted(areas)
    assert areas[0] < areas[2]
    with pytest.raises(ValueError, match="sensitivity must be above 0"):
        find_object(photo, 0.0)
