"""A real defect moved onto another part: the label is exact, the rest of the photo untouched, no seam, or an error."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from defectforge.nodes.algorithms.compositing.transplant import (
    BLENDS,
    BlendSettings,
    Transplant,
    cracked,
    transplant,
)
from defectforge.nodes.algorithms.placement.defects.cracks import crack_lines
from defectforge.nodes.algorithms.placement.frame import NoPlaceError, part_frame
from defectforge.nodes.algorithms.placement.light import inner_shading
from defectforge.nodes.algorithms.placement.motion import (
    ANYWHERE,
    SAME_PLACE,
    Defect,
    MotionSettings,
    draw_motion,
)
from defectforge.nodes.algorithms.placement.moving import landing_box, moved_mask
from scipy import ndimage

SIDE = 240


def oval(height: int = SIDE, width: int = SIDE, angle: float = 0.0, size: float = 0.40) -> np.ndarray:
    """An egg, so that its frame has one direction only."""
    y, x = (
        np.mgrid[:height, :width] / min(height, width)
        - np.array([height, width])[:, None, None] / min(height, width) / 2
    )
    u, v = np.cos(angle) * x + np.sin(angle) * y, -np.sin(angle) * x + np.cos(angle) * y
    return (u / size) ** 2 + (v / (0.72 * size * (1 - 0.35 * u / size))) ** 2 < 1


def photo(part: np.ndarray, colour: tuple[float, ...], light: float = 0.0, grain: float = 0.01, seed: int = 0):
    """A float photo of a part of one colour on black, lighter to the right by `light`."""
    x = np.linspace(-1, 1, part.shape[1])[None, :, None]
    surface = np.array(colour) * (1 + light * x)
    out = np.where(part[..., None], surface, 0.05)
    return np.clip(out + np.random.default_rng(seed).normal(0, grain, (*part.shape, 3)), 0, 1).astype(np.float32)


@pytest.fixture
def broken() -> tuple[np.ndarray, Defect]:
    """A brown egg with a dark pit that has a light lower rim, off its centre."""
    part = oval()
    y, x = np.mgrid[:SIDE, :SIDE]
    mask = np.hypot(y - 100, x - 145) < 14
    picture = photo(part, (0.5, 0.3, 0.2))
    picture[mask] = (0.05, 0.04, 0.04)
    picture[mask & (y > 106)] = (0.8, 0.7, 0.5)
    return picture, Defect(mask, part, (picture * 255).round().astype(np.uint8))


Move = Callable[..., Transplant]


@pytest.fixture
def move(broken: tuple[np.ndarray, Defect]) -> Move:
    picture, defect = broken

    def moved(target: np.ndarray, part: np.ndarray, seed: int = 1, blend: BlendSettings | None = None, **how):
        motion = draw_motion(defect, part, np.random.default_rng(seed), MotionSettings(**how))
        box = landing_box(motion, defect.mask)
        return transplant(target, part, picture, defect.part, defect.mask, motion.back, box, motion.scale, blend)

    return partial(moved)


def test_the_label_is_on_the_part_and_nothing_else_is_touched(move):
    part = oval(angle=1.0)
    target = photo(part, (0.6, 0.35, 0.25), seed=3)
    for seed in range(8):
        done = move(target, part, seed)
        assert done.label.any() and (done.label & part).sum() >= 0.99 * done.label.sum()
        assert np.array_equal(done.image[~done.changed], target[~done.changed])
        near = ndimage.distance_transform_edt(~done.label)
        assert near[done.changed].max() <= 5, "only the label and its feather"


def test_the_label_covers_exactly_the_pixels_of_the_moved_defect(move):
    """Dark and light pixels are the defect's alone, so the label can be read off the picture."""
    part = oval(angle=-0.6)
    done = move(photo(part, (0.5, 0.3, 0.2), grain=0.0), part, 2, BlendSettings(feather=0.0, grain=0.0))
    tone = ndimage.uniform_filter(done.image.mean(-1), 1)
    seen = part & ((tone < 0.2) | (tone > 0.5))
    overlap = (seen & done.label).sum() / (seen | done.label).sum()
    assert overlap > 0.93


def test_the_same_seed_gives_the_same_bytes(move):
    part = oval()
    target = photo(part, (0.5, 0.3, 0.2))
    one, again, other = (move(target, part, seed).image.tobytes() for seed in (4, 4, 5))
    assert one == again != other


