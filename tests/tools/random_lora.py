"""A random LoRA for the small random checkpoints (`random-sd15` and its kinds), where workflows need a file to load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

#: What the shipped LoRA workflows name.
SHIPPED_NAME = "defect-lora.safetensors"

#: Module in a LoRA's words: rows and columns of its weight.
MODULES = {
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q": (320, 320),
    "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_out_0": (640, 640),
    "lora_unet_up_blocks_1_attentions_0_transformer_blocks_0_ff_net_0_proj": (2560, 320),
    "lora_te_text_model_encoder_layers_3_mlp_fc1": (3072, 768),
}


def random_lora() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(6)
    tensors: dict[str, np.ndarray] = {}
    for module, (rows, columns) in MODULES.items():
        tensors[f"{module}.lora_up.weight"] = rng.normal(0, 0.1, (rows, 4)).astype(np.float32)
        tensors[f"{module}.lora_down.weight"] = rng.normal(0, 0.1, (4, columns)).astype(np.float32)
        tensors[f"{module}.alpha"] = np.array(2.0, dtype=np.float32)
    return tensors


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(random_lora(), str(path))
    return path
