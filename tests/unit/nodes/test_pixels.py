"""8-bit pixels survive the way through floats; overlays show the mask and leave the rest alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from defectforge.nodes.algorithms.overlay import COLOUR, overlay
from defectforge.nodes.algorithms.pixels import from_u8, resize, resize_mask, to_pil, to_u8


def test_every_level_comes_back_exactly():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(to_u8(from_u8(levels)), levels)


def test_going_back_rounds_instead_of_truncating():
    """One float step below a level is still that level; a plain cast would darken it."""
    level = torch.tensor([100 / 255])
    below = torch.nextafter(level, torch.zeros(1))
    assert to_u8(below).tolist() == [100]
    assert to_u8(torch.tensor([-0.5, 1.5])).tolist() == [0, 255]


def test_resizing_to_the_same_size_changes_nothing(photos):
    assert resize(photos[0], 96, 80).equal(photos[0])
    assert resize_mask(photos[0, ..., 0], 96, 80).equal(photos[0, ..., 0])


@pytest.mark.parametrize("size", [(48, 40), (131, 97), (1, 1)])
def test_resized_masks_stay_in_range_and_keep_flat_areas_flat(size):
    mask = torch.ones(64, 64)
    assert resize_mask(mask, *size).sub(1).abs().max() < 1e-5
    mask[:, :32] = 0
    resized = resize_mask(mask, *size)
    assert resized.shape == size
    assert 0 <= resized.min() <= resized.max() <= 1


def test_an_overlay_tints_the_mask_and_leaves_the_rest_of_the_photo(photos):
    mask = torch.zeros(2, 96, 80)
    mask[:, 30:50, 20:40] = 1
    shown = overlay(photos, mask)
    assert shown.shape == photos.shape
    assert torch.equal(shown[:, :25], photos[:, :25])
    assert torch.allclose(shown[:, 40, 30], photos[:, 40, 30] * 0.65 + torch.tensor(COLOUR) * 0.35)
    assert torch.allclose(shown[0, 29, 30], torch.tensor(COLOUR))


def test_an_empty_mask_shows_the_photo_itself(photos):
    assert torch.equal(overlay(photos, torch.zeros(2, 96, 80)), photos)


def test_pictures_and_tensors_convert_both_ways(photos):
    assert torch.equal(from_u8(np.asarray(to_pil(photos[0]))), photos[0])
