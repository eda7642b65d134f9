"""The autoencoder: pictures [B, H, W, 3] in 0..1 <-> latents [B, 4, H/8, W/8] in the units of SD's KL autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

from ..state_dicts import UnsupportedModelError
from ..tensors import cropped_to_multiple

#: Pictures of this many pixels altogether go through at once; more of them only cost memory.
PIXELS_AT_ONCE = 4 * 512 * 512

_KL_CONFIG = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
    "layers_per_block": 2,
    "sample_size": 512,
}


class Vae:
    """The VAE that nodes hand on: diffusers' AutoencoderKL or AutoencoderTiny.

    A tiny one works on latents (x - shift) * scale.
    """

    downscale_ratio = 8
    latent_channels = 4

    def __init__(self, model: Any, device: torch.device, scale: float = 1.0, shift: float = 0.0) -> None:
        self.model, self.device, self.scale, self.shift = model.to(device), device, scale, shift
        self._tiny = isinstance(model, AutoencoderTiny)
        self.checkpoint: Any = None

    def spacial_compression_decode(self) -> int:
        """Pixels a latent cell spans."""
        return self.downscale_ratio

    def vae_encode_crop_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pictures cut in the middle to sides that 8 divides."""
        return cropped_to_multiple(pixels, self.downscale_ratio)

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """The latents; of a KL autoencoder the mean, not a sample."""
        pixels = self.vae_encode_crop_pixels(pixels)[..., :3].movedim(-1, 1)
        rows = max(1, PIXELS_AT_ONCE // (pixels.shape[2] * pixels.shape[3]))
        return torch.cat([self._encode(part.to(self.device) * 2.0 - 1.0).cpu() for part in pixels.split(rows)])

    def _encode(self, x: torch.Tensor) -> torch.Tensor:
        if self._tiny:
            tiny: torch.Tensor = self.model.encoder(x) / self.scale + self.shift
            return tiny
        latent: torch.Tensor = self.model.encode(x).latent_dist.mode()
        return latent

    @torch.no_grad()
    def decode(self, samples: torch.Tensor) -> torch.Tensor:
        """The pictures."""
        rows = max(1, PIXELS_AT_ONCE // (64 * samples.shape[2] * samples.shape[3]))
        pictures = [self._decode(part.to(self.device).float()).cpu() for part in samples.split(rows)]
        return ((torch.cat(pictures) + 1.0) / 2.0).clamp(0.0, 1.0).movedim(1, -1).contiguous()

    def _decode(self, z: torch.Tensor) -> torch.Tensor:
        if self._tiny:
            tiny: torch.Tensor = self.model.decoder((z - self.shift) * self.scale)
            return tiny
        picture: torch.Tensor = self.model.decode(z).sample
        return picture


def vae_from_state_dict(state: Mapping[str, torch.Tensor], device: torch.device) -> Vae | None:
    """A KL (LDM names) or tiny (TAESD names) autoencoder; None where there is none.

    Raises:
        UnsupportedModelError: it is one of another kind.
    """
    if not state:
        return None
    state = {k: v.float() for k, v in state.items()}
    if "taesd_decoder.1.weight" in state:
        return _tiny(state, device)
    if "decoder.up_blocks.0.resnets.0.norm1.weight" in state:
        return _kl(state, state["decoder.conv_in.weight"].shape[1], device)
    if "decoder.conv_in.weight" in state:
        return _kl(convert_ldm_vae_checkpoint(state, _KL_CONFIG), state["decoder.conv_in.weight"].shape[1], device)
    raise UnsupportedModelError(
        f"an autoencoder of an unknown kind (tensors such as {min(state)!r}): Stable Diffusion's KL autoencoder or "
        "TAESD's was expected; others need a ComfyUI server"
    )


def _kl(state: dict[str, torch.Tensor], latent_channels: int, device: torch.device) -> Vae:
    if latent_channels != 4:
        raise UnsupportedModelError(
            f"an autoencoder with {latent_channels} latent channels; Stable Diffusion 1.x and 2.x have 4"
        )
    with torch.device("meta"):
        model: Any = AutoencoderKL(**_KL_CONFIG)
    wanted = model.state_dict().keys()
    model.load_state_dict({k: v for k, v in state.items() if k in wanted}, strict=True, assign=True)
    return Vae(model.eval().requires_grad_(False), device)


def _tiny(state: dict[str, torch.Tensor], device: torch.device) -> Vae:
    scale, shift = state.get("vae_scale"), state.get("vae_shift")
    converted = {}
    for key, tensor in state.items():
        part, _, rest = key.partition(".")
        if part == "taesd_encoder":
            converted[f"encoder.layers.{rest}"] = tensor
        elif part == "taesd_decoder":
            # TAESD's decoder counts its input clamp as layer 0.
            number, _, name = rest.partition(".")
            converted[f"decoder.layers.{int(number) - 1}.{name}"] = tensor
    with torch.device("meta"):
        model: Any = AutoencoderTiny()
    model.load_state_dict(converted, strict=True, assign=True)
    return Vae(
        model.eval().requires_grad_(False),
        device,
        1.0 if scale is None else float(scale),
        0.0 if shift is None else float(shift),
    )
