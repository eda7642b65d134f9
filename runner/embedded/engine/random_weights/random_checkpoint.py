"""Random Stable Diffusion checkpoints, for tests, demonstrations and benchmarks where no trained weights are at hand.

The file has the layout that ComfyUI loads unchanged (LDM key names, CLIP-L, a TAESD-layout or KL autoencoder). The
weights are random but not degenerate: the U-Net passes its input on as the noise estimate, up to a random part that
depends on step, prompt and neighbourhood, so that sampling stays in range and every input changes the picture.

    python -m defectforge.runner.embedded.engine.random_weights.random_checkpoint FILE.safetensors \\
        [--in-channels 9] [--sd15-size]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file

from ..layout import UNetLayout
from .random_tensors import TensorShape, kl_shapes, text_shapes, tiny_vae_shapes, unet_shapes, vision_shapes

UNET, TEXT, VAE = "model.diffusion_model.", "cond_stage_model.transformer.", "first_stage_model."
LATENT_SCALE = 0.18215

SMALL = UNetLayout(channel_mult=(1, 2), num_res_blocks=(1, 1), transformer_depth=(1, 1))
SD15 = UNetLayout()


@dataclass(frozen=True)
class CheckpointLayout:
    """What a random checkpoint holds. The defaults load in ComfyUI; smaller text encoders load here only."""

    unet: UNetLayout = field(default_factory=lambda: SMALL)
    vae: Literal["tiny", "kl"] = "tiny"
    text_layers: int = 12
    text_heads: int = 12
    vision: tuple[int, int, int] | None = None  # layers, width, projection width; for unCLIP checkpoints
    dtype: torch.dtype = torch.float16


def tensor_shapes(layout: CheckpointLayout) -> Iterator[TensorShape]:
    """Every tensor of the file: name, shape and the standard deviation it is drawn with."""
    for shape in unet_shapes(layout.unet):
        yield shape.under(UNET)
    text_width = layout.unet.context_dim
    if layout.unet.linear_projection:
        yield from text_shapes("cond_stage_model.model.", text_width, layout.text_layers, open_clip=True)
    else:
        yield from text_shapes(TEXT + "text_model.", text_width, layout.text_layers)
    if layout.vision is not None:
        layers, width, projection = layout.vision
        yield from vision_shapes("embedder.model.visual.", layers, width, projection)
    for shape in tiny_vae_shapes() if layout.vae == "tiny" else kl_shapes():
        yield shape.under(VAE)


def parameter_count(layout: CheckpointLayout, prefix: str = "") -> int:
    """Number of weights whose name starts with `prefix`."""
    return sum(math.prod(s.shape) for s in tensor_shapes(layout) if s.name.startswith(prefix))


def random_state_dict(layout: CheckpointLayout, seed: int = 0) -> dict[str, torch.Tensor]:
    """The tensors of a random checkpoint; the same seed gives the same tensors."""
    generator = torch.Generator().manual_seed(seed)
    state = {shape.name: shape.draw(generator).to(layout.dtype) for shape in tensor_shapes(layout)}
    _pass_input_through(state, layout.unet)
    if layout.vae == "tiny":
        state[VAE + "vae_scale"] = torch.tensor(LATENT_SCALE, dtype=torch.float32)
        state[VAE + "vae_shift"] = torch.tensor(0.0, dtype=torch.float32)
    return state


def _pass_input_through(state: dict[str, torch.Tensor], unet: UNetLayout) -> None:
    """Makes the noise estimate mostly the (normalised) input itself.

    Half of the first block's channels carry +x and -x of each latent channel; the last block's shortcut keeps its skip
    input; the output layer takes silu(a) - silu(-a) = a. The group norm before it gives the estimate unit variance.
    """
    width, half = unet.model_channels, unet.model_channels // 2
    first = state[f"{UNET}input_blocks.0.0.weight"]
    last_res = [part for part in unet.parts() if part.kind == "res"][-1]
    shortcut = state[f"{UNET}{last_res.ldm}.skip_connection.weight"]
    out = state[f"{UNET}out.2.weight"]
    group = width // 32
    shortcut[:half] *= 0.15
    out *= 0.2
    for channel in range(half):
        # Whole groups of the norm carry one latent channel, signs alternating: their mean stays near zero.
        latent, sign = (channel // group) % 4, 1.0 if channel % 2 == 0 else -1.0
        first[channel] = 0
        first[channel, latent, 1, 1] = sign
        shortcut[channel, shortcut.shape[1] - width + channel, 0, 0] += 1.0
        out[latent, channel, 1, 1] += 2.2 * sign * 4 / half


def write(
    path: str | Path,
    *,
    seed: int = 0,
    in_channels: int = 4,
    unet: UNetLayout | None = None,
    layout: CheckpointLayout | None = None,
) -> Path:
    """Writes a random SD 1.5-format checkpoint (about 0.4 GB) and gives its path.

    `in_channels`: 4 text-to-image, 8 instruct-pix2pix, 9 inpainting. `unet` or `layout` replace the whole shape.
    """
    if layout is None:
        layout = CheckpointLayout(unet=unet or _with_inputs(SMALL, in_channels))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(random_state_dict(layout, seed), str(path), metadata={"format": "pt"})
    return path


def write_sd15_size(path: str | Path, *, seed: int = 0, vae: Literal["tiny", "kl"] = "kl") -> Path:
    """Writes a random checkpoint of Stable Diffusion 1.5's own size: 859.5 million U-Net weights, for benchmarks."""
    return write(path, seed=seed, layout=CheckpointLayout(unet=SD15, vae=vae))


def write_unclip(path: str | Path, *, seed: int = 0) -> Path:
    """Writes a random SD 2.1 unCLIP checkpoint (small U-Net, OpenCLIP-H text, CLIP-L vision; about 1.5 GB)."""
    unet = UNetLayout(
        channel_mult=(1, 2),
        num_res_blocks=(1, 1),
        transformer_depth=(1, 1),
        context_dim=1024,
        linear_projection=True,
        adm_channels=1536,
    )
    layout = CheckpointLayout(unet=unet, text_layers=24, text_heads=16, vision=(24, 1024, 768))
    return write(path, seed=seed, layout=layout)


def _with_inputs(unet: UNetLayout, in_channels: int) -> UNetLayout:
    if in_channels not in (4, 8, 9):
        raise ValueError(
            f"in_channels is {in_channels}; a Stable Diffusion U-Net has 4 (text to image), 8 (instruct-pix2pix) "
            "or 9 (inpainting) input channels"
        )
    from dataclasses import replace

    return replace(unet, in_channels=in_channels)


def main() -> None:
    """Command line: writes one file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("path", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--in-channels", type=int, default=4, choices=(4, 8, 9))
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--sd15-size", action="store_true", help="Stable Diffusion 1.5's own size")
    size.add_argument("--unclip", action="store_true", help="SD 2.1 unCLIP layout")
    args = parser.parse_args()
    if args.sd15_size:
        write_sd15_size(args.path, seed=args.seed)
    elif args.unclip:
        write_unclip(args.path, seed=args.seed)
    else:
        write(args.path, seed=args.seed, in_channels=args.in_channels)


if __name__ == "__main__":
    main()
