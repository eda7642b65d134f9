"""Working crops: enough latent cells, inside the photo, and back without touching a pixel outside the mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from defectforge.nodes.algorithms.compositing.crops import (
    LEAST_DIAMETERS,
    Stitch,
    Window,
    crop,
    crop_mask,
    hole_diameter,
    stitch,
    stitch_one,
    whole_photo,
    window_around,
    working_size,
)
from defectforge.nodes.algorithms.masks import grow_and_feather
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt


def box_mask(height: int, width: int, y: int, x: int, h: int, w: int) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[y : y + h, x : x + w] = True
    return mask


def spot(height: int, width: int, cy: int, cx: int, radius: float) -> np.ndarray:
    point = np.ones((height, width), bool)
    point[cy, cx] = False
    return distance_transform_edt(point) <= radius


def test_the_hole_spans_16_latent_cells_by_itself():
    label = spot(1024, 1024, 500, 600, 70)
    window = window_around(grow_and_feather(label, 6, 8), label, 512)
    cells = hole_diameter(label) / window.width * 512 / 8
    assert 15.9 < cells < 16.1
    assert window.width == window.height


def test_whole_photo_shows_why_small_masks_change_nothing():
    label = spot(1024, 1024, 500, 600, 70)
    window = whole_photo(1024, 1024)
    assert hole_diameter(label) / window.width * 512 / 8 < 9


def test_thin_cracks_do_not_count_as_the_hole_s_size():
    core = spot(400, 400, 200, 200, 30)
    cracked = core | box_mask(400, 400, 198, 60, 4, 300)
    assert hole_diameter(cracked) < 1.3 * hole_diameter(core)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(40, 200),
    st.integers(40, 200),
    st.data(),
    st.sampled_from([64, 128, 512]),
    st.sampled_from([0.0, 0.5, 1.0, 2.5, 9.0]),
)
def test_a_window_is_a_square_inside_the_photo_that_holds_the_mask(height, width, data, size, context):
    side = data.draw(st.integers(1, min(height, width)))
    y, x = data.draw(st.integers(0, height - side)), data.draw(st.integers(0, width - side))
    mask = box_mask(height, width, y, x, side, data.draw(st.integers(1, side)))
    window = window_around(mask.astype(np.float32), None, size, context)
    assert window.width == window.height <= min(height, width)
    assert 0 <= window.x <= width - window.width
    assert 0 <= window.y <= height - window.height
    assert mask[window.rows, window.columns].sum() == mask.sum()


@pytest.mark.parametrize(
    ("context", "expected"),
    [(1.0, Window(0, 10, 40, 40)), (2.0, Window(0, 0, 80, 80)), (100.0, Window(0, 0, 300, 300))],
)
def test_context_is_a_multiple_of_the_mask_and_stops_at_the_photo(context, expected):
    assert window_around(box_mask(300, 500, 10, 10, 40, 20).astype(np.float32), None, 512, context) == expected


def test_a_mask_of_one_pixel_gets_a_crop():
    mask = box_mask(64, 64, 63, 0, 1, 1)
    window = window_around(mask.astype(np.float32), mask, 512)
    assert mask[window.rows, window.columns].any()


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (np.zeros((50, 60), np.float32), "mask is empty"),
        (np.ones((50, 60), np.float32), "60x50 px .* longer than the short side"),
    ],
)
def test_masks_without_a_crop_are_refused_with_a_way_out(mask, says):
    with pytest.raises(ValueError, match=says) as caught:
        window_around(mask, None, 512)
    assert "whole photo" in str(caught.value)


@pytest.mark.parametrize(
    ("window", "size", "expected"),
    [
        (Window(0, 0, 900, 900), 512, (512, 512)),
        (Window(0, 0, 100, 100), 128, (128, 128)),
        (Window(0, 0, 1600, 800), 512, (384, 704)),
        (Window(0, 0, 300, 600), 128, (184, 88)),
    ],
)
def test_working_size_is_native_and_in_the_model_s_multiples(window, size, expected):
    assert working_size(window, size) == expected


def test_crops_are_cut_before_they_are_resized(photos):
    window = Window(10, 20, 32, 32)
    assert torch.equal(crop(photos[0], window, 32, 32), photos[0, 20:52, 10:42])
    assert crop(photos[0], window, 64, 64).shape == (64, 64, 3)
    assert crop_mask(torch.ones(96, 80), window, 64, 64).min() == pytest.approx(1.0)


@pytest.mark.parametrize("size", [16, 33, 64])
def test_outside_the_mask_every_pixel_is_the_source_s_bit_for_bit(photos, size):
    mask = torch.from_numpy(grow_and_feather(spot(96, 80, 40, 30, 6), 2, 5))
    window = window_around(mask.numpy(), None, 512)
    result = torch.rand(size, size, 3)
    out = stitch_one(photos[0], mask, window, result)
    assert torch.equal(out[mask == 0], photos[0][mask == 0])
    assert (out[mask == 1] != photos[0][mask == 1]).any()


def test_a_broken_decode_does_not_leak_past_the_mask(photos):
    mask = torch.zeros(96, 80)
    mask[30:40, 30:40] = 1
    out = stitch_one(photos[0], mask, Window(20, 20, 30, 30), torch.full((30, 30, 3), float("inf")))
    assert torch.equal(out[mask == 0], photos[0][mask == 0])


@pytest.mark.parametrize("fill", [0.0, 1.0], ids=["empty mask", "full mask"])
def test_an_empty_mask_changes_nothing_and_a_full_one_takes_the_result(photos, fill):
    result = torch.rand(96, 80, 3).mul(255).round() / 255
    out = stitch_one(photos[0], torch.full((96, 80), fill), whole_photo(96, 80), result)
    assert torch.allclose(out, result if fill else photos[0], atol=1e-6)


@pytest.mark.parametrize(("photo_count", "result_count"), [(2, 2), (1, 3), (2, 1)])
def test_batches_go_together_in_every_reasonable_number(photos, photo_count, result_count):
    mask = torch.zeros(photo_count, 96, 80)
    mask[:, 30:40, 30:40] = 1
    put_back = Stitch(photos[:photo_count], mask, (Window(20, 20, 30, 30),) * photo_count)
    results = torch.rand(result_count, 30, 30, 3)
    out = stitch(put_back, results)
    assert out.shape[0] == max(photo_count, result_count)
    for i in range(out.shape[0]):
        assert torch.equal(out[i, :30], photos[i % photo_count, :30])
        expected = results[i % result_count, 10:20, 10:20].mul(255).round() / 255
        assert torch.allclose(out[i, 30:40, 30:40], expected, atol=1 / 255)


def test_three_results_for_two_photos_are_refused(photos):
    put_back = Stitch(photos, torch.ones(2, 96, 80), (Window(0, 0, 10, 10),) * 2)
    with pytest.raises(ValueError, match="3 pictures came back for 2 crops"):
        stitch(put_back, torch.rand(3, 10, 10, 3))


@pytest.mark.parametrize(("size", "diameters"), [(512, 4.0), (768, 6.0), (128, LEAST_DIAMETERS)])
def test_a_small_model_still_sees_what_is_around_the_hole(size, diameters):
    """At 512 px a hole of 16 latent cells leaves four hole widths; at 128 px it would fill the whole picture."""
    mask = spot(1024, 1024, 500, 500, 40)
    window = window_around(mask.astype(np.float32), mask, size)
    assert window.width / hole_diameter(mask) == pytest.approx(diameters, rel=0.02)
