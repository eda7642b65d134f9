"""Large photos, oblong parts, small masks: what runs, what fits, and the real mend where it does not."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from defectforge.nodes.algorithms.compositing.oblong import is_too_long, window_along
from defectforge.nodes.algorithms.overlay import SHOWN_SIDE, overlay, shown
from defectforge.nodes.algorithms.pixels import reduced, to_pil, to_u8
from defectforge.nodes.algorithms.placement import holes
from defectforge.nodes.algorithms.placement.holes import HoleSettings, NoPlaceError, place_holes
from defectforge.nodes.inpaint_nodes import DefectForgeCropForDefect, DefectForgeMaskedContent, DefectForgeStitch
from defectforge.nodes.mask_nodes import DefectForgeObjectMask, DefectForgePlaceHoleMask
from scipy import ndimage


def bar(height: int, width: int, share: float = 0.8) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (np.abs(y - height / 2) <= share * height / 2) & (np.abs(x - width / 2) <= share * width / 2)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("count", "shape"), [(3, (100, 600)), (5, (120, 1200)), (4, (700, 90))])
def test_several_holes_find_a_place_on_an_oblong_part(seed, count, shape):
    settings = HoleSettings(count=count, min_size=0.01, max_size=0.05, max_cracks=0)
    label = place_holes(bar(*shape), seed, settings=settings).label
    assert ndimage.label(label)[1] == count


def test_holes_that_lie_in_each_other_s_way_are_placed_anew(monkeypatch):
    """Five holes fit on this bar, but a first one in the middle may leave no room for the fifth."""
    settings = HoleSettings(count=5, min_size=0.05, max_size=0.08, max_cracks=0, tries=16)

    def fitting(seed: int) -> bool:
        try:
            return bool(ndimage.label(place_holes(bar(100, 400), seed, settings=settings).label)[1] == settings.count)
        except NoPlaceError:
            return False

    with monkeypatch.context() as patch:
        patch.setattr(holes, "_ARRANGEMENTS", 1)
        assert sum(fitting(seed) for seed in range(12)) < 12, "otherwise this test shows nothing"
    assert all(fitting(seed) for seed in range(12))


def test_too_many_holes_say_how_many_fit_and_too_large_ones_how_large():
    with pytest.raises(NoPlaceError, match=r"Only \d+ of 20 holes fit.*take a count of \d+") as caught:
        place_holes(bar(100, 300), 0, settings=HoleSettings(count=20, min_size=0.04, max_size=0.05))
    assert 1 <= caught.value.fitted < 20
    with pytest.raises(NoPlaceError, match=r"more than about 0\.0\d+ of the part fits nowhere"):
        place_holes(bar(40, 1200), 0, settings=HoleSettings(min_size=0.2, max_size=0.3))


def test_a_part_too_small_for_a_hole_is_not_told_to_make_it_smaller():
    with pytest.raises(
        NoPlaceError, match=r"raise the sizes to 0\.\d+ at least, or take photos on which the part is larger"
    ):
        place_holes(bar(40, 40, 0.4), 0, settings=HoleSettings(min_size=0.005, max_size=0.01))


def test_on_a_long_strip_the_holes_stay_within_one_crop():
    settings = HoleSettings(count=3, min_size=0.001, max_size=0.004, max_cracks=0)
    for seed in range(4):
        label = place_holes(bar(300, 3000), seed, settings=settings).label
        columns = np.flatnonzero(label.any(axis=0))
        assert np.ptp(columns) < 300
        assert ndimage.label(label)[1] == 3


@pytest.mark.parametrize("shape", [(100, 600), (600, 100)])
def test_a_mask_that_no_square_holds_gets_an_oblong_crop(embedded_host, shape):
    denoise = np.zeros(shape, np.float32)
    denoise[40:50, 40:50] = 1
    denoise[shape[0] - 50 : shape[0] - 40, shape[1] - 50 : shape[1] - 40] = 1
    assert is_too_long(denoise)
    window = window_along(denoise)
    assert min(window.width, window.height) == 100
    assert denoise[window.rows, window.columns].sum() == denoise.sum()
    photo = torch.rand(1, *shape, 3)
    crop = DefectForgeCropForDefect.execute(photo, torch.from_numpy(denoise)[None], 512, "around the mask", 0.0).args
    assert crop[0].shape[1] % 64 == crop[0].shape[2] % 64 == 0
    back = DefectForgeStitch.execute(crop[3], 1 - crop[0]).args[0]
    outside = torch.from_numpy(denoise == 0)
    assert torch.equal(back[0][outside], photo[0][outside])


def test_a_mask_that_sets_no_latent_cell_is_refused_with_the_real_mend(embedded_host):
    mask = torch.zeros(1, 128, 128)
    mask[0, 60:62, 60:62] = 1
    vae = SimpleNamespace(encode=lambda pixels: torch.zeros(1, 4, 16, 16))
    with pytest.raises(ValueError, match=r"2x2 px, in a crop of 128x128 px.*smaller than the model can draw") as caught:
        DefectForgeMaskedContent.execute(torch.rand(1, 128, 128, 3), mask, vae, "latent noise", 0, 1.0, 4.0)
    for mend in ("Crop for Defect", "around the mask", "larger size", "mask_blur", "larger hole"):
        assert mend in str(caught.value)
    mask[0, 50:70, 50:70] = 1
    DefectForgeMaskedContent.execute(torch.rand(1, 128, 128, 3), mask, vae, "latent noise", 0, 1.0, 4.0)


def test_a_large_photo_is_looked_at_reduced_and_masked_at_full_size(embedded_host):
    part = bar(1500, 3000, 0.5)
    photo = torch.from_numpy(np.where(part[..., None], [0.6, 0.3, 0.2], [0.1, 0.1, 0.1]).astype(np.float32))[None]
    mask, confidence, looked_at = DefectForgeObjectMask.execute(photo, 1.0, 1.0, 0.5, "stop with an error").args
    assert mask.shape == (1, 1500, 3000)
    assert np.mean((mask[0].numpy() > 0) != part) < 0.005
    assert confidence > 0.9
    assert max(looked_at.shape[1:3]) <= SHOWN_SIDE
    label, denoise, _ = DefectForgePlaceHoleMask.execute(photo, mask, 1, 1, 0.01, 0.03, 2, 0.3, 64, 6.0, 8.0).args
    assert label.shape == denoise.shape == (1, 1500, 3000)
    assert (label[0].numpy() > 0)[~part].sum() < 0.02 * label.sum()


def test_up_to_2048_px_what_is_shown_is_the_photo_itself():
    photo, mask = torch.rand(1, 64, 96, 3), torch.zeros(1, 64, 96)
    mask[0, 10:20, 10:20] = 1
    assert reduced(photo, 96) is photo
    assert torch.equal(shown(photo, mask), overlay(photo, mask))


def test_a_reduced_copy_is_the_mean_of_squares():
    photo = torch.rand(2, 7, 11, 3)
    small = reduced(photo, 4)
    assert small.shape == (2, 2, 3, 3)
    assert torch.allclose(small[:, 1, 2], photo[:, 3:6, 6:9].mean(dim=(1, 2)))


def test_strips_make_no_difference():
    photo = torch.rand(1300, 20, 3) * 1.2 - 0.1
    assert np.array_equal(np.asarray(to_pil(photo)), to_u8(photo))
    assert np.array_equal(to_u8(photo), (photo * 255).round().clamp(0, 255).byte().numpy())
