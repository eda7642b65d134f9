"""The label is what a viewer sees: the change and nothing else, whatever grain and light do."""

from __future__ import annotations

import numpy as np
import pytest
from defectforge.nodes.algorithms.compositing.visible import (
    VisibleRule,
    colour_distance,
    noise_floor,
    visible_change,
)
from scipy.ndimage import gaussian_filter

EVERYWHERE = np.ones((200, 200), bool)


def label_of(before, after, area=EVERYWHERE, rule=None, **more):
    return visible_change(colour_distance(before, after), area, rule, **more)


@pytest.mark.parametrize("radius", [4, 9, 25, 60])
@pytest.mark.parametrize("grain", [0.0, 0.02, 0.04])
def test_a_drawn_change_is_found_and_nothing_else(shell, with_hole, disc, iou, radius, grain):
    photo, hole = shell(grain=grain), disc(200, radius)
    found = label_of(photo, with_hole(photo, hole))
    # An outline that is smoothed over a pixel moves by a pixel: that weighs more in a small hole.
    assert iou(found, hole) >= (0.95 if radius >= 25 else 0.7)
    assert not (found & ~disc(200, radius + 3)).any()


@pytest.mark.parametrize("colour", [(0.9, 0.85, 0.8), (0.3, 0.5, 0.2), (0.35, 0.2, 0.1)])
def test_a_change_need_not_be_dark(shell, with_hole, disc, iou, colour):
    photo, spot = shell(), disc(200, 25)
    assert iou(label_of(photo, with_hole(photo, spot, colour)), spot) >= 0.93


def test_grain_is_not_taken_for_a_change(shell):
    photo = shell(grain=0.0)
    grainy = np.clip(photo + np.random.default_rng(1).normal(0, 0.05, photo.shape), 0, 1)
    assert np.median(colour_distance(photo, grainy, 0.0)) > 4, "one could not tell the rule from chance otherwise"
    assert not label_of(photo, grainy).any()


def test_a_shift_of_colour_over_the_whole_crop_is_below_its_own_floor(shell, with_hole, disc, iou):
    photo, hole = shell(), disc(200, 25)
    shifted = np.clip(with_hole(photo, hole) * 1.12 + 0.03, 0, 1)
    distance = colour_distance(photo, shifted)
    floor = noise_floor(distance, ~disc(200, 60))
    assert floor > 8, "the shift is visible by itself"
    assert not visible_change(colour_distance(photo, np.clip(photo * 1.12 + 0.03, 0, 1)), EVERYWHERE, floor=floor).any()
    assert iou(visible_change(distance, EVERYWHERE, floor=floor), hole) >= 0.9


@pytest.mark.parametrize("size", [0, 63])
def test_too_few_pixels_tell_no_floor(size):
    assert noise_floor(np.full(size, 50.0), np.ones(size, bool)) == 0.0


def test_a_faint_halo_around_a_deep_hole_is_cut(shell, with_hole, disc, iou):
    photo, hole = shell(grain=0.0), disc(200, 20)
    halo = np.clip(photo - 0.09 * gaussian_filter(disc(200, 32).astype(float), 2)[..., None], 0, 1)
    painted = with_hole(halo.astype(np.float32), hole)
    distance = colour_distance(photo, painted)
    assert (distance[disc(200, 28) & ~disc(200, 24)] > 8).all(), "the halo is above the edge"
    assert iou(label_of(photo, painted), hole) >= 0.85
    assert iou(label_of(photo, painted, rule=VisibleRule(edge_share=0.0)), hole) < 0.6


def test_what_is_faint_all_over_is_no_defect(shell, disc):
    photo = shell()
    faint = np.where(disc(200, 30)[..., None], photo * 0.9, photo)
    assert not label_of(photo, faint).any()
    assert label_of(photo, faint, rule=VisibleRule(edge=2.0, certain=4.0, smooth=2.0)).any()


def test_nothing_outside_the_area_counts(shell, with_hole, disc):
    photo = shell()
    two = with_hole(with_hole(photo, disc(200, 15, 50, 50)), disc(200, 15, 150, 150))
    area = disc(200, 30, 50, 50)
    found = label_of(photo, two, area)
    assert found.any() and not (found & ~area).any()


def test_crumbs_are_dropped_and_openings_filled(shell, with_hole, disc):
    photo = shell(grain=0.0)
    ring = disc(200, 30) & ~disc(200, 10)
    found = label_of(photo, with_hole(photo, ring | disc(200, 3, 20, 20)))
    assert found[100, 100], "what a hole surrounds belongs to it"
    assert not found[20, 20]
    assert label_of(photo, with_hole(photo, disc(200, 30) | disc(200, 14, 25, 25)))[25, 25], "two holes are two"


def test_specks_thinner_than_the_model_draws_are_shaved_off(shell, with_hole, disc):
    photo = shell(grain=0.0)
    tail = np.zeros((200, 200), bool)
    tail[99:101, 100:170] = True
    painted = with_hole(photo, disc(200, 25) | tail)
    assert label_of(photo, painted)[100, 160]
    assert not label_of(photo, painted, thinnest=8.0)[100, 140:].any()


def test_the_unchanged_picture_has_no_label(shell):
    assert not label_of(shell(), shell()).any()


@pytest.mark.parametrize(
    "values", [{"edge": 0.0}, {"edge": 20.0, "certain": 10.0}, {"edge_share": 1.0}, {"edge_share": -0.1}]
)
def test_rules_that_cannot_be_are_refused(values):
    with pytest.raises(ValueError, match="visible change"):
        VisibleRule(**values)


def test_pictures_of_two_sizes_are_refused(shell):
    with pytest.raises(ValueError, match="both must be the same"):
        colour_distance(shell(64), shell(65))
