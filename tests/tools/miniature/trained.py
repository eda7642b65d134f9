"""The trained autoencoder as the other scripts use it: pictures to unit-variance latents and back."""

from __future__ import annotations

from pathlib import Path

import torch
from common import tiny_vae


class TrainedVae:
    """Latents here are those that the U-Net sees: SD 1.5's unscaled latents times 0.18215."""

    def __init__(self, file: Path, device: str = "cpu", fast: bool = False) -> None:
        state = torch.load(file, weights_only=True, map_location="cpu")
        self.vae = tiny_vae()
        self.vae.load_state_dict(state["vae"])
        self.mean, self.std = state["normaliser"]["mean"], state["normaliser"]["std"]
        last = self.vae.encoder.layers[-1]
        with torch.no_grad():  # the normalisation becomes part of the last convolution
            last.weight.div_(self.std.view(-1, 1, 1, 1))
            last.bias.sub_(self.mean.view(-1)).div_(self.std.view(-1))
        self.vae = self.vae.to(device, memory_format=torch.channels_last).eval()
        self.fast = fast  # bfloat16, for building caches
        self.device = torch.device(device)

    @torch.no_grad()
    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """uint8 or 0..1 float ``[B, 3, H, W]`` to latents ``[B, 4, H/8, W/8]``."""
        values = pictures.float() / 255.0 if pictures.dtype == torch.uint8 else pictures
        values = (values.to(self.device) * 2 - 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.fast):
            return self.vae.encoder(values).float().cpu()

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents to pictures 0..1."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.fast):
            return ((self.vae.decoder(latents.float().to(self.device)).float() + 1) / 2).clamp(0, 1).cpu()
