"""Tiny SD 1.5-shaped models in the embedded server and in ComfyUI, behind one interface for the reference tests.

Runs in two interpreters: that of the tests and, for ComfyUI, that of its own virtual environment, where pytest and the
package's dependencies may be absent. So this file imports torch, the oracle, and each host lazily.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from typing import Any, Protocol

import torch

ROOT = Path(__file__).resolve().parents[2]
CHANNELS, CONTEXT, SCALE = 32, 64, 0.18215


def load(name: str, path: Path) -> Any:
    """Import a file under a name (tests are no package)."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


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

    def model(self, in_channels: int = 4) -> tuple[Any, dict[str, torch.Tensor]]:
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

    def model(self, in_channels: int = 4) -> tuple[Any, dict[str, torch.Tensor]]:
        from defectforge.runner.embedded.engine.diffusion import DiffusionModel
        from defectforge.runner.embedded.engine.layout import UNetLayout
        from defectforge.runner.embedded.engine.model import EmbeddedModel
        from defectforge.runner.embedded.engine.model_sampling import ModelSampling
        from defectforge.runner.embedded.engine.random_tensors import unet_shapes
        from defectforge.runner.embedded.engine.unet import LatentUNet

        layout = UNetLayout(in_channels=in_channels, model_channels=CHANNELS, context_dim=CONTEXT)
        weights = draw({shape.name: tuple(shape.shape) for shape in unet_shapes(layout)})
        network = LatentUNet.from_ldm(weights, layout, torch.float32)
        model = EmbeddedModel(DiffusionModel(network, ModelSampling(), torch.device("cpu")))
        return model, {name: value.clone() for name, value in weights.items()}

    def guider(self, model: Any, conds: dict[str, list[Any]], cfg: float, cfg2: float = 1.0) -> Any:
        from defectforge.runner.embedded.engine.guiders import CFGGuider, DualCFGGuider

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
        from defectforge.runner.embedded.engine.guiders import Sampler

        return Sampler.named(name)

    def with_lora(self, model: Any) -> Any:
        clone = model.clone()
        name = next(n for n, _ in model.model.diffusion_model.named_parameters() if n.endswith("attn1.to_v.weight"))
        clone.add_weight_patches({name: lambda weight, strength: weight * strength}, 0.5)
        return clone


class ComfyUI:
    """ComfyUI's real UNet, ModelPatcher and guiders; only in ComfyUI's own interpreter."""

    name = "comfyui"

    def model(self, in_channels: int = 4) -> tuple[Any, dict[str, torch.Tensor]]:
        import comfy.model_base
        import comfy.model_patcher
        import comfy.supported_models

        config = {
            "image_size": 32,
            "in_channels": in_channels,
            "out_channels": 4,
            "model_channels": CHANNELS,
            "num_res_blocks": [2, 2, 2, 2],
            "channel_mult": [1, 2, 4, 4],
            "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
            "transformer_depth_middle": 1,
            "transformer_depth_output": [1] * 9 + [0] * 3,
            "use_spatial_transformer": True,
            "use_linear_in_transformer": False,
            "context_dim": CONTEXT,
            "num_heads": 8,
            "num_head_channels": -1,
            "legacy": False,
            "adm_in_channels": None,
            "use_temporal_attention": False,
            "use_temporal_resblock": False,
            "dtype": torch.float32,
        }
        kind = comfy.supported_models.SD15(dict(config))
        kind.unet_config = dict(config)
        kind.set_inference_dtype(torch.float32, None)
        base = comfy.model_base.BaseModel(kind)
        if in_channels == 9:
            base.set_inpaint()
        weights = draw({name: tuple(value.shape) for name, value in base.diffusion_model.state_dict().items()})
        base.diffusion_model.load_state_dict(weights)
        cpu = torch.device("cpu")
        return comfy.model_patcher.ModelPatcher(base, cpu, cpu), weights

    def guider(self, model: Any, conds: dict[str, list[Any]], cfg: float, cfg2: float = 1.0) -> Any:
        import comfy.samplers
        from comfy_extras.nodes_custom_sampler import Guider_DualCFG

        if "middle" in conds:
            dual = Guider_DualCFG(model)
            dual.set_conds(conds["positive"], conds["middle"], conds["negative"])
            dual.set_cfg(cfg, cfg2)
            return dual
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(conds["positive"], conds["negative"])
        guider.set_cfg(cfg)
        return guider

    def sampler(self, name: str = "euler") -> Any:
        import comfy.samplers

        return comfy.samplers.sampler_object(name)

    def with_lora(self, model: Any) -> Any:
        clone = model.clone()
        name = next(n for n, _ in model.model.named_parameters() if n.endswith("attn1.to_v.weight"))
        weight = model.model.get_parameter(name)
        clone.add_patches({name: (weight.detach() * 0.5,)}, 1.0)
        return clone
