"""Cutting masks: the drawn area comes back from every encoding, and what is no mask is refused or warned about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from defectforge.nodes.datasets.errors import ReadError
from defectforge.nodes.datasets.masks import Mask, read_masks
from PIL import Image, ImageFilter

SIZE = (80, 60)


def cut(*paths: Path, orientation: int = 1, stored: tuple[int, int] = SIZE) -> Mask:
    return read_masks(paths, Path("photo.png"), stored, orientation)


def grey(area: np.ndarray, high: int = 255, low: int = 0, dtype: type = np.uint8) -> np.ndarray:
    return np.where(area, high, low).astype(dtype)


def coloured(area: np.ndarray, on: tuple[int, int, int], ground: tuple[int, int, int]) -> np.ndarray:
    return np.where(area[..., None], on, ground).astype(np.uint8)


@pytest.mark.parametrize(("high", "low"), [(255, 0), (1, 0), (3, 0), (200, 0), (255, 128), (40, 10), (254, 1)])
def test_a_hard_mask_is_cut_exactly_whatever_its_levels(save, area, high, low):
    mask = cut(save("mask.png", grey(area, high, low)))
    assert np.array_equal(mask.area, area)
    assert mask.notes == () or "numbers of kinds" in mask.notes[0]


@pytest.mark.parametrize(
    ("levels", "suffix"),
    [(1, "png"), (4095, "png"), (65535, "tif"), (65535, "png")],
)
def test_16_bits_are_cut_as_8_are(save, area, levels, suffix):
    assert np.array_equal(cut(save(f"mask.{suffix}", grey(area, levels, 0, np.uint16))).area, area)


@pytest.mark.parametrize(("dtype", "high"), [(np.float32, 1.0), (np.float32, 255.0), (np.int32, 70000), (bool, 1)])
def test_floats_32_bits_and_one_bit_are_cut_as_well(save, area, dtype, high):
    assert np.array_equal(cut(save("mask.tif", grey(area, high, 0, dtype))).area, area)


@pytest.mark.parametrize("radius", [1, 2, 4])
def test_a_feathered_mask_has_the_drawn_area(save, radius):
    y, x = np.mgrid[:200, :200]
    drawn = np.hypot(y - 100, x - 90) <= 40
    soft = Image.fromarray(grey(drawn)).filter(ImageFilter.GaussianBlur(radius))
    mask = cut(save("mask.png", soft), stored=(200, 200))
    assert mask.area.sum() == pytest.approx(drawn.sum(), rel=0.01)


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_mask_has_the_drawn_area(save, area, quality, mode):
    mask = cut(save("mask.jpg", Image.fromarray(grey(area)).convert(mode), quality=quality))
    assert mask.area.sum() == pytest.approx(area.sum(), rel=0.01)


@pytest.mark.parametrize(
    ("on", "ground"),
    [
        ((255, 0, 0), (0, 0, 0)),
        ((0, 0, 128), (0, 0, 0)),
        ((255, 0, 0), (255, 255, 255)),
        ((0, 0, 0), (0, 200, 0)),
        ((90, 140, 200), (200, 140, 90)),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_a_colour_is_the_defect_and_the_ground_is_not(save, area, on, ground, mode):
    picture = Image.fromarray(coloured(area, on, ground))
    if mode == "P":
        picture = Image.fromarray(area.astype(np.uint8))
        picture.putpalette([*ground, *on])
    mask = cut(save("mask.png", picture))
    wanted = ~area if on == (0, 0, 0) else area
    assert np.array_equal(mask.area, wanted) or np.array_equal(mask.area, area)
    if np.array_equal(mask.area, ~area):
        assert "inverted" in " ".join(mask.notes), "a black defect on a colour may be taken wrong, but not in silence"


def test_kinds_of_defect_all_count_in_numbers_palettes_and_colours(save, area):
    kinds = area.astype(np.uint8)
    kinds[2:8, 2:8] = 7
    wanted = kinds > 0
    palette = Image.fromarray(kinds)
    palette.putpalette([0, 0, 0, 200, 0, 0, *[0, 0, 0] * 5, 0, 90, 0])
    colours = coloured(area, (200, 0, 0), (0, 0, 0))
    colours[2:8, 2:8] = (0, 60, 0)
    for name, picture in (("numbers", kinds), ("palette", palette), ("colours", colours)):
        assert np.array_equal(cut(save(f"{name}.png", picture)).area, wanted), name
    assert "numbers of kinds" in cut(save("numbers.png", kinds)).notes[0]


def test_a_palette_of_greys_goes_by_its_levels_not_by_their_order(save, area):
    picture = Image.fromarray((~area).astype(np.uint8))
    picture.putpalette([255, 255, 255, 0, 0, 0])
    assert np.array_equal(cut(save("mask.png", picture)).area, area)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_the_area_in_the_alpha_channel_is_found(save, area, mode):
    alpha = Image.fromarray(grey(area))
    picture = Image.new(mode.replace("A", ""), SIZE, "white" if mode == "LA" else "red")
    picture.putalpha(alpha)
    assert np.array_equal(cut(save("mask.png", picture)).area, area)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_alpha_channel_that_says_nothing_is_left_aside(save, area, mode):
    picture = Image.fromarray(grey(area)).convert(mode)
    assert np.array_equal(cut(save("mask.png", picture)).area, area)


@pytest.mark.parametrize("level", [0, 1, 255])
@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1", "RGBA"])
def test_a_mask_of_one_level_is_refused(save, level, mode):
    with pytest.raises(ReadError, match=r"mask\.png (marks nothing|has one level throughout)") as caught:
        cut(save("mask.png", Image.new("L", SIZE, level).convert(mode)))
    assert caught.value.code == "data.mask_constant"


def test_a_label_over_half_of_the_photo_is_warned_about(save, area):
    assert "marks 90% of the photo" in cut(save("mask.png", grey(~area))).notes[0]


def test_a_photo_in_the_place_of_a_mask_is_warned_about(save):
    shades = np.linspace(0, 255, 80 * 60).astype(np.uint8).reshape(60, 80)
    assert "shades between black and white" in cut(save("mask.png", shades)).notes[0]


def test_several_masks_are_one(save, area):
    other = np.zeros_like(area)
    other[2:8, 2:8] = True
    assert np.array_equal(cut(save("0.png", grey(area)), save("1.png", grey(other, 254))).area, area | other)


@pytest.mark.parametrize(("orientation", "back"), [(5, 5), (6, 8), (7, 7), (8, 6)])
def test_a_mask_of_the_stored_size_is_turned_and_an_upright_one_is_not(save, area, orientation, back):
    from defectforge.nodes.datasets.pictures import turned

    stored = turned(area, back)
    for name, drawn in (("stored", stored), ("upright", area)):
        mask = cut(save(f"{name}.png", grey(drawn)), orientation=orientation, stored=(60, 80))
        assert np.array_equal(mask.area, area), name
        assert mask.notes == ()


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_where_the_size_does_not_tell_the_assumption_is_said(save, area, orientation):
    mask = cut(save("mask.png", grey(area)), orientation=orientation)
    assert np.array_equal(mask.area, area)
    assert "taken as upright" in mask.notes[0]


def test_a_mask_with_an_orientation_of_its_own_follows_it(save, area):
    exif = Image.Exif()
    exif[0x0112] = 3
    mask = cut(save("mask.png", grey(area[::-1, ::-1]), exif=exif), orientation=3)
    assert np.array_equal(mask.area, area)
    assert mask.notes == ()


def test_a_mask_of_another_size_is_refused_with_both_sizes(save, area):
    with pytest.raises(ReadError, match=r"is 40x30 px but its photo photo\.png is 80x60 px"):
        cut(save("mask.png", grey(area)[::2, ::2]))
