"""A random ControlNet for the small random checkpoint, as trainers write it: in LDM's words and in diffusers'.

Its copy of the U-Net is the checkpoint's own; the layers that a training starts at zero are random, so that a hint
changes the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensors = dict[str, NDArray[Any]]
#: Channels in and out, and stride, of each layer that reads the hint; 0 stands for the U-Net's own width.
HINT = [(3, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 96, 2), (96, 96, 1), (96, 256, 2), (256, 0, 1)]


def ldm(unet: Mapping[str, NDArray[Any]]) -> Tensors:
    """From a U-Net's tensors in LDM's words, without prefix; the names begin with `control_model.`."""
    rng = np.random.default_rng(8)
    own = {k: v for k, v in unet.items() if k.startswith(("time_embed.", "input_blocks.", "middle_block."))}
    for number, (before, out, _) in enumerate(HINT):
        after = out or _width(own, 0)
        own[f"input_hint_block.{2 * number}.weight"] = _draw(rng, (after, before, 3, 3), 0.9 / (3 * before**0.5))
        own[f"input_hint_block.{2 * number}.bias"] = _draw(rng, (after,), 0.05)
    blocks = {int(k.split(".")[1]) for k in own if k.startswith("input_blocks.")}
    for number in sorted(blocks):
        width = _width(own, number)
        own[f"zero_convs.{number}.0.weight"] = _draw(rng, (width, width, 1, 1), 0.1 / width**0.5)
        own[f"zero_convs.{number}.0.bias"] = _draw(rng, (width,), 0.02)
    width = own["middle_block.0.out_layers.3.weight"].shape[0]
    own["middle_block_out.0.weight"] = _draw(rng, (width, width, 1, 1), 0.1 / width**0.5)
    own["middle_block_out.0.bias"] = _draw(rng, (width,), 0.02)
    return {f"control_model.{k}": v for k, v in own.items()}


def diffusers(unet: Mapping[str, NDArray[Any]]) -> Tensors:
    """The same ControlNet in diffusers' words."""
    import torch
    from defectforge.runner.embedded.engine.loading import controlnet

    state = {k.removeprefix("control_model."): torch.from_numpy(v) for k, v in ldm(unet).items()}
    layout = controlnet._layout_of(state, "it")
    return {k: v.numpy() for k, v in controlnet._from_ldm(state, layout, "it").items()}


def _width(own: Mapping[str, NDArray[Any]], number: int) -> int:
    for name in ("0.weight", "0.op.weight", "0.out_layers.3.weight"):
        if f"input_blocks.{number}.{name}" in own:
            return int(own[f"input_blocks.{number}.{name}"].shape[0])
    raise KeyError(f"input block {number}")


def _draw(rng: np.random.Generator, shape: tuple[int, ...], deviation: float) -> NDArray[Any]:
    return rng.normal(0.0, deviation, shape).astype(np.float16)
