"""Only the defect is new: everything else is the photo's own pixels, and the label says where it is."""

from __future__ import annotations

import numpy as np
import pytest
from defectforge.nodes.algorithms.compositing.blend import Blended, BlendSettings, blend_defect
from defectforge.nodes.algorithms.compositing.crops import Window
from scipy.ndimage import binary_dilation, gaussian_filter

WINDOW = Window(40, 30, 120, 120)
SIDE = 200
#: The window's middle, in the photo.
Y, X = 90, 100


@pytest.fixture
def soft(disc) -> np.ndarray:
    """A denoise mask: full to 24 px, faded out at 32."""
    mask = disc(SIDE, 28, Y, X).astype(np.float32)
    return np.where(disc(SIDE, 32, Y, X), gaussian_filter(mask, 2), 0).astype(np.float32)


@pytest.fixture
def painted(shell, with_hole, disc):
    """Make what a model gives back for the window: the crop, soft and a shade off, with a hole of that radius."""

    def make(photo: np.ndarray, radius: float = 18, shift: float = 0.02) -> np.ndarray:
        crop = gaussian_filter(with_hole(photo, disc(SIDE, radius, Y, X)), (1.5, 1.5, 0)) + shift
        return np.clip(crop[WINDOW.rows, WINDOW.columns], 0, 1).astype(np.float32)

    return make


def blend(photo: np.ndarray, crop: np.ndarray, denoise: np.ndarray, **more) -> Blended:
    return blend_defect(photo, crop, WINDOW, denoise, more.pop("enlarged", 1.0), **more)


@pytest.mark.parametrize("radius", [8, 14, 22])
def test_the_label_is_the_hole_that_was_painted_not_the_area_that_was_asked_for(
    shell, painted, soft, disc, iou, radius
):
    photo = shell()
    made = blend(photo, painted(photo, radius), soft)
    assert iou(made.label, disc(SIDE, radius, Y, X)) >= (radius / (radius + 2)) ** 2, "two px of soft outline"
    assert iou(made.label, soft > 0) < 0.6


def test_every_other_pixel_is_the_photos_own(shell, painted, soft, disc):
    photo = shell()
    made = blend(photo, painted(photo), soft)
    same = (made.image == photo).all(-1)
    assert same[soft == 0].all(), "outside what was repainted the difference is 0"
    assert same[~binary_dilation(made.label, iterations=4)].all(), "and so is sound shell that was repainted"
    assert not same[made.label].all()


@pytest.mark.parametrize("shift", [-0.06, 0.0, 0.06])
def test_a_shade_that_the_autoencoder_adds_is_taken_out(shell, painted, soft, iou, shift):
    photo = shell()
    made, plain = blend(photo, painted(photo, shift=shift), soft), blend(photo, painted(photo, shift=0.0), soft)
    assert iou(made.label, plain.label) > 0.95
    assert np.abs(made.image - plain.image)[made.label & plain.label].mean() < 0.01


def test_light_that_changes_across_the_crop_is_taken_out_by_poisson(shell, painted, soft, disc, iou):
    """An even shift leaves half of the slope on each side of the mask: a shade in the hole that is not its own."""
    photo = shell()
    slope = np.linspace(-0.2, 0.2, WINDOW.width, dtype=np.float32)[None, :, None]
    crop = np.clip(painted(photo, 12, shift=0.0) + slope, 0, 1)
    wanted = blend(photo, painted(photo, 12, shift=0.0), soft)
    off = {}
    for name, poisson in (("even", False), ("poisson", True)):
        made = blend(photo, crop, soft, settings=BlendSettings(poisson=poisson))
        off[name] = np.abs(made.image - wanted.image)[disc(SIDE, 12, Y, X)].mean()
        assert (made.image == photo).all(-1)[soft == 0].all()
    assert off["poisson"] < 0.5 * off["even"]


@pytest.mark.parametrize("shift", [0.0, 0.03])
def test_nothing_visible_leaves_the_photo_untouched(shell, painted, soft, shift):
    photo = shell()
    made = blend(photo, painted(photo, 0, shift=shift), soft)
    assert not made.label.any()
    assert np.array_equal(made.image, photo)


