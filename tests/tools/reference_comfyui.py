"""ComfyUI's classes for the reference tests; imported only in ComfyUI's own interpreter."""

from __future__ import annotations

from typing import Any

import torch
from reference_harness import SD15, Architecture, draw


class ComfyUI:
    """ComfyUI's real UNet, ModelPatcher and guiders; only in ComfyUI's own interpreter."""

    name = "comfyui"

    def model(self, architecture: Architecture = SD15) -> tuple[Any, dict[str, torch.Tensor]]:
        import comfy.model_base
        import comfy.model_patcher
        import comfy.supported_models

        shape = architecture
        config: dict[str, Any] = {
            "image_size": 32,
            "in_channels": shape.in_channels,
            "out_channels": 4,
            "model_channels": shape.width,
            "num_res_blocks": [2] * len(shape.mult),
            "channel_mult": list(shape.mult),
            "transformer_depth": [depth for depth in shape.depth for _ in range(2)],
            "transformer_depth_middle": shape.middle,
            "transformer_depth_output": [depth for depth in shape.depth for _ in range(3)],
            "use_spatial_transformer": True,
            "use_linear_in_transformer": shape.linear,
            "context_dim": shape.context,
            "num_heads": 8 if shape.head_channels is None else -1,
            "num_head_channels": shape.head_channels or -1,
            "legacy": False,
            "num_classes": None if shape.vector is None else "sequential",
            "adm_in_channels": shape.vector,
            "attn_precision": torch.float32 if shape.upcast else None,
            "use_temporal_attention": False,
            "use_temporal_resblock": False,
            "dtype": torch.float32,
        }
        known = comfy.supported_models.SD15
        if shape.linear:
            known = comfy.supported_models.SD20 if shape.vector is None else comfy.supported_models.SDXL
        kind = known(dict(config))
        kind.unet_config = dict(config)
        kind.set_inference_dtype(torch.float32, None)
        family = comfy.model_base.BaseModel if shape.vector is None else comfy.model_base.SDXL
        if shape.in_channels == 8:
            family = comfy.model_base.SD15_instructpix2pix
        prediction = comfy.model_base.ModelType.V_PREDICTION if shape.v_prediction else comfy.model_base.ModelType.EPS
        base = family(kind, prediction)
        if shape.in_channels == 9:
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

    def control_net(self, hint: torch.Tensor) -> Any:
        """A ControlNet in the shape of SD 1.x's with random weights, applied to a picture ``[1, 3, H, W]``."""
        import comfy.cldm.cldm
        import comfy.controlnet

        network = comfy.cldm.cldm.ControlNet(
            image_size=32,
            in_channels=4,
            hint_channels=3,
            model_channels=SD15.width,
            num_res_blocks=[2] * len(SD15.mult),
            channel_mult=list(SD15.mult),
            transformer_depth=[depth for depth in SD15.depth for _ in range(2)],
            transformer_depth_middle=SD15.middle,
            use_spatial_transformer=True,
            context_dim=SD15.context,
            num_heads=8,
            legacy=False,
            dtype=torch.float32,
        )
        network.load_state_dict(
            draw({name: tuple(value.shape) for name, value in network.state_dict().items()}, seed=3)
        )
        control = comfy.controlnet.ControlNet(network, load_device=torch.device("cpu"))
        return control.set_cond_hint(hint, 0.5, (0.0, 1.0))

    def adapter(self, model: Any) -> dict[str, torch.Tensor]:
        """A LoRA over the values of all self-attention layers, under the names of its file format."""
        generator = torch.Generator().manual_seed(4)
        weights = {}
        for name, value in model.model.diffusion_model.named_parameters():
            if name.endswith("attn1.to_v.weight"):
                out, inner = value.shape
                prefix = f"diffusion_model.{name.removesuffix('.weight')}"
                weights[f"{prefix}.lora_up.weight"] = torch.randn(out, 4, generator=generator) * 0.5
                weights[f"{prefix}.lora_down.weight"] = torch.randn(4, inner, generator=generator) / inner**0.5
        return weights

    def with_adapter(self, model: Any, strength: float) -> Any:
        """A clone with the LoRA at a strength."""
        import comfy.sd

        return comfy.sd.load_lora_for_models(model, None, self.adapter(model), strength, 0.0)[0]

    def lora_hooks(self, model: Any, strength: float, keyframes: tuple[tuple[float, float], ...] = ()) -> Any:
        """The LoRA as hooks of a conditioning; keyframes are (start in fractions of the steps, factor)."""
        import comfy.hooks

        group = comfy.hooks.create_hook_lora(self.adapter(model), strength, 0.0)
        if keyframes:
            schedule = comfy.hooks.HookKeyframeGroup()
            for start, factor in keyframes:
                schedule.add(comfy.hooks.HookKeyframe(factor, start))
            group.set_keyframes_on_hooks(schedule)
        return group

    def patched(self, model: Any, name: str) -> Any:
        """A clone with one of ComfyUI's own model patches."""
        from comfy_extras.nodes_easycache import LazyCacheNode
        from comfy_extras.nodes_freelunch import FreeU_V2
        from comfy_extras.nodes_hypertile import HyperTile
        from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete, RescaleCFG
        from comfy_extras.nodes_pag import PerturbedAttentionGuidance
        from comfy_extras.nodes_sag import SelfAttentionGuidance
        from comfy_extras.nodes_tomesd import TomePatchModel

        patches = {
            "FreeU": lambda: FreeU_V2().patch(model, 1.3, 1.4, 0.9, 0.2),
            "HyperTile": lambda: HyperTile.execute(model, 64, 2, 0, False),
            "token merging": lambda: TomePatchModel.execute(model, 0.3),
            "perturbed attention": lambda: PerturbedAttentionGuidance.execute(model, 30.0),
            "self-attention guidance": lambda: SelfAttentionGuidance.execute(model, 0.5, 2.0),
            "rescaled guidance": lambda: RescaleCFG().patch(model, 0.7),
            "zero terminal SNR": lambda: ModelSamplingDiscrete().patch(model, "v_prediction", True),
            "lazy step cache": lambda: LazyCacheNode.execute(model, 0.2, 0.15, 0.95, False),
        }
        return patches[name]()[0]
