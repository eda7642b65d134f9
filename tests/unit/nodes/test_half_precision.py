"""Pictures and masks in 16 bits, as ComfyUI hands them on with --fp16-intermediates: the same results, to rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from defectforge.nodes import colour_nodes, inpaint_nodes, mask_nodes
from defectforge.nodes.algorithms.reference.resize import fit_reference

#: One level of 8 bits; the colours that surround a mask are filled in from a few pixels, which multiplies a rounding.
LEVEL = 1 / 255


class FakeVae:
    """Only its output's shape matters here."""

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.zeros(pixels.shape[0], 4, pixels.shape[1] // 8, pixels.shape[2] // 8)


@pytest.fixture
def picture(photo_of: Callable[..., Any], round_part: Any) -> torch.Tensor:
    return torch.from_numpy(photo_of(round_part)[:384, :384]).float()[None] / 255


@pytest.fixture
def mask() -> torch.Tensor:
    found = torch.zeros(1, 384, 384)
    found[:, 150:190, 160:220] = 1.0
    return found


def both(function: Callable[..., Any], *given: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Results in 32 and in 16 bits, side by side."""
    halved = [value.half() if isinstance(value, torch.Tensor) else value for value in given]
    pairs = zip(function(*given).args, function(*halved).args, strict=True)
    return [(full, half.float()) for full, half in pairs if isinstance(full, torch.Tensor)]


def test_every_node_takes_them(embedded_host, picture, mask):
    crop = inpaint_nodes.DefectForgeCropForDefect.execute
    place = mask_nodes.DefectForgePlaceHoleMask.execute
    stitch = crop(picture, mask, 128, "around the mask", 0.0).args[3]
    part = crop(picture, mask, 128, "around the mask", 0.0).args[0]
    cases = {
        "object mask": both(mask_nodes.DefectForgeObjectMask.execute, picture, 1.0, 1.0, 0.0, mask_nodes.USE_ANYWAY),
        "hole mask": both(place, picture, torch.ones_like(mask), 1, 1, 0.1, 0.2, 3, 0.3, 64, 6.0, 8.0),
        "crop": both(crop, picture, mask, 128, "around the mask", 0.0),
        "stitch": both(lambda painted: inpaint_nodes.DefectForgeStitch.execute(stitch, painted), part),
        "colours": both(colour_nodes.DefectForgeColorLock.execute, picture, picture.roll(1, 1), "histogram", 1.0),
    }
    for name, pairs in cases.items():
        assert pairs, name
        for full, half in pairs:
            assert bool(torch.isfinite(half).all()), name
            assert float((full - half).abs().max()) <= 1.5 * LEVEL, name
            if set(full.unique().tolist()) <= {0.0, 1.0}:
                assert torch.equal(full, half), f"{name}: a hard mask is the same"


def test_masked_content_takes_them(embedded_host, picture, mask):
    for full, half in both(
        inpaint_nodes.DefectForgeMaskedContent.execute, picture, mask, FakeVae(), "fill", 1, 1.0, 4.0
    ):
        assert float((full - half).abs().max()) <= 8 * LEVEL
        assert float((full - half).abs().mean()) <= LEVEL / 4


@pytest.mark.parametrize("side", [64, 512])
def test_a_reference_is_fitted_in_them(picture, mask, side):
    full, half = (
        fit_reference(picture.to(dtype), mask.to(dtype), side, side, "crop to fit", "around the mask")
        for dtype in (torch.float32, torch.float16)
    )
    for one, other in zip(full, half, strict=True):
        assert float((one - other.float()).abs().max()) <= 1.5 * LEVEL
