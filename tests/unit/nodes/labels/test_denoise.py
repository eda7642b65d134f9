"""What is asked of the model: as wide as it can draw, and the same in its crop whatever the photo's size."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from defectforge.nodes.algorithms.compositing.crops import LATENT_CELL
from defectforge.nodes.algorithms.compositing.denoise import Paintable, paintable
from PIL import Image
from scipy.ndimage import distance_transform_edt

SIZE = 128


def hole_in(side: int, cracks: bool = False) -> np.ndarray:
    """A hole of a tenth of the photo, and with cracks, a hundredth of it wide."""
    rows, columns = np.mgrid[:side, :side] / side
    hole = np.hypot(rows - 0.5, columns - 0.45) < 0.05
    if cracks:
        hole |= (np.abs(rows - 0.5) < 0.005) & (columns > 0.45) & (columns < 0.62)
    return hole


@cache
def painted(side: int) -> Paintable:
    return paintable(hole_in(side), SIZE, grow=2.0, feather=4.0)


def thickness(mask: np.ndarray) -> float:
    """Diameter of the largest disc in it."""
    return 2.0 * float(distance_transform_edt(np.pad(mask, 1)).max())


@pytest.mark.parametrize("side", [256, 512, 1024, 4000])
def test_grow_and_feather_follow_the_scale_of_the_crop(side):
    made = painted(side)
    near = made.denoise > 0
    rows, columns = (np.flatnonzero(near.any(axis)) for axis in (1, 0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    away = distance_transform_edt(~made.drawable[box]) / made.enlarged
    full, touched = made.denoise[box] >= 0.999, near[box]
    pixel = 1.0 / made.enlarged
    assert away[full].max() == pytest.approx(2.0, abs=0.3 + pixel)
    assert away[touched].max() == pytest.approx(6.0, abs=0.8 + pixel)


def test_the_mask_in_the_crop_is_the_same_for_photos_of_any_size():
    seen = []
    for side in (256, 512, 1024, 4000):
        made = painted(side)
        scale = max(1, round(side / made.enlarged))  # the whole photo, in px of the crop
        small = Image.fromarray(made.denoise).resize((scale, scale), Image.Resampling.BOX)
        seen.append((made.enlarged / side, np.asarray(small).sum()))
    shares, areas = zip(*seen, strict=True)
    assert shares == pytest.approx([shares[-1]] * 4, rel=0.05)
    assert areas == pytest.approx([areas[-1]] * 4, rel=0.12)


def test_in_photo_px_the_same_numbers_would_mean_other_things():
    """The unit is the point: a fixed number of photo px is a third of a small photo's hole."""
    small, large = (painted(side).enlarged for side in (256, 4000))
    assert large / small == pytest.approx(4000 / 256, rel=0.05)


def test_a_thick_mask_loses_its_cracks():
    asked = hole_in(1024, cracks=True)
    made = paintable(asked, SIZE)
    assert made.fine.any() and made.drawable.any()
    assert np.array_equal(made.fine | made.drawable, asked) and not (made.fine & made.drawable).any()
    assert (made.drawable & hole_in(1024)).sum() > 0.97 * hole_in(1024).sum(), "the core is whole"
    cell = LATENT_CELL * made.enlarged
    assert thickness(made.fine) < cell
    assert not made.denoise[510, int(0.6 * 1024)], "the crack is not asked for"


def test_everything_is_asked_for_when_told_so():
    asked = hole_in(1024, cracks=True)
    made = paintable(asked, SIZE, thinnest=0.0)
    assert np.array_equal(made.drawable, asked) and not made.fine.any()
    assert (made.denoise[asked] == 1).all()


def test_a_mask_that_is_thin_all_over_is_widened():
    scratch = np.zeros((512, 512), bool)
    scratch[255:257, 200:300] = True
    made = paintable(scratch, SIZE)
    assert np.array_equal(made.drawable, scratch), "a scratch is what was asked for, not fine lines of something"
    assert not made.fine.any()
    assert thickness(made.denoise >= 0.999) >= LATENT_CELL * made.enlarged


def test_the_denoise_mask_covers_what_is_drawable():
    made = paintable(hole_in(512, cracks=True), SIZE)
    assert (made.denoise[made.drawable] == 1).all()
    assert made.denoise.dtype == np.float32 and made.denoise.min() >= 0 and made.denoise.max() == 1


@pytest.mark.parametrize("values", [{"grow": -1.0}, {"feather": -1.0}, {"thinnest": -0.5}])
def test_negative_lengths_are_refused(values):
    with pytest.raises(ValueError, match="cannot be negative"):
        paintable(hole_in(256), SIZE, **values)


def test_an_empty_mask_is_refused():
    with pytest.raises(ValueError, match="mask is empty"):
        paintable(np.zeros((64, 64), bool), SIZE)
