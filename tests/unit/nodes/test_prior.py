"""A prior of real masks: masks like them, of any number of them, or an error."""

from __future__ import annotations

import numpy as np
import pytest
from defectforge.nodes.algorithms.placement.defects.place import REAL_SHAPES, PlaceSettings, place_defects
from defectforge.nodes.algorithms.placement.features import FEATURES, mask_features
from defectforge.nodes.algorithms.placement.frame import part_frame, turns
from defectforge.nodes.algorithms.placement.prior import fit_prior
from scipy import ndimage
from scipy.stats import ks_2samp

SIDE = 240


def disc(y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.hypot(rows - y, columns - x) < radius


PART = disc(120, 120, 100)


@pytest.fixture
def masks() -> list[np.ndarray]:
    """Nine ragged blobs of many sizes, at 0.3 to 0.5 radii from the centre."""
    rng = np.random.default_rng(2)
    found = []
    for _ in range(9):
        angle, away, radius = rng.uniform(0, 6.28), rng.uniform(30, 50), rng.uniform(10, 20)
        noise = ndimage.gaussian_filter(rng.normal(0, 1, (SIDE, SIDE)), 4) * 25
        rows, columns = np.mgrid[:SIDE, :SIDE]
        distance = np.hypot(rows - 120 - away * np.sin(angle), (columns - 120 - away * np.cos(angle)) * 1.3)
        labels, _ = ndimage.label(distance < radius + noise)
        found.append(labels == labels[int(120 + away * np.sin(angle)), int(120 + away * np.cos(angle))])
    return found


def drawn(prior, number: int = 60, **settings) -> list[np.ndarray]:
    chosen = PlaceSettings(REAL_SHAPES, **settings)
    return [place_defects(PART, 3, index, chosen, prior=prior).label for index in range(number)]


def test_drawn_masks_are_distributed_as_the_real_ones(masks):
    made = [mask_features(mask, PART) for mask in drawn(fit_prior(masks, [PART] * 9))]
    real = [mask_features(mask, PART) for mask in masks]
    passed = [name for name in FEATURES if ks_2samp([m[name] for m in made], [r[name] for r in real]).pvalue > 0.05]
    assert len(passed) >= 5, passed


def test_they_lie_on_the_part_and_none_is_a_copy(masks):
    made = drawn(fit_prior(masks[:1], [PART]), 20)
    assert all(not (mask & ~PART).any() for mask in made)
    assert len({mask.tobytes() for mask in made}) == 20


def test_one_real_mask_is_enough_and_gives_a_spread_around_it(masks):
    share = masks[0].sum() / PART.sum()
    sizes = np.array([mask.sum() / PART.sum() for mask in drawn(fit_prior(masks[:1], [PART]), 40)])
    assert 0.6 * share < np.median(sizes) < 1.6 * share
    assert sizes.std() > 0.05 * share


def test_their_number_is_that_of_the_real_ones():
    four = disc(70, 120, 7) | disc(170, 120, 7) | disc(120, 70, 7) | disc(120, 170, 7)
    prior = fit_prior([four, four], [PART, PART])
    assert prior.numbers == (4, 4)
    label = drawn(prior, 1, count=0)[0]
    assert ndimage.label(label)[1] == 4


def test_a_defect_at_the_edge_comes_back_at_the_edge():
    bitten = PART & disc(120, 215, 14)
    for label in drawn(fit_prior([bitten], [PART]), 8):
        assert (ndimage.binary_dilation(label, iterations=3) & ~PART).any()


def test_a_smaller_one_still_reaches_the_edge():
    """A crescent along the rim, as a broken bottle's: drawn in another size it stays at the rim."""
    crescent = PART & ~disc(120, 90, 82) & disc(120, 190, 60)
    made = drawn(fit_prior([crescent], [PART]), 12)
    shares = [label.sum() / crescent.sum() for label in made]
    assert max(shares) > 1.1 * min(shares)
    assert all((ndimage.binary_dilation(label, iterations=3) & ~PART).any() for label in made)


def test_one_that_takes_much_of_its_part_keeps_its_size():
    shares = []
    for radius in (20, 60):
        large = disc(120, 120, radius)
        shares.append([label.sum() / large.sum() for label in drawn(fit_prior([large], [PART]), 12)])
    small, large_ones = map(np.std, shares)
    assert large_ones < 0.1 < small


def test_on_a_long_part_a_defect_keeps_its_end():
    """At one end of an egg-shaped part, across it: on a turned one at the same end, turned alike."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - 120.0
    egg = (columns / 100) ** 2 + (rows / (60 * (1 - 0.004 * columns))) ** 2 < 1
    mask = (np.abs(columns - 60) < 4) & (np.abs(rows) < 18)
    prior = fit_prior([mask], [egg])
    turned = np.rot90(egg).copy()
    for index in range(6):
        label = place_defects(turned, 1, index, PlaceSettings(REAL_SHAPES), prior=prior).label
        centre = np.argwhere(label).mean(axis=0)
        assert centre[0] < 95, "the right end went up"
        assert abs(np.cos(part_frame(label).axis)) > 0.8


def nut(arms: tuple[int, ...]) -> np.ndarray:
    """A disc with slanting arms at these quarters of a turn, as a metal nut has them: its mirror image is another."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - 120.0
    part = np.hypot(rows, columns) < 70
    for quarter in arms:
        along, across = columns, rows
        for _ in range(quarter):
            along, across = across, -along
        part |= (np.abs(across - 1.0 * (along - 70)) < 24) & (along > 0) & (np.hypot(rows, columns) < 105)
    return part


def test_an_arm_that_is_bent_away_is_drawn_at_the_arms_and_not_between_them():
    """Its own photo shows one arm less: the outlines are compared without what is gone, and its place is an arm's."""
    whole, damaged = nut((0, 1, 2, 3)), nut((1, 2, 3))
    gone = whole & ~damaged
    prior = fit_prior([gone], [damaged])
    rows, columns = np.mgrid[:SIDE, :SIDE] - 120.0
    arms = ndimage.binary_dilation(whole & (np.hypot(rows, columns) >= 70), iterations=3)
    for index in range(12):
        label = place_defects(whole, 5, index, PlaceSettings(REAL_SHAPES), prior=prior).label
        assert (label & arms).sum() > 0.8 * label.sum()


def test_a_damaged_outline_does_not_hide_that_a_part_is_no_mirror_image_of_itself():
    found = turns(part_frame(nut((1, 2, 3))), part_frame(nut((0, 1, 2, 3))))
    assert len({round(turn.angle / (np.pi / 2)) % 4 for turn in found}) == 4
    assert not any(turn.mirrored for turn in found)


@pytest.mark.parametrize(
    ("given", "parts", "says"),
    [
        ([], [], "no real defect"),
        ([np.zeros((SIDE, SIDE), bool)], [PART], "all of the 1 masks are empty"),
        ([np.ones((10, 10), bool)], [PART], "10x10 px, its part 240x240"),
        ([PART], [], "1 masks for 0 parts"),
    ],
)
def test_nothing_to_learn_from_is_said(given, parts, says):
    with pytest.raises(ValueError, match=says):
        fit_prior(given, parts)