def test_at_its_own_place_it_keeps_its_place_in_the_part_s_frame(broken):
    """A part that is turned by a third and half as large: the defect goes where it was on its own."""
    _, defect = broken
    part = oval(200, 260, angle=2.0, size=0.2)
    settings = MotionSettings(SAME_PLACE, shift=0.0, turn=0.0, smallest=1, largest=1, jitter=0, keep_light=False)
    here, there = part_frame(defect.part), part_frame(part)
    middle = np.argwhere(defect.mask).mean(axis=0)
    away = np.hypot(*(middle - here.centre)) / here.radius
    for seed in range(4):
        motion = draw_motion(defect, part, np.random.default_rng(seed), settings)
        label = moved_mask(defect.mask, motion.back, part.shape, landing_box(motion, defect.mask))
        found = np.hypot(*(np.argwhere(label).mean(axis=0) - there.centre)) / there.radius
        assert found == pytest.approx(away, abs=0.06)
        assert label.sum() == pytest.approx(defect.mask.sum() * (there.radius / here.radius) ** 2, rel=0.12)


@pytest.mark.parametrize("blend", BLENDS)
def test_light_and_colour_come_from_the_new_surroundings_and_black_stays_black(move, blend):
    """A mask drawn too widely brings a collar of its own surface along: it must vanish in the new one."""
    part = oval()
    target = photo(part, (0.75, 0.6, 0.45), light=0.25, grain=0.004)
    done = move(target, part, 3, BlendSettings(blend))
    near = ndimage.distance_transform_edt(~done.label)
    collar = done.changed & (near > 1.5) & (near < 3)
    assert np.abs(done.image - target)[collar].mean() < 0.03
    assert np.percentile(done.image[done.label].mean(-1), 10) < 0.12


def test_other_material_at_the_new_place_does_not_dye_the_defect(move):
    """The egg has a greenish end; a light rim moved onto it stays about as yellow (1.14) as it was, not 0.70."""
    part = oval()
    target = photo(part, (0.5, 0.3, 0.2), grain=0.004)
    target[:, 125:][part[:, 125:]] *= (0.8, 1.3, 1.3)
    done = move(target, part, 3, place=SAME_PLACE, turn=0.0, mirror=False, shift=0.0)
    rim = done.image[done.label & (done.image.mean(-1) > 0.5)]
    assert len(rim) > 20 and np.median(rim[:, 0] / rim[:, 1]) > 0.9


def test_without_matching_the_pixels_come_as_they_are(move, broken):
    part = oval()
    done = move(photo(part, (0.75, 0.6, 0.45)), part, 3, BlendSettings(match=0.0, grain=0.0))
    near = ndimage.distance_transform_edt(~done.label)
    assert done.image[done.changed & (near == 1)].mean() < 0.5, "the collar is as dark as its own part"


def test_grain_is_kept_where_a_small_defect_was_enlarged(move):
    part = oval()
    target = photo(part, (0.5, 0.3, 0.2), grain=0.03, seed=5)
    fine = [
        move(target, part, 1, BlendSettings(grain=amount, feather=6.0), smallest=2.0, largest=2.0, jitter=0.0)
        for amount in (0.0, 1.0)
    ]
    inner = [ndimage.binary_erosion(done.label, iterations=4) for done in fine]
    rough = [
        np.median(np.abs((done.image - ndimage.gaussian_filter(done.image, (1.2, 1.2, 0)))[where]))
        for done, where in zip(fine, inner, strict=True)
    ]
    assert rough[1] > 1.2 * rough[0]


def test_the_lit_side_stays_on_its_side(broken):
    _, defect = broken
    before = inner_shading(defect.mask, defect.photo)
    assert before is not None and before[0] > 0.9, "the light rim is below"
    for seed in range(12):
        motion = draw_motion(defect, oval(), np.random.default_rng(seed), MotionSettings(turn=180))
        ends = motion.forth(np.array([[100.0, 145.0], [110.0, 145.0]]))
        towards = (ends[1] - ends[0]) / np.hypot(*(ends[1] - ends[0]))
        assert towards[0] > 0.2


def test_a_mirrored_or_bent_mask_has_one_piece_and_its_size(broken):
    _, defect = broken
    for seed in range(6):
        motion = draw_motion(defect, oval(), np.random.default_rng(seed), MotionSettings(jitter=0.08))
        label = moved_mask(defect.mask, motion.back, (SIDE, SIDE), landing_box(motion, defect.mask))
        assert ndimage.label(label)[1] == 1
        assert label.sum() == pytest.approx(defect.mask.sum() * motion.scale**2, rel=0.35)


def test_photos_of_different_sizes_are_no_matter(move):
    part = oval(150, 320, size=0.3)
    done = move(photo(part, (0.5, 0.4, 0.3)), part, 2)
    assert done.image.shape == (150, 320, 3) and done.label.any()