def test_a_hole_outside_the_denoise_mask_is_not_taken(shell, with_hole, soft, disc):
    photo = shell()
    crop = with_hole(photo, disc(SIDE, 12, 45, 55))[WINDOW.rows, WINDOW.columns]
    assert np.array_equal(blend(photo, crop, soft).image, photo)


def test_the_noise_floor_is_told(shell, painted, soft):
    photo = shell()
    assert blend(photo, painted(photo), soft).floor > 0
    assert blend(photo, photo[WINDOW.rows, WINDOW.columns], soft).floor == 0


def line_mask() -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[Y - 1 : Y + 2, X + 36 : X + 90] = True
    return mask


def test_fine_lines_are_etched_joined_to_the_hole_and_labelled(shell, painted, soft):
    photo, line = shell(), line_mask()
    made = blend(photo, painted(photo), soft, fine=line)
    assert made.label[line].mean() > 0.9, "the line is in the label, beyond the window too"
    assert made.label[Y - 3 : Y + 4, X : X + 88].any(0).all(), "and joined to the hole, without a gap"
    assert made.image[line].mean() < 0.75 * photo[line].mean()
    touched = (made.image != photo).any(-1)
    assert not (touched & ~binary_dilation(made.label, iterations=4)).any()


def test_a_line_that_nobody_can_see_leaves_no_trace(shell, painted, soft):
    """Over dark shell a crack does not show: what is not labelled is not drawn."""
    photo, line = shell(), line_mask()
    photo[:, X + 50 :] *= 0.08
    made = blend(photo, painted(photo), soft, fine=line)
    beyond = line.copy()
    beyond[:, : X + 55] = False
    assert not (made.label & beyond).any()
    assert np.array_equal(made.image[beyond], photo[beyond])


def test_lines_without_a_visible_hole_are_not_drawn(shell, painted, soft):
    photo = shell()
    assert np.array_equal(blend(photo, painted(photo, 0), soft, fine=line_mask()).image, photo)


def test_lines_that_are_not_etched_are_not_labelled(shell, painted, soft):
    photo, line = shell(), line_mask()
    made = blend(photo, painted(photo), soft, fine=line, settings=BlendSettings(etch=0.0))
    assert not (made.label & line).any()
    assert np.array_equal(made.image[line], photo[line])


def test_the_same_seed_gives_the_same_bytes(shell, painted, soft):
    photo, crop = shell(grain=0.03), painted(shell(grain=0.03))
    first, again, other = (blend(photo, crop, soft, fine=line_mask(), seed=seed) for seed in (4, 4, 5))
    assert first.image.tobytes() == again.image.tobytes() and np.array_equal(first.label, again.label)
    assert first.image.tobytes() != other.image.tobytes()


def test_the_hole_gets_the_grain_of_the_shell(shell, painted, soft, disc):
    photo = shell(grain=0.04)
    inner = disc(SIDE, 13, Y, X)
    with_, without = (
        blend(photo, painted(photo), soft, settings=BlendSettings(grain=grain)).image for grain in (1.0, 0.0)
    )
    fine = [float((p - gaussian_filter(p, (1.5, 1.5, 0)))[inner].std()) for p in (with_, without)]
    assert fine[0] > 3 * fine[1]


@pytest.mark.parametrize("enlarged", [0.5, 1.0, 4.0, 8.0])
def test_the_feather_follows_the_scale_of_the_crop_and_stays_inside_the_denoise_mask(shell, painted, soft, enlarged):
    photo = shell()
    made = blend(photo, painted(photo, 14), soft, enlarged=enlarged)
    assert made.label.any()
    assert ((made.image == photo).all(-1))[soft == 0].all()


@pytest.mark.parametrize(("y", "x"), [(0, 0), (0, 80), (80, 80)])
def test_a_window_at_the_photos_edge_works_as_any_other(shell, with_hole, disc, iou, y, x):
    photo, window = shell(), Window(x, y, 120, 120)
    hole, area = disc(SIDE, 12, y + 60, x + 60), disc(SIDE, 25, y + 60, x + 60).astype(np.float32)
    crop = with_hole(photo, hole)[window.rows, window.columns]
    made = blend_defect(photo, crop, window, area, 1.0)
    assert iou(made.label, hole) > 0.75
