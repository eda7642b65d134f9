"""Views of a defect: as a workflow crops it, varied, and never without all of the defect."""

from __future__ import annotations

import numpy as np
import pytest
from defectforge.nodes.algorithms.compositing.crops import Window
from defectforge.runner.lora.views import moved_to, varied, view, window_of


def disc(height: int, width: int, y: int, x: int, radius: int) -> np.ndarray:
    rows, columns = np.ogrid[:height, :width]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


MASKS = {
    "in the middle": disc(200, 240, 100, 120, 12),
    "in the corner": disc(200, 240, 6, 233, 5),
    "two far apart": disc(200, 240, 60, 40, 8) | disc(200, 240, 150, 150, 8),
    "a scratch": np.eye(200, 240, 20, dtype=bool),
    "tiny": disc(200, 240, 150, 30, 1),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_every_view_holds_all_of_the_defect(mask: np.ndarray) -> None:
    window, denoise = window_of(mask, 64)
    places = {window, *(varied(window, denoise, np.random.default_rng(i)) for i in range(40))}
    assert len(places) > 1 or window.width == 200, "only the largest square cannot be elsewhere"
    for place in places:
        assert place.width == place.height
        assert place.x >= 0 and place.x + place.width <= 240 and place.y >= 0 and place.y + place.height <= 200
        assert mask[place.rows, place.columns].sum() == mask.sum()


def test_a_defect_longer_than_the_photo_is_high_gets_the_largest_square() -> None:
    mask = np.zeros((60, 300), bool)
    mask[30, 10:290] = True
    window, _ = window_of(mask, 64)
    assert (window.width, window.height) == (60, 60)


def test_a_view_turns_picture_and_mask_alike() -> None:
    mask = disc(64, 64, 20, 44, 6)
    pixels = np.repeat(np.where(mask, 255, 0).astype(np.uint8)[..., None], 3, 2)
    turned = set()
    for seed in range(24):
        picture, area = view(pixels, mask, Window(0, 0, 64, 64), 64, np.random.default_rng(seed), turns=True)
        assert np.abs(picture[..., 0].numpy() - area.numpy()).max() < 0.1
        turned.add(tuple(np.argwhere(area.numpy() > 0.5).mean(0) > 32))
    assert len(turned) == 4
    still = [view(pixels, mask, Window(0, 0, 64, 64), 64, np.random.default_rng(s), turns=False)[1] for s in range(4)]
    assert all((area == still[0]).all() for area in still)


def test_the_same_place_on_a_larger_photo() -> None:
    assert moved_to(Window(10, 20, 40, 40), (100, 100), (200, 200)) == Window(20, 40, 80, 80)
    assert moved_to(Window(60, 60, 40, 40), (100, 100), (50, 80)) == Window(54, 30, 20, 20)
