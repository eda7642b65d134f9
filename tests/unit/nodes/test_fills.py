"""Masked content as the web UI computes it: mask blur, latent mask, fill, noise, nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from defectforge.nodes.algorithms.compositing.fills import (
    LATENT_SCALE,
    MaskedContent,
    blur_mask,
    fill,
    fill_pixels,
    latent_mask,
    mismatch,
    noise_like,
    prepare,
    set_latent_content,
)
from PIL import Image


@pytest.fixture
def spot() -> np.ndarray:
    mask = np.zeros((96, 80), np.uint8)
    mask[40:60, 30:50] = 255
    return mask


def test_blur_4_reaches_10_px_and_no_further():
    mask = np.zeros((41, 41), np.uint8)
    mask[:, :20] = 255
    blurred = blur_mask(mask, 4.0)
    row = blurred[20].astype(int)
    assert (row[:10] == 255).all()
    assert row[10] < 255
    assert row[29] > 0
    assert (row[30:] == 0).all()
    assert (np.diff(row) <= 0).all()


def test_the_blur_is_a_truncated_gaussian_rounded_at_each_pass():
    """By hand: sigma 1 has 2 * int(3.0) + 1 = 7 taps; along x 255 * w, rounded, then along y."""
    mask = np.zeros((9, 9), np.uint8)
    mask[4, 4] = 255
    taps = np.exp(-(np.arange(-3, 4) ** 2) / 2)
    taps /= taps.sum()
    along_x = np.floor(255 * taps + 0.5)
    expected = np.floor(along_x[None, :] * taps[:, None] + 0.5)
    assert np.array_equal(blur_mask(mask, 1.0)[1:8, 1:8], expected)


def test_the_border_is_mirrored_without_repeating_its_pixel():
    mask = np.zeros((1, 9), np.uint8)
    mask[0, 1] = 255
    taps = np.exp(-(np.arange(-3, 4) ** 2) / 2)
    taps /= taps.sum()
    # Pixel 0 sees its neighbour 1 twice: once to the right, once mirrored.
    assert blur_mask(mask, 1.0)[0, 0] == np.floor(np.floor(255 * 2 * taps[2] + 0.5) + 0.5)


@pytest.mark.parametrize("mask", [np.zeros((5, 5), np.uint8), np.full((5, 5), 255, np.uint8)], ids=["zeros", "ones"])
def test_flat_masks_stay_flat(mask):
    assert np.array_equal(blur_mask(mask, 4.0), mask)


def test_no_blur_gives_the_mask_back(spot):
    assert blur_mask(spot, 0.0) is spot


@pytest.mark.parametrize(("level", "cell"), [(127, 0.0), (128, 1.0)])
def test_a_latent_cell_is_set_from_128_upwards(level, cell):
    assert latent_mask(np.full((16, 24), level, np.uint8), 2, 3).tolist() == [[cell] * 3] * 2


def test_latent_mask_is_binary_and_where_the_mask_is(spot):
    cells = latent_mask(spot, 12, 10)
    assert set(np.unique(cells)) == {0.0, 1.0}
    rows, columns = np.nonzero(cells)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 7 if cells[7].any() else 6, 4, 5)


def test_fill_keeps_what_is_not_masked_and_takes_the_hole_from_its_surroundings(photos, spot):
    picture = torch.full((96, 80, 3), 60 / 255)
    picture[40:60, 30:50] = 1.0
    filled = fill_pixels(picture, spot)
    assert torch.equal(filled[spot == 0], picture[spot == 0])
    # A flat surrounding fills flat, to the few levels that 8-bit premultiplied blurs lose; no white leaks.
    assert (filled[spot > 0] - 60 / 255).abs().max() <= 4.5 / 255
    assert torch.equal(fill_pixels(photos[0], spot)[spot == 0], photos[0][spot == 0])


def test_fill_is_coarse_to_fine_the_rim_of_the_hole_looks_like_its_neighbour():
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 16:48] = 255
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, 48:] = 200
    filled = np.asarray(fill(Image.fromarray(picture), mask))[32, :, 0].astype(int)
    assert filled[16] < 40
    assert filled[47] > 160
    assert filled[16] < filled[31] < filled[47]


def test_filling_the_whole_picture_leaves_nothing_to_fill_from(photos):
    assert not fill_pixels(photos[0], np.full((96, 80), 255, np.uint8)).any()


@pytest.mark.parametrize("content", list(MaskedContent))
def test_an_empty_mask_changes_no_pixel(photos, content):
    picture, blurred = prepare(photos[0], torch.zeros(96, 80), content, 4.0)
    assert torch.equal(picture, photos[0])
    assert not blurred.any()


@pytest.mark.parametrize("content", list(MaskedContent))
def test_all_contents_but_original_start_from_filled_pixels(photos, spot, content):
    picture, blurred = prepare(photos[0], torch.from_numpy(spot / 255), content, 2.0)
    changed = (picture != photos[0]).any(dim=-1).numpy()
    assert changed.any() == (content is not MaskedContent.ORIGINAL)
    assert not changed[blurred == 0].any()


def latent_and_mask(batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    latent = torch.randn(batch, 4, 6, 5, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(batch, 1, 6, 5)
    mask[:, :, 2:4, 1:3] = 1
    return latent, mask


def test_latent_noise_is_unit_noise_in_the_sampler_s_units_and_only_under_the_mask():
    latent, mask = latent_and_mask(1)
    out = set_latent_content(latent, mask, MaskedContent.LATENT_NOISE, seed=7)
    inside = mask.bool().expand_as(out)
    assert torch.equal(out[~inside], latent[~inside])
    noise = torch.randn(1, 4, 6, 5, generator=torch.Generator().manual_seed(7))
    assert torch.allclose(out[inside] * LATENT_SCALE, noise[inside], atol=1e-6)


def test_latent_nothing_is_zero_under_the_mask_only():
    latent, mask = latent_and_mask()
    out = set_latent_content(latent, mask, MaskedContent.LATENT_NOTHING, seed=7)
    inside = mask.bool().expand_as(out)
    assert (out[inside] == 0).all()
    assert torch.equal(out[~inside], latent[~inside])


@pytest.mark.parametrize("content", [MaskedContent.FILL, MaskedContent.ORIGINAL])
def test_fill_and_original_keep_the_encoded_latent(content):
    latent, mask = latent_and_mask()
    assert torch.equal(set_latent_content(latent, mask, content, seed=7), latent)


def test_a_picture_s_noise_does_not_depend_on_its_batch_and_not_on_the_global_generator():
    latent = torch.zeros(3, 4, 6, 5)
    torch.manual_seed(1)
    batch = noise_like(latent, 40)
    state = torch.random.get_rng_state()
    for index in range(3):
        torch.manual_seed(index)
        assert torch.equal(batch[index], noise_like(latent[:1], 40 + index)[0])
    torch.manual_seed(1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(batch[0], batch[1])


def test_the_largest_seed_wraps_around_instead_of_failing():
    assert torch.equal(noise_like(torch.zeros(2, 4, 2, 2), 2**64 - 1)[1], noise_like(torch.zeros(1, 4, 2, 2), 0)[0])


@pytest.mark.parametrize(
    ("content", "denoise", "suits"),
    [
        (MaskedContent.ORIGINAL, 0.75, True),
        (MaskedContent.ORIGINAL, 0.1, False),
        (MaskedContent.FILL, 0.75, True),
        (MaskedContent.FILL, 0.3, False),
        (MaskedContent.LATENT_NOISE, 1.0, True),
        (MaskedContent.LATENT_NOISE, 0.75, False),
        (MaskedContent.LATENT_NOTHING, 1.0, True),
        (MaskedContent.LATENT_NOTHING, 0.5, False),
        (MaskedContent.FILL, 1.5, False),
    ],
)
def test_a_denoise_that_does_not_suit_the_content_is_said(content, denoise, suits):
    said = mismatch(content, denoise)
    assert (said is None) == suits
    if said is not None:
        assert f"{denoise:g}" in said
