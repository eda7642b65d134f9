"""A picture repainted as a whole: a label where a defect stands out of it, and none where all of it drifted."""

from __future__ import annotations

import numpy as np
import pytest
from defectforge.nodes.algorithms.compositing.repainted import drift_floor, standing_out
from defectforge.nodes.algorithms.compositing.visible import VisibleRule, colour_distance
from scipy.ndimage import gaussian_filter

SIDE, WIDEST = 300, 0.12
EVERYWHERE = np.ones((SIDE, SIDE), bool)
BLACK = np.array((0.1, 0.1, 0.11), np.float32)


@pytest.fixture
def part(shell, disc):
    """A round part on black ground; `seed` is its shell, `x` where it lies."""

    def make(seed: int = 0, radius: float = 80, x: float | None = None) -> np.ndarray:
        photo = np.where(disc(SIDE, radius, None, x)[..., None], shell(SIDE, seed=seed), BLACK)
        return gaussian_filter(photo, (0.7, 0.7, 0)).astype(np.float32)

    return make


@pytest.fixture
def redrawn(part, shell):
    """The part with its stains and grain drawn anew, as strongly as `much` says: what img2img makes of it."""

    def make(photo: np.ndarray, much: float, seed: int = 5) -> np.ndarray:
        other = gaussian_filter(shell(SIDE, seed=seed), (1.5, 1.5, 0)) - shell(SIDE, grain=0.0, seed=99).mean((0, 1))
        on_part = photo.mean(-1, keepdims=True) > 0.2
        return np.clip(photo + much * np.where(on_part, other, 0.002 * other), 0, 1).astype(np.float32)

    return make


def label_of(
    before: np.ndarray, after: np.ndarray, widest: float = WIDEST, area: np.ndarray = EVERYWHERE
) -> np.ndarray:
    return standing_out(colour_distance(before, after), area, VisibleRule(), widest, 2.0)


def test_a_hole_in_a_part_that_was_redrawn_a_little_is_the_label(part, redrawn, with_hole, disc, iou) -> None:
    photo, hole = part(), disc(SIDE, 16, 140, 170)
    assert iou(label_of(photo, with_hole(redrawn(photo, 0.8), hole)), hole) > 0.85


def test_a_part_that_was_redrawn_has_no_label(part, redrawn) -> None:
    photo = part()
    after = redrawn(photo, 4.0)
    assert (colour_distance(photo, after) > 16).mean() > 0.01, "it changed visibly, and beyond the rule's own doubt"
    assert not label_of(photo, after).any()


def test_a_hole_among_as_strong_a_drift_has_no_label(part, redrawn, with_hole, disc) -> None:
    """The fault that this is for: the floor was the black ground's, and the label all of the part but the hole."""
    photo, hole = part(), disc(SIDE, 16, 140, 170)
    after = with_hole(redrawn(photo, 7.0), hole)
    assert not label_of(photo, after).any()


def test_a_hole_in_a_part_that_moved_has_no_label(part, with_hole, disc) -> None:
    """Shell where ground was is as certain a change as the hole, and no defect."""
    photo, hole, on_part = part(), disc(SIDE, 12, 140, 150), disc(SIDE, 82)
    assert label_of(photo, with_hole(photo, hole), area=on_part).any()
    assert not label_of(photo, with_hole(part(x=161), hole), area=on_part).any()


def test_a_part_whose_tip_was_rounded_off_has_no_label(part, disc) -> None:
    """Ground where shell was: on the part as it was, as certain as a hole, and none."""
    photo, on_part = part(), disc(SIDE, 80)
    after = np.where(disc(SIDE, 60, 60, 150)[..., None] & ~disc(SIDE, 76)[..., None], BLACK, photo)
    assert label_of(photo, after).any(), "nobody can tell without the part"
    assert not label_of(photo, after, area=on_part).any()


def test_only_the_area_counts(part, with_hole, disc) -> None:
    photo, hole = part(), disc(SIDE, 12, 140, 150)
    assert not label_of(photo, with_hole(photo, hole), area=disc(SIDE, 20, 200, 150)).any()


def test_two_holes_are_two(part, redrawn, with_hole, disc, iou) -> None:
    photo, holes = part(), disc(SIDE, 14, 130, 120) | disc(SIDE, 12, 160, 190)
    assert iou(label_of(photo, with_hole(redrawn(photo, 0.8), holes)), holes) > 0.85


def test_what_was_left_alone_keeps_its_label(part, with_hole, disc, iou) -> None:
    """Only the hole is new: then what moved at all is the defect, and sets no floor."""
    photo, hole = part(), disc(SIDE, 16, 140, 170)
    assert iou(label_of(photo, with_hole(photo, hole)), hole) > 0.85


@pytest.mark.parametrize("ground", [0, 400])
def test_even_ground_around_the_part_does_not_lower_the_floor(redrawn, shell, ground) -> None:
    photo = shell(SIDE)
    distance = colour_distance(photo, redrawn(photo, 2.0))
    wide = np.pad(distance, ((0, 0), (0, ground)))
    assert drift_floor(wide, WIDEST) == pytest.approx(drift_floor(distance, WIDEST), rel=0.05)


def test_a_change_wider_than_a_defect_is_a_drift(part, with_hole, disc) -> None:
    photo, hole = part(), disc(SIDE, 40)
    after = with_hole(photo, hole)
    assert label_of(photo, after).any()
    assert not label_of(photo, after, widest=0.04).any()


@pytest.mark.parametrize("size", [0, 63])
def test_too_few_pixels_tell_no_floor(size) -> None:
    assert drift_floor(np.full(size, 50.0), WIDEST) == 0.0
