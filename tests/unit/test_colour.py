"""Locking colours undoes a global tone shift and keeps the defect."""

from __future__ import annotations

import numpy as np
import pytest
from defectforge.nodes.algorithms.compositing.colour import lock_colours
from scipy.ndimage import gaussian_filter
from skimage.color import deltaE_ciede2000, rgb2lab

SIZE = 64


@pytest.fixture
def source() -> np.ndarray:
    """A smooth brown picture with some variety in every channel."""
    rng = np.random.default_rng(3)
    texture = gaussian_filter(rng.normal(size=(SIZE, SIZE, 3)), (4, 4, 0))
    return np.clip(np.array([0.55, 0.38, 0.22]) + 0.8 * texture, 0.05, 0.95)


@pytest.fixture
def hole() -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    return ((y - 30) ** 2 + (x - 34) ** 2 < 8**2).astype(np.float32)


@pytest.fixture
def edited(source: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """What instruct-pix2pix does: another mood everywhere, and the hole."""
    shifted = np.clip(source**0.8 * np.array([0.9, 1.05, 1.25]), 0, 1)
    shifted[hole > 0] = 0.02
    return shifted


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return deltaE_ciede2000(rgb2lab(a), rgb2lab(b))


@pytest.mark.parametrize("method", ["histogram", "mean and contrast"])
@pytest.mark.parametrize("masked", [True, False], ids=["mask given", "mask found"])
def test_colours_return_outside_the_change_and_the_hole_stays(source, edited, hole, method, masked):
    locked, changed = lock_colours(edited, source, hole if masked else None, method)
    outside = hole == 0
    before, after = difference(edited, source)[outside].mean(), difference(locked, source)[outside].mean()
    assert before > 8
    assert after < 0.25 * before
    assert locked[hole > 0].max() < 0.15
    assert (changed[hole > 0] > 0.5).all()
    assert (changed[outside] > 0.5).mean() < 0.02


def test_a_hole_would_spoil_the_curve_were_it_not_left_out(source, edited, hole):
    """The mask is not decoration: one unmasked curve has to explain the hole too, and the shell pays for it."""
    outside = hole == 0
    masked, _ = lock_colours(edited, source, hole)
    unmasked, _ = lock_colours(edited, source, np.zeros_like(hole))
    assert difference(masked, source)[outside].mean() < difference(unmasked, source)[outside].mean()


def test_strength_mixes_between_the_edit_and_the_locked_picture(source, edited, hole):
    untouched, _ = lock_colours(edited, source, hole, strength=0.0)
    np.testing.assert_allclose(untouched, edited, atol=1e-4)


def test_an_unchanged_picture_stays_as_it_is(source):
    locked, changed = lock_colours(source, source)
    np.testing.assert_allclose(locked, source, atol=2e-3)
    assert changed.max() < 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": np.zeros((8, 8, 3))}, "must be the same"),
        ({"strength": 1.5}, "expected 0 to 1"),
        ({"changed": np.zeros((8, 8))}, "mask that belongs to this image"),
        ({"changed": np.ones((SIZE, SIZE))}, "make the mask smaller"),
    ],
)
def test_what_cannot_be_locked_is_refused(source, edited, arguments, message):
    with pytest.raises(ValueError, match=message):
        lock_colours(edited, **{"source": source, **arguments})
