"""The figures: by hand on small cases, PRO against a slow count, resamples against the exact measures."""

from __future__ import annotations

import numpy as np
import pytest
from defectforge.runner.benefit.statistics.intervals import Resamples, interval, resampled, resamples
from defectforge.runner.benefit.statistics.measures import IMAGE, PIXEL, Truth, measure, per_region_overlap
from numpy.typing import NDArray
from scipy import ndimage


@pytest.fixture
def truth() -> Truth:
    """Four defects (one in two regions), one defect photo without a mask, six good photos; 40 px."""
    masks = np.zeros((11, 40, 40), bool)
    for index in range(4):
        masks[index, 5 + index : 12 + index, 8:14] = True
    masks[3, 30:34, 30:33] = True
    known = np.ones(11, bool)
    known[4] = False
    return Truth(masks, known, np.arange(11) < 5)


@pytest.fixture
def maps(truth: Truth) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    clear = ndimage.gaussian_filter(truth.masks.astype(float), (0, 2, 2)) * rng.uniform(0.2, 2, (11, 1, 1))
    return (clear + rng.normal(0, 0.15, truth.masks.shape)).astype(np.float32)


def test_a_perfect_map_measures_one(truth: Truth) -> None:
    perfect = truth.masks.astype(np.float32)
    perfect[4, 0, 0] = 1  # the defect without a mask counts per image
    assert measure(perfect, truth) == pytest.approx(dict.fromkeys((*PIXEL, *IMAGE), 1.0))


def test_a_blind_map_measures_chance(truth: Truth) -> None:
    values = measure(np.zeros(truth.masks.shape, np.float32), truth)
    share = truth.masks[truth.known].mean()
    assert values["pixel_auroc"] == pytest.approx(0.5)
    assert values["pixel_ap"] == pytest.approx(share)
    assert values["image_auroc"] == pytest.approx(0.5)


def test_pro_is_the_mean_share_of_regions_under_the_limit(maps: NDArray[np.float32], truth: Truth) -> None:
    """Counted threshold by threshold, region by region."""
    maps, masks = maps[truth.known], truth.masks[truth.known]
    labels = [ndimage.label(mask, np.ones((3, 3)))[0] for mask in masks]
    rates, overlaps = [0.0], [0.0]
    for threshold in np.sort(np.unique(maps))[::-1]:
        found = maps >= threshold
        rates.append(found[~masks].mean())
        shares = [found[i][labels[i] == n].mean() for i in range(len(masks)) for n in range(1, labels[i].max() + 1)]
        overlaps.append(np.mean(shares))
    assert len(shares) == 5
    grid = np.linspace(0, 0.3, 20001)
    slow = np.interp(grid, rates, overlaps).mean()
    assert per_region_overlap(maps, masks) == pytest.approx(slow, abs=2e-3)


def test_small_and_large_regions_count_alike_in_pro() -> None:
    masks = np.zeros((1, 64, 64), bool)
    masks[0, 2:4, 2:4] = masks[0, 20:60, 20:60] = True
    only_large = np.zeros((1, 64, 64), np.float32)
    only_large[0, 20:60, 20:60] = 1
    rng = np.random.default_rng(0)
    only_large += rng.uniform(0, 0.1, only_large.shape).astype(np.float32) * ~masks
    assert per_region_overlap(only_large, masks) == pytest.approx(0.5, abs=0.01)


def test_without_masks_only_images_are_measured(maps: NDArray[np.float32], truth: Truth) -> None:
    blind = Truth(np.zeros_like(truth.masks), ~truth.is_defect, truth.is_defect)
    values = measure(maps, blind)
    assert all(values[name] is None for name in PIXEL)
    assert values["image_auroc"] == measure(maps, truth)["image_auroc"]
    assert set(resampled([maps], blind, resamples(blind.is_defect, 1, 100))) == set(IMAGE)


def test_without_good_photos_only_pixels_are_measured(maps: NDArray[np.float32], truth: Truth) -> None:
    only = Truth(truth.masks[:4], truth.known[:4], truth.is_defect[:4])
    values = measure(maps[:4], only)
    assert values["image_auroc"] is None
    assert values["pixel_ap"] is not None


def test_every_photo_once_gives_the_exact_figures(maps: NDArray[np.float32], truth: Truth) -> None:
    once = Resamples(np.ones((1, 11)), np.ones((1, 1)))
    binned = {name: float(values[0]) for name, values in resampled([maps], truth, once).items()}
    assert binned == pytest.approx(measure(maps, truth), abs=1e-3)


def test_a_resample_is_the_measure_of_the_drawn_photos(maps: NDArray[np.float32], truth: Truth) -> None:
    drawn = np.array([0, 0, 3, 4, 2, 5, 5, 7, 9, 9, 10])
    weights = np.bincount(drawn, minlength=11)[None].astype(float)
    binned = resampled([maps], truth, Resamples(weights, np.ones((1, 1))))
    exact = measure(maps[drawn], Truth(truth.masks[drawn], truth.known[drawn], truth.is_defect[drawn]))
    assert {name: float(values[0]) for name, values in binned.items()} == pytest.approx(exact, abs=2e-3)


def test_seeds_are_drawn_too(maps: NDArray[np.float32], truth: Truth) -> None:
    """Two seeds of which one is blind: the mean of a resample is that of the seeds it drew."""
    blind = np.zeros_like(maps)
    values = resampled([maps, blind], truth, Resamples(np.ones((3, 11)), np.array([[1, 0], [0.5, 0.5], [0, 1]])))
    first, mean, second = values["pixel_ap"]
    assert mean == pytest.approx((first + second) / 2)
    assert first > second


def test_resamples_keep_the_numbers_of_defects_and_good_photos(truth: Truth) -> None:
    draws = resamples(truth.is_defect, 3, 200)
    assert (draws.photos[:, truth.is_defect].sum(1) == 5).all()
    assert (draws.photos[:, ~truth.is_defect].sum(1) == 6).all()
    assert draws.seeds.sum(1) == pytest.approx(1)
    assert (draws.photos == resamples(truth.is_defect, 3, 200).photos).all()


def test_an_interval_holds_the_middle_95_percent() -> None:
    assert interval(np.arange(1001.0)) == pytest.approx((25, 975))


def test_the_difference_of_a_row_and_itself_is_nothing(maps: NDArray[np.float32], truth: Truth) -> None:
    draws = resamples(truth.is_defect, 2, 100)
    one, other = (resampled([maps, maps * 0.5], truth, draws) for _ in range(2))
    assert (one["pixel_ap"] == other["pixel_ap"]).all()
