"""Fine lines and grain: what a model at its working size cannot draw."""

from __future__ import annotations

import numpy as np
import pytest
from defectforge.nodes.algorithms.compositing.etch import etched, joined, line_depth
from defectforge.nodes.algorithms.compositing.grain import detail, random_phase, sharpened, with_grain
from scipy.ndimage import gaussian_filter, label


@pytest.fixture
def line() -> np.ndarray:
    """A line of 4 px from column 110 on, to the right of the middle of 200x200."""
    mask = np.zeros((200, 200), bool)
    mask[98:102, 110:170] = True
    return mask


def test_a_line_is_darker_in_its_middle_than_at_its_edge(shell, line):
    """Over several seeds: one crack wanders within its mask."""
    photo = shell(grain=0.0)
    light = np.mean([etched(photo, line, 0.85, seed)[0].mean(-1) / photo.mean(-1) for seed in range(8)], axis=0)
    middle, edge = light[99:101, 115:165].mean(), light[[97, 102], 115:165].mean()
    assert middle < 2 / 3, "a third darker, though it wanders off the middle here and there"
    assert middle < edge - 0.1 < 0.9


def test_pixels_that_a_line_does_not_touch_stay_the_same(shell, line):
    photo = shell()
    out, touched = etched(photo, line, 1.0, 3)
    assert np.array_equal(out[~touched], photo[~touched])
    near = np.zeros_like(line)
    near[94:106, 106:174] = True
    assert not (touched & ~near).any(), "a line reaches little beyond its mask"


def test_a_broken_edge_is_lighter_here_and_there_and_nothing_else_is(shell, line):
    photo = shell(grain=0.06)
    lighter = etched(photo, line, 1.0, 0)[0] > photo + 1e-6
    assert 0 < lighter.sum() < 0.5 * line.sum()
    assert not lighter[99:101, 112:168].any(), "the middle of a crack is dark"


def test_a_line_is_no_band_with_straight_edges(line):
    """A mask of four even rows becomes a crack whose middle wanders and whose width changes."""
    depth = line_depth(line, np.random.default_rng(5))[:, 115:165]
    rows = np.arange(len(depth))[:, None]
    middle = (depth * rows).sum(0) / depth.sum(0)
    assert middle.std() > 0.2
    assert depth.sum(0).std() > 0.1 * depth.sum(0).mean()


def test_no_strength_and_no_line_leave_the_picture_alone(shell, line):
    photo = shell()
    for mask, strength in ((line, 0.0), (np.zeros_like(line), 1.0)):
        out, touched = etched(photo, mask, strength, 1)
        assert np.array_equal(out, photo) and not touched.any()
    assert not line_depth(np.zeros_like(line), np.random.default_rng(0)).any()


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
def test_the_same_seed_draws_the_same_line(shell, line, seed):
    assert np.array_equal(etched(shell(), line, 0.85, seed)[0], etched(shell(), line, 0.85, seed)[0])
    assert not np.array_equal(etched(shell(), line, 0.85, seed)[0], etched(shell(), line, 0.85, seed ^ 1)[0])


def test_a_line_is_lengthened_to_the_hole_it_belongs_to(line, disc):
    hole = disc(200, 12, 110, 80)
    reached = joined(line, hole)
    assert label(line | hole, np.ones((3, 3)))[1] == 2
    assert label(reached | hole, np.ones((3, 3)))[1] == 1
    assert not (reached & hole).any() and (reached[line]).all()


def test_a_line_at_the_hole_stays_as_it_is(line, disc):
    assert np.array_equal(joined(line, disc(200, 11, 100, 100)), line & ~disc(200, 11, 100, 100))
    assert np.array_equal(joined(line, np.zeros_like(line)), line)


# ---- grain


def strength(picture: np.ndarray, where: np.ndarray) -> float:
    return float(detail(picture)[where].std())


def test_a_smooth_place_gets_the_grain_around_it(shell, disc):
    photo = shell(grain=0.03)
    place, ring = disc(200, 30), disc(200, 60) & ~disc(200, 34)
    smooth = np.where(place[..., None], gaussian_filter(photo, (4, 4, 0)), photo)
    assert strength(smooth, place) < 0.3 * strength(photo, ring)
    out = with_grain(smooth, photo, place, ring, 1.0, 5)
    assert strength(out, place) == pytest.approx(strength(photo, ring), rel=0.15)
    assert np.array_equal(with_grain(smooth, photo, place, ring, 1.0, 5), out)
    assert not np.array_equal(with_grain(smooth, photo, place, ring, 1.0, 6), out)


def test_what_has_grain_gets_no_more(shell, disc):
    photo = shell(grain=0.03)
    out = with_grain(photo, photo, disc(200, 30), disc(200, 60) & ~disc(200, 34), 1.0, 5)
    assert strength(out, disc(200, 30)) == pytest.approx(strength(photo, disc(200, 30)), rel=0.1)


def test_dark_places_get_less_grain(shell, with_hole, disc):
    photo, place = shell(grain=0.03), disc(200, 30)
    ring = disc(200, 60) & ~disc(200, 34)
    inner = disc(200, 25)  # the outline is an edge, which counts as detail
    out = with_grain(with_hole(photo, place), photo, inner, ring, 1.0, 5)
    assert 0.2 * strength(photo, ring) < strength(out, inner) < 0.6 * strength(photo, ring)


def test_amount_zero_or_nothing_to_learn_from_adds_nothing(shell, disc):
    photo, place = shell(), disc(200, 30)
    assert np.array_equal(with_grain(photo, photo, place, disc(200, 60), 0.0, 1), photo)
    assert np.array_equal(with_grain(photo, photo, place, disc(200, 3), 1.0, 1), photo)
    assert not random_phase(detail(photo), np.zeros_like(place), np.random.default_rng(0)).any()


def test_grain_is_as_coarse_as_its_example():
    rng = np.random.default_rng(0)
    everywhere = np.ones((128, 128), bool)
    for sigma in (0.0, 1.0, 2.0):
        pattern = gaussian_filter(rng.standard_normal((128, 128, 3)), (sigma, sigma, 0))
        texture = random_phase(pattern, everywhere, np.random.default_rng(1))
        neighbours = [np.corrcoef(p[:, 1:].ravel(), p[:, :-1].ravel())[0, 1] for p in (pattern, texture)]
        assert neighbours[0] == pytest.approx(neighbours[1], abs=0.05)
        assert texture.std() == pytest.approx(pattern.std(), rel=0.05)


def test_sharpening_never_leaves_the_range_of_the_neighbourhood(shell, with_hole, disc):
    soft = gaussian_filter(with_hole(shell(grain=0.0), disc(200, 30)), (3, 3, 0))
    out = sharpened(soft, 3.0)
    assert out.min() >= soft.min() and out.max() <= soft.max()
    steps = [np.abs(np.diff(picture[100, :, 0])).max() for picture in (soft, out)]
    assert steps[1] > 1.2 * steps[0]
    assert np.array_equal(sharpened(soft, 1.0), soft.astype(np.float32))
