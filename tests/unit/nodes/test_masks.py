"""Masks of any form become one per picture; what does not fit is refused by name; growth and feather are bounded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from defectforge.nodes.algorithms.masks import as_mask_batch, binarise, bounding_box, grow_and_feather
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import distance_transform_edt


@pytest.mark.parametrize("shape", [(5, 7), (1, 5, 7), (1, 1, 5, 7), (3, 5, 7), (3, 1, 5, 7)])
def test_every_form_becomes_one_mask_for_each_picture(shape):
    mask = torch.rand(shape)
    batch = as_mask_batch(mask, 3, 5, 7)
    assert batch.shape == (3, 5, 7)
    assert torch.equal(batch, mask.reshape(-1, 5, 7).expand(3, 5, 7))


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((5, 8), "8x5 px but the picture is 7x5 px"),
        ((2, 5, 7), "2 masks for 3 pictures"),
        ((1, 3, 5, 7), r"got shape \[1, 3, 5, 7\]"),
        ((64, 64), "empty 64x64 mask that ComfyUI gives"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_mask_s_name(shape, says):
    with pytest.raises(ValueError, match=says) as caught:
        as_mask_batch(torch.zeros(shape), 3, 5, 7, "keep_out")
    assert str(caught.value).startswith("keep_out:")


def test_a_drawn_64x64_mask_is_a_size_mismatch_and_a_64x64_picture_may_have_an_empty_mask():
    with pytest.raises(ValueError, match="64x64 px but the picture is 7x5 px"):
        as_mask_batch(torch.ones(64, 64), 1, 5, 7)
    assert as_mask_batch(torch.zeros(64, 64), 1, 64, 64).sum() == 0


def test_values_outside_the_range_are_clamped_and_whole_number_masks_become_float():
    assert as_mask_batch(torch.tensor([[2, -1]]), 1, 1, 2).tolist() == [[[1.0, 0.0]]]


def test_binarise_takes_masks_that_only_look_white_for_white():
    assert binarise(torch.tensor([0.0, 0.49, 0.5, 0.98])).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("points", "box"),
    [([], None), ([(2, 3)], (2, 3, 3, 4)), ([(0, 0), (4, 6)], (0, 0, 5, 7)), ([(1, 5), (3, 2)], (1, 2, 4, 6))],
)
def test_bounding_box_has_exclusive_ends(points, box):
    mask = np.zeros((5, 7), bool)
    for point in points:
        mask[point] = True
    assert bounding_box(mask) == box


@settings(max_examples=40, deadline=None)
@given(
    arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24))),
    st.floats(0, 6),
    st.one_of(st.just(0.0), st.floats(0.5, 6)),
)
def test_denoise_mask_is_full_to_grow_and_zero_beyond_the_feather(label, grow, feather):
    denoise = grow_and_feather(label, grow, feather)
    assert denoise.shape == label.shape
    assert denoise.dtype == np.float32
    if not label.any():
        assert not denoise.any()
        return
    distance = distance_transform_edt(~label)
    assert (denoise[label] == 1).all()
    assert (denoise[distance <= grow * (1 - 1e-6)] == 1).all()
    assert (denoise[distance > (grow + feather) * (1 + 1e-6)] == 0).all()
    assert ((denoise >= 0) & (denoise <= 1)).all()


def test_the_feather_falls_steadily():
    label = np.zeros((1, 40), bool)
    label[0, 0] = True
    fade = grow_and_feather(label, 4, 10)[0, 4:15]
    assert (np.diff(fade) < 0).all()
    assert fade[5] == pytest.approx(0.5)


@pytest.mark.parametrize(("grow", "feather"), [(-1, 4), (4, -1)])
def test_negative_distances_are_refused(grow, feather):
    with pytest.raises(ValueError, match="cannot be negative"):
        grow_and_feather(np.ones((3, 3), bool), grow, feather)
