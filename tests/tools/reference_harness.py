"""Tiny models of several architectures in the embedded server and in ComfyUI, behind one interface.

Runs in two interpreters: that of the tests and, for ComfyUI, that of its own virtual environment, where pytest and the
package's dependencies may be absent. So this file imports torch, the oracle, and each host lazily.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from by_location import ROOT, load

CONTEXT, SCALE = 64, 0.18215


@dataclass(frozen=True)
class Architecture:
    """A UNet in the shape of a published one, but narrow.

    Attributes:
        in_channels: 4, or 8 (instruct-pix2pix) or 9 (inpainting).
        width: of the first level.
        mult: width of each level in units of the first one's.
        depth: transformer layers in each block of a level.
        middle: transformer layers in the middle block.
        context: width of the prompt.
        head_channels: channels of an attention head; None: eight heads everywhere.
        linear: linear projections around the transformer layers instead of convolutions.
        vector: width of the vector conditioning, or None.
        v_prediction: whether the network predicts v instead of the noise.
        scale: latent scale of the autoencoder.
        upcast: whether attention is asked to compute in float32.
    """

    in_channels: int = 4
    width: int = 32
    mult: tuple[int, ...] = (1, 2, 4, 4)
    depth: tuple[int, ...] = (1, 1, 1, 0)
    middle: int = 1
    context: int = CONTEXT
    head_channels: int | None = None
    linear: bool = False
    vector: int | None = None
    v_prediction: bool = False
    scale: float = SCALE
    upcast: bool = False


SD15 = Architecture()
INPAINTING = Architecture(in_channels=9)
PIX2PIX = Architecture(in_channels=8)
SD2 = Architecture(width=64, context=1024, head_channels=64, linear=True, v_prediction=True, upcast=True)
SDXL = Architecture(
    mult=(1, 2, 4), depth=(0, 1, 2), middle=2, context=2048, head_channels=8, linear=True, vector=2816, scale=0.13025
)
SDXL_INPAINTING = replace(SDXL, in_channels=9)


oracle = load("reference_oracle", ROOT / "tests" / "unit" / "reference_oracle.py")


def draw(shapes: dict[str, tuple[int, ...]], seed: int = 1) -> dict[str, torch.Tensor]:
    """Random but well-behaved weights: unit gain, small biases, norms near one."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name in sorted(shapes):
        shape = shapes[name]
        noise = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            weights[name] = noise * (0.8 / math.sqrt(math.prod(shape[1:])))
        else:
            weights[name] = noise * 0.1 + (1.0 if name.endswith("weight") else 0.0)
    return weights


class Harness(Protocol):
    """What a case needs of a host."""

    name: str

    def model(self, architecture: Architecture = SD15) -> tuple[Any, dict[str, torch.Tensor]]:
        """A fresh MODEL with random weights, and those weights under LDM names."""

    def guider(self, model: Any, conds: dict[str, list[Any]], cfg: float, cfg2: float = 1.0) -> Any:
        """CFG for positive and negative, DualCFG where `middle` is among the conditionings."""

    def sampler(self, name: str = "euler") -> Any:
        """A SAMPLER by its name."""

    def with_lora(self, model: Any) -> Any:
        """A clone with one weight changed."""


class Embedded:
    """The embedded server's model classes."""

    name = "embedded"

    def __init__(self) -> None:
        from defectforge.nodes import host
        from defectforge.runner.embedded.host import EmbeddedHost

        host.install(EmbeddedHost(version="test", device="cpu"))

    def model(self, architecture: Architecture = SD15) -> tuple[Any, dict[str, torch.Tensor]]:
        from defectforge.runner.embedded.engine.layout import UNetLayout
        from defectforge.runner.embedded.engine.model.diffusion import DiffusionModel
        from defectforge.runner.embedded.engine.model.model import EmbeddedModel
        from defectforge.runner.embedded.engine.model.model_sampling import ModelSampling
        from defectforge.runner.embedded.engine.model.unet import LatentUNet
        from defectforge.runner.embedded.engine.random_weights.random_tensors import unet_shapes

        assert architecture.head_channels in (None, 64) and architecture.vector is None, "not in the embedded server"
        layout = UNetLayout(
            in_channels=architecture.in_channels,
            model_channels=architecture.width,
            channel_mult=architecture.mult,
            transformer_depth=architecture.depth,
            middle_depth=architecture.middle,
            context_dim=architecture.context,
            linear_projection=architecture.linear,
        )
        weights = draw({shape.name: tuple(shape.shape) for shape in unet_shapes(layout)})
        network = LatentUNet.from_ldm(weights, layout, torch.float32)
        sampling = ModelSampling("v" if architecture.v_prediction else "eps")
        model = EmbeddedModel(DiffusionModel(network, sampling, torch.device("cpu")))
        return model, {name: value.clone() for name, value in weights.items()}

    def guider(self, model: Any, conds: dict[str, list[Any]], cfg: float, cfg2: float = 1.0) -> Any:
        from defectforge.runner.embedded.engine.sampling.guiders import CFGGuider, DualCFGGuider

        if "middle" in conds:
            dual = DualCFGGuider(model)
            dual.set_dual_conds(conds["positive"], conds["middle"], conds["negative"])
            dual.set_dual_cfg(cfg, cfg2)
            return dual
        guider = CFGGuider(model)
        guider.set_conds(conds["positive"], conds["negative"])
        guider.set_cfg(cfg)
        return guider

    def sampler(self, name: str = "euler") -> Any:
        from defectforge.runner.embedded.engine.sampling.guiders import Sampler

        return Sampler.named(name)

    def with_lora(self, model: Any) -> Any:
        clone = model.clone()
        name = next(n for n, _ in model.model.diffusion_model.named_parameters() if n.endswith("attn1.to_v.weight"))
        clone.add_weight_patches({name: lambda weight, strength: weight * strength}, 0.5)
        return clone
