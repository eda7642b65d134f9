"""A pack for tests only: lets ComfyUI load SDXL and Qwen3 4B at a hundredth of their size.

ComfyUI reads most of a model's shape from its file, but not the width of SDXL, the depth of its text encoders, and
nothing of Qwen3 4B. Here they are told apart by widths that no real model has; real files load as always, except those
of Qwen3 4B. A core that lacks one of them keeps what it has.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any, ClassVar

NODE_CLASS_MAPPINGS: dict[str, Any] = {}

#: Width of the tiny UNet of SDXL, and of the tiny Qwen3: one attention head.
WIDTH = 64
#: FLUX.2 takes the states after layers 9, 18 and 27.
QWEN_LAYERS = 28
#: One more than the layer before the last, which SDXL takes.
TEXT_LAYERS = {"num_hidden_layers": 3}


def shrink_sdxl() -> None:
    """Add an SDXL of another width to the models that are known."""
    from comfy import sdxl_clip, supported_models, supported_models_base

    class TinySDXLClip(sdxl_clip.SDXLClipModel):
        def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: dict[str, Any] | None = None) -> None:
            shallow = {"clip_l_model_config": TEXT_LAYERS, "clip_g_model_config": TEXT_LAYERS}
            super().__init__(device=device, dtype=dtype, model_options={**(model_options or {}), **shallow})

    class TinySDXL(supported_models.SDXL):
        unet_config: ClassVar[dict[str, Any]] = {**supported_models.SDXL.unet_config, "model_channels": WIDTH}

        def clip_target(self, state_dict: dict[str, Any] | None = None) -> Any:
            return supported_models_base.ClipTarget(sdxl_clip.SDXLTokenizer, TinySDXLClip)

    supported_models.models.insert(0, TinySDXL)


def shrink_qwen() -> None:
    """Make Qwen3 4B narrow, and have it found by that."""
    import comfy.sd
    from comfy.text_encoders import llama

    @dataclasses.dataclass
    class TinyQwen(llama.Qwen3_4BConfig):
        hidden_size: int = WIDTH
        intermediate_size: int = 2 * WIDTH
        num_hidden_layers: int = QWEN_LAYERS
        num_attention_heads: int = 1
        num_key_value_heads: int = 1
        head_dim = WIDTH

    llama.Qwen3_4BConfig = TinyQwen
    found = comfy.sd.detect_te_model

    def detect(state: dict[str, Any]) -> Any:
        norm = state.get("model.layers.0.post_attention_layernorm.weight")
        return comfy.sd.TEModel.QWEN3_4B if norm is not None and norm.shape[0] == WIDTH else found(state)

    comfy.sd.detect_te_model = detect


shrink_sdxl()
with contextlib.suppress(AttributeError, ImportError):
    shrink_qwen()
