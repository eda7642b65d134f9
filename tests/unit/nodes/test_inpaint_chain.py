"""From photo to stitched picture through the nodes themselves, with an average-pooling VAE in the model's place."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from defectforge.nodes import host
from defectforge.nodes.inpaint_nodes import AROUND_MASK, WHOLE_PHOTO
from defectforge.nodes.inpaint_nodes import DefectForgeCropForDefect as Crop
from defectforge.nodes.inpaint_nodes import DefectForgeMaskedContent as Content
from defectforge.nodes.inpaint_nodes import DefectForgeStitch as Put
from defectforge.nodes.mask_nodes import STOP, USE_ANYWAY, WHOLE_PICTURE
from defectforge.nodes.mask_nodes import DefectForgeObjectMask as ObjectMask
from defectforge.nodes.mask_nodes import DefectForgePlaceHoleMask as Place

pytestmark = pytest.mark.usefixtures("embedded_host")

HOLES = {
    "seed": 3, "count": 1, "min_size": 0.033, "max_size": 0.078, "max_cracks": 3, "rim": 0.3, "tries": 64,
    "grow": 4.0, "feather": 6.0,
}  # fmt: skip
FIND = {"sensitivity": 1.0, "largest_opening": 1.0, "min_confidence": 0.5, "when_unsure": STOP}


@pytest.fixture
def vae() -> SimpleNamespace:
    """Encodes to `[B, 4, H/8, W/8]`: what the nodes need of a VAE."""

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), 8)[:, [0, 1, 2, 0]]

    return SimpleNamespace(encode=encode)


@pytest.fixture
def parts(photo_of, round_part) -> torch.Tensor:
    """Two photos of a round part, 8-bit, `[2, 400, 400, 3]`."""
    return torch.from_numpy(np.stack([photo_of(round_part, seed=seed) for seed in (1, 2)])).float() / 255


@pytest.fixture
def masks(parts) -> tuple[torch.Tensor, torch.Tensor]:
    part = ObjectMask.execute(parts, **FIND).args[0]
    label, denoise, _ = Place.execute(parts, part, **HOLES).args
    return label, denoise


@pytest.mark.parametrize("mode", [AROUND_MASK, WHOLE_PHOTO])
@pytest.mark.parametrize("size", [128, 512])
def test_outside_the_feather_the_stitched_photo_is_the_source(parts, masks, mode, size):
    label, denoise = masks
    cut, soft, hard, put_back = Crop.execute(parts, denoise, size, mode, 0.0, label).args
    assert cut.shape == (2, size, size, 3)
    assert set(hard.unique().tolist()) == {0.0, 1.0}
    assert (soft[hard > 0] > 0.5).all()
    out = Put.execute(put_back, 1 - cut).args[0]
    assert torch.equal(out[denoise == 0], parts[denoise == 0])
    assert (out[label > 0] - parts[label > 0]).abs().mean() > 0.1


def test_one_mask_serves_many_photos_and_many_masks_their_own(parts, masks):
    label, denoise = masks
    assert not torch.equal(label[0], label[1])
    one = Crop.execute(parts, denoise[:1], 128, AROUND_MASK, 0.0).args[3]
    each = Crop.execute(parts, denoise, 128, AROUND_MASK, 0.0).args[3]
    assert one.windows[0] == one.windows[1] == each.windows[0]
    assert each.windows[0] != each.windows[1]


def test_photo_by_photo_gives_what_the_batch_gives(parts, masks, vae):
    _, denoise = masks
    batch = Crop.execute(parts, denoise, 128, AROUND_MASK, 0.0).args
    single = Crop.execute(parts[1:], denoise[1:], 128, AROUND_MASK, 0.0).args
    assert torch.equal(batch[0][1], single[0][0])
    both = Content.execute(batch[0], batch[1], vae, "latent noise", 7, 1.0, 4.0).args[0]["samples"]
    alone = Content.execute(single[0], single[1], vae, "latent noise", 8, 1.0, 4.0).args[0]["samples"]
    assert torch.equal(both[1], alone[0])


@pytest.mark.parametrize("mode", ["fill", "original", "latent noise", "latent nothing"])
def test_the_latent_carries_a_binary_mask_of_its_own_size(parts, masks, vae, mode):
    _, denoise = masks
    cut, soft, _, _ = Crop.execute(parts, denoise, 128, AROUND_MASK, 0.0).args
    latent, pixels = Content.execute(cut, soft, vae, mode, 0, 1.0, 4.0).args
    assert latent["samples"].shape == (2, 4, 16, 16)
    assert latent["noise_mask"].shape == (2, 1, 16, 16)
    assert set(latent["noise_mask"].unique().tolist()) == {0.0, 1.0}
    outside = (latent["noise_mask"] == 0).expand(-1, 4, -1, -1)
    assert torch.equal(latent["samples"][outside], vae.encode(pixels)[outside])
    assert torch.equal(pixels, cut) == (mode == "original")


def test_a_denoise_that_does_not_suit_is_logged_and_shown(parts, masks, vae, caplog):
    cut, soft, _, _ = Crop.execute(parts, masks[1], 128, AROUND_MASK, 0.0).args
    assert "text" not in Content.execute(cut, soft, vae, "latent noise", 0, 1.0, 4.0).ui
    assert caplog.text == ""
    shown = Content.execute(cut, soft, vae, "latent noise", 0, 0.3, 4.0).ui
    assert "denoise 0.3" in shown["text"][0]
    assert shown["text"][0] in caplog.text


def test_pictures_off_the_latent_grid_and_the_empty_64x64_mask_are_refused(vae):
    with pytest.raises(ValueError, match="100x96 px do not divide into latent cells"):
        Content.execute(torch.zeros(1, 96, 100, 3), torch.zeros(1, 96, 100), vae, "fill", 0, 1.0, 4.0)
    with pytest.raises(ValueError, match="empty 64x64 mask"):
        Content.execute(torch.zeros(1, 96, 96, 3), torch.zeros(1, 64, 64), vae, "fill", 0, 1.0, 4.0)


def test_what_is_no_part_stops_the_run_or_does_what_was_asked():
    texture = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"picture 0: no part found that can be trusted.*when_unsure"):
        ObjectMask.execute(texture, **FIND)
    assert ObjectMask.execute(texture, **FIND | {"when_unsure": WHOLE_PICTURE}).args[0].min() == 1
    used = ObjectMask.execute(texture, **FIND | {"when_unsure": USE_ANYWAY})
    assert used.args[1] < 0.5


def test_a_user_may_stop_between_two_photos(parts, monkeypatch):
    class Stopped(Exception):
        pass

    calls: list[int] = []

    def stop_at_second() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise Stopped

    monkeypatch.setattr(host.current(), "check_interrupt", stop_at_second, raising=False)
    with pytest.raises(Stopped):
        ObjectMask.execute(parts, **FIND)