def test_a_defect_on_a_texture_stays_upright_and_inside(broken):
    _, defect = broken
    whole = Defect(defect.mask, np.ones((SIDE, SIDE), bool))
    for seed in range(6):
        motion = draw_motion(whole, np.ones((SIDE, SIDE), bool), np.random.default_rng(seed), MotionSettings(turn=0))
        assert abs(np.sin(motion.angle)) < 1e-6
        label = moved_mask(defect.mask, motion.back, (SIDE, SIDE), landing_box(motion, defect.mask))
        assert not (label[0].any() or label[-1].any() or label[:, 0].any() or label[:, -1].any())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"smallest": 3.0, "largest": 1.0}, "smallest <= largest"),
        ({"place": "elsewhere"}, "expected one of 'its own place'"),
        ({"turn": 400.0}, "turn 0 to 180"),
    ],
)
def test_wrong_settings_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        MotionSettings(**change)


def test_an_empty_mask_a_wrong_part_and_a_defect_too_large_are_refused(broken):
    _, defect = broken
    with pytest.raises(ValueError, match="mask is empty"):
        Defect(np.zeros((SIDE, SIDE), bool), defect.part)
    with pytest.raises(ValueError, match="240x240 px but the mask of its part 100x100"):
        Defect(defect.mask, np.ones((100, 100), bool))
    with pytest.raises(NoPlaceError, match="object mask is empty"):
        draw_motion(defect, np.zeros((SIDE, SIDE), bool), np.random.default_rng(0))
    with pytest.raises(NoPlaceError, match="off its own part"):
        draw_motion(Defect(~defect.part, defect.part), defect.part, np.random.default_rng(0))
    large = Defect(defect.part, defect.part)
    with pytest.raises(NoPlaceError, match="larger than the part"):
        draw_motion(large, oval(), np.random.default_rng(0), MotionSettings(smallest=2.0, largest=2.0))


def test_a_defect_that_fits_nowhere_says_why(broken):
    _, defect = broken
    barred = np.ones((SIDE, SIDE), bool)
    with pytest.raises(NoPlaceError, match="after 64 tries"):
        draw_motion(defect, oval(), np.random.default_rng(0), MotionSettings(ANYWHERE), keep_out=barred)


def test_a_drawn_out_defect_keeps_its_area_and_gets_longer(broken):
    _, defect = broken
    settings = MotionSettings(stretch=6.0, jitter=0.0, smallest=0.8, largest=0.8)
    longest = 0.0
    for seed in range(6):
        motion = draw_motion(defect, oval(), np.random.default_rng(seed), settings)
        label = moved_mask(defect.mask, motion.back, (SIDE, SIDE), landing_box(motion, defect.mask))
        assert label.sum() == pytest.approx(defect.mask.sum() * motion.scale**2, rel=0.1)
        assert part_frame(label).elongation == pytest.approx(motion.stretch[0], rel=0.15)
        longest = max(longest, motion.stretch[0])
    assert longest > 1.4
    with pytest.raises(ValueError, match="stretch: expected 1 to 10"):
        MotionSettings(stretch=0.5)


def cracks_of(done: Transplant, part: np.ndarray, target: np.ndarray, seed: int, most: int = 3) -> np.ndarray:
    photo_ = (target * 255).round().astype(np.uint8)
    return crack_lines(done.label, part, photo_, np.random.default_rng(seed), most)


def test_cracks_leave_the_defect_on_the_part_and_are_labelled_where_they_show(move):
    part = oval(angle=0.4)
    target = photo(part, (0.6, 0.35, 0.25), seed=3)
    done = move(target, part, 2)
    grown = 0
    for seed in range(6):
        lines = cracks_of(done, part, target, seed)
        assert not (lines & ~part).any() and not (lines & done.label).any()
        after = cracked(done, lines, seed)
        assert np.array_equal(after.image[~after.changed], target[~after.changed])
        assert np.array_equal(after.image[done.label], done.image[done.label]), "the moved pixels stay"
        assert (after.label | ~done.label).all()
        dark = after.image.mean(-1) < done.image.mean(-1) - 0.1
        assert (after.label & dark).sum() > 0.8 * dark.sum()
        grown += after.label.sum() > 1.05 * done.label.sum()
    assert grown >= 3


def test_without_cracks_a_transplant_is_as_it_was(move):
    part = oval()
    target = photo(part, (0.5, 0.3, 0.2))
    done = move(target, part, 3)
    assert not cracks_of(done, part, target, 1, most=0).any()
    assert cracked(done, np.zeros(part.shape, bool), 1) is done
