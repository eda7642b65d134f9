"""Adapters inside a loaded model, and their names in ComfyUI's LoRA files.

peft puts low-rank pairs beside the attention's linear layers; the file names them as kohya-ss' trainers do, which every
ComfyUI reads: ``lora_unet_<module>.lora_up.weight``, ``.lora_down.weight``, ``.alpha``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

UNET_LAYERS = ["to_q", "to_k", "to_v", "to_out.0"]
TEXT_LAYERS = ["q_proj", "k_proj", "v_proj", "out_proj"]
UNET_PREFIX, TEXT_PREFIX = "lora_unet_", "lora_te_"
#: The end of a tensor's name in peft, and in the file.
ENDS = {".lora_A.weight": ".lora_down.weight", ".lora_B.weight": ".lora_up.weight"}


class Adapters:
    """The trained part of a model: adapters of its U-Net, and of its text encoder where that is trained too."""

    def __init__(self, unet: nn.Module, text: nn.Module | None, rank: int, seed: int) -> None:
        """Put adapters in. They change nothing yet: half of each pair starts at zero.

        Args:
            unet: diffusers' U-Net.
            text: the module that holds `text_model`, or None.
        """
        self.rank = rank
        self._parts: dict[str, nn.Module] = {UNET_PREFIX: unet}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._inject(unet, UNET_LAYERS)
            if text is not None:
                self._parts[TEXT_PREFIX] = text
                self._inject(text, TEXT_LAYERS)
        # Half precision would lose small steps.
        for parameter in self.parameters():
            parameter.data = parameter.data.float()

    def _inject(self, module: nn.Module, layers: list[str]) -> None:
        config = LoraConfig(r=self.rank, lora_alpha=self.rank, target_modules=layers, lora_dropout=0.0, bias="none")
        inject_adapter_in_model(config, module)

    def parameters(self) -> list[nn.Parameter]:
        """What is trained, always in the same order."""
        return [
            parameter for part in self._parts.values() for name, parameter in part.named_parameters() if "lora_" in name
        ]

    def state(self) -> dict[str, Tensor]:
        """The adapters under ComfyUI's names, float32 on the CPU."""
        tensors: dict[str, Tensor] = {}
        for prefix, part in self._parts.items():
            for name, value in get_peft_model_state_dict(part, save_embedding_layers=False).items():
                end = next(end for end in ENDS if name.endswith(end))
                key = prefix + name.removesuffix(end).replace(".", "_")
                tensors[key + ENDS[end]] = value.detach().float().cpu().contiguous()
                tensors[f"{key}.alpha"] = torch.tensor(float(self.rank))
        return dict(sorted(tensors.items()))

    @contextlib.contextmanager
    def switched_off(self) -> Iterator[None]:
        """The model as it was before."""
        layers = [m for part in self._parts.values() for m in part.modules() if isinstance(m, BaseTunerLayer)]
        for layer in layers:
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in layers:
                layer.enable_adapters(True)


def peak(tensors: Mapping[str, Any]) -> float:
    """Largest magnitude of any factor: not finite where a training has run away."""
    return max(float(value.abs().max()) for name, value in tensors.items() if not name.endswith(".alpha"))
