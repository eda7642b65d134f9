"""Masked Content beside SD 1.x: noise at the model's scale, cells of another size, and VAEs that do not fit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from defectforge.nodes.algorithms.compositing.fills import noise_like
from defectforge.nodes.inpaint_nodes import DefectForgeMaskedContent as Content


class FakeVae:
    """Gives latents of a family's shape; it cuts what its cells do not divide, as ComfyUI's does."""

    def __init__(self, channels: int, cell: int, dimensions: int = 4) -> None:
        self.channels, self.cell, self.dimensions = channels, cell, dimensions

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        batch, height, width = pixels.shape[:3]
        shape = (batch, self.channels, *(() if self.dimensions == 4 else (1,)), height // self.cell, width // self.cell)
        return torch.zeros(shape)


def model_of(scale: float, channels: int) -> Any:
    latent_format = SimpleNamespace(latent_channels=channels)
    return SimpleNamespace(
        model=SimpleNamespace(process_latent_out=lambda latent: latent / scale, latent_format=latent_format)
    )


def content(side: int, vae: FakeVae, mode: str, model: Any = None, hole: int = 32) -> dict[str, torch.Tensor]:
    mask = torch.zeros(1, side, side)
    mask[:, :hole, :hole] = 1.0
    result: dict[str, torch.Tensor] = Content.execute(
        torch.rand(1, side, side, 3), mask, vae, mode, 5, 1.0, 0.0, model
    ).args[0]
    return result


@pytest.mark.parametrize(("scale", "linked"), [(0.13025, True), (0.18215, True), (0.18215, False)])
def test_latent_noise_is_unit_noise_for_the_model_that_samples(embedded_host: Any, scale: float, linked: bool) -> None:
    latent = content(64, FakeVae(4, 8), "latent noise", model_of(scale, 4) if linked else None)["samples"]
    noise = noise_like(torch.zeros(1, 4, 8, 8), 5)
    torch.testing.assert_close(latent[..., :4, :4] * scale, noise[..., :4, :4])
    assert not latent[..., 4:, :].any()


def test_cells_of_16_px_get_their_own_mask(embedded_host: Any) -> None:
    latent = content(128, FakeVae(128, 16), "original", model_of(1.0, 128))
    assert latent["noise_mask"].shape == (1, 1, 8, 8)
    assert latent["noise_mask"].sum() == 4


@pytest.mark.parametrize(
    ("side", "vae", "model", "words"),
    [
        (136, FakeVae(128, 16), None, "latent cells of 16 px"),
        (128, FakeVae(128, 16), model_of(0.13025, 4), "128 channels, but the model samples 4"),
        (128, FakeVae(16, 8, dimensions=5), None, "still pictures"),
    ],
)
def test_what_does_not_fit_is_refused(embedded_host: Any, side: int, vae: FakeVae, model: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        content(side, vae, "original", model)


def test_a_mask_too_small_for_cells_of_16_px(embedded_host: Any) -> None:
    with pytest.raises(ValueError, match="sets no latent cell of 16 px"):
        content(128, FakeVae(128, 16), "original", hole=6)
