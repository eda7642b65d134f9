"""ControlNets of Stable Diffusion 1.x and 2.x (Zhang et al. 2023): diffusers' module behind the interface that
conditions use.

A ControlNet is a copy of the U-Net's first half that sees a hint picture; its answers are added to the skip connections
and to the middle. Files come in LDM's words (`control_model....`, or without that prefix) or in diffusers'.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel
from torch import Tensor

from ...core_nodes.resize import resized
from ..layout import UNetLayout
from ..state_dicts import StateDict, UnsupportedModelError, read_state_dict, renamed, without_prefix
from .detect import UNET_PREFIX, diffusers_layout, read_layout

PREFIX = "control_model."
_DIFFUSERS_MARK = "controlnet_cond_embedding.conv_in.weight"
_OTHER_KINDS = {
    "lora_controlnet": "a Control-LoRA",
    "adapter.body.0.resnets.0.block1.weight": "a T2I-Adapter",
    "body.0.in_conv.weight": "a T2I-Adapter",
    "controlnet_mode_embedder.weight": "a union ControlNet",
    "task_embedding": "a union ControlNet",
    "transformer_blocks.0.norm1.linear.weight": "a ControlNet for a transformer model",
    "controlnet_blocks.0.weight": "a ControlNet for a transformer model",
}
Residuals = dict[str, list[Tensor | None]]


def load_controlnet(path: Path, device: torch.device, dtype: torch.dtype) -> Control:
    """The ControlNet of a file, without a hint yet.

    Raises:
        FileNotFoundError: there is no such file.
        UnsupportedModelError: the file is no ControlNet for a U-Net that this server runs.
    """
    state = read_state_dict(path)
    for key, kind in _OTHER_KINDS.items():
        if key in state:
            raise UnsupportedModelError(f"{path.name} is {kind}: the embedded server runs plain ControlNets only")
    state = without_prefix(state, PREFIX) or state
    layout = _layout_of(state, path.name)
    if _DIFFUSERS_MARK not in state:
        state = _from_ldm(state, layout, path.name)
    model = _empty(layout)
    wanted = model.state_dict()
    wrong = sorted(set(wanted) ^ set(state)) or [k for k in wanted if wanted[k].shape != state[k].shape]
    if wrong:
        raise UnsupportedModelError(
            f"{path.name} is no plain ControlNet for Stable Diffusion 1.x or 2.x: {len(wrong)} tensors are missing, "
            f"too many or of another shape, such as {wrong[0]!r}"
        )
    model.load_state_dict({k: v.to(dtype) for k, v in state.items()}, assign=True)
    # A shuffle ControlNet says so in its file's name only; ComfyUI reads it there, too.
    pooled = path.stem.endswith(("_shuffle", "_shuffle_fp16"))
    return Control(model.eval().requires_grad_(False).to(device), layout.context_dim, pooled)


def _layout_of(state: Mapping[str, Tensor], name: str) -> UNetLayout:
    ldm = "input_hint_block.0.weight" in state and "zero_convs.0.0.weight" in state
    if not ldm and _DIFFUSERS_MARK not in state:
        raise UnsupportedModelError(
            f"{name} is no ControlNet: expected are files for Stable Diffusion 1.x or 2.x, such as "
            "control_v11p_sd15_inpaint; other kinds need a ComfyUI server"
        )
    layout = read_layout({UNET_PREFIX + k: v for k, v in state.items()}) if ldm else diffusers_layout(state)
    adm = "label_emb.0.0.weight" in state or "add_embedding.linear_1.weight" in state
    if adm or not 0 < layout.context_dim <= 1024 or layout.in_channels != 4:
        raise UnsupportedModelError(
            f"{name} is a ControlNet for another family (text width {layout.context_dim}): the embedded server runs "
            "those for Stable Diffusion 1.x and 2.x"
        )
    return layout


def _empty(layout: UNetLayout) -> Any:
    """diffusers' ControlNet of this layout, without weights."""
    if len(set(layout.num_res_blocks)) != 1:
        raise UnsupportedModelError("a ControlNet with another number of blocks on each level needs a ComfyUI server")
    widths = tuple(layout.channels(level) for level in range(layout.levels))
    with torch.device("meta"):
        return ControlNetModel(
            in_channels=layout.in_channels,
            block_out_channels=widths,
            layers_per_block=layout.num_res_blocks[0],
            down_block_types=tuple("CrossAttnDownBlock2D" if d else "DownBlock2D" for d in layout.transformer_depth),
            cross_attention_dim=layout.context_dim,
            # diffusers' historical name: this is the number of heads.
            attention_head_dim=tuple(layout.heads(width) for width in widths),
            use_linear_projection=layout.linear_projection,
        )


def _from_ldm(state: StateDict, layout: UNetLayout, name: str) -> StateDict:
    """The same tensors in diffusers' words."""
    modules = layout.module_names()
    result: StateDict = {}
    for key, tensor in state.items():
        head, _, rest = key.partition(".")
        if head == "zero_convs":
            number, _, tail = rest.partition(".0.")
            result[f"controlnet_down_blocks.{number}.{tail}"] = tensor
        elif head == "middle_block_out":
            result["controlnet_mid_block." + rest.removeprefix("0.")] = tensor
        elif head == "input_hint_block":
            number, _, tail = rest.partition(".")
            # Every second layer is an activation; the first and the last have names of their own.
            place = int(number) // 2
            words = {0: "conv_in", 7: "conv_out"}.get(place, f"blocks.{place - 1}")
            result[f"controlnet_cond_embedding.{words}.{tail}"] = tensor
        else:
            ours = renamed(key, modules)
            if ours is None:
                raise UnsupportedModelError(f"{name} holds {key!r}, which belongs to no plain ControlNet")
            result[ours] = tensor
    return result


class Control:
    """The CONTROL_NET that nodes hand on, and the `control` of a condition: a network, and how it is used.

    Methods and attributes are those of ComfyUI's that conditions call.
    """

    def __init__(self, model: Any, context_dim: int, pooled: bool = False) -> None:
        self.model, self.context_dim, self.pooled = model, context_dim, pooled
        self.hint: Tensor | None = None
        self.strength = 1.0
        self.percents = (0.0, 1.0)
        self.previous: Control | None = None
        self._sigmas = (math.inf, -math.inf)
        self._sampling: Any = None

    def with_hint(
        self, hint: Tensor, strength: float, percents: tuple[float, float], previous: Control | None
    ) -> Control:
        """The same network for one hint ``[B, 3, H, W]`` in 0..1, after another one in a chain."""
        other = copy.copy(self)
        other.hint, other.strength, other.percents, other.previous = hint, strength, percents, previous
        return other

    def pre_run(self, model: Any, percent_to_sigma: Callable[[float], float]) -> None:
        """Called before a run: what is asked of the model's noise levels."""
        if model.layout.context_dim != self.context_dim:
            raise UnsupportedModelError(
                f"the ControlNet is for a model with text of width {self.context_dim}, the checkpoint's is "
                f"{model.layout.context_dim}: they belong to different families"
            )
        self._sampling = model.model_sampling
        self._sigmas = (percent_to_sigma(self.percents[0]), percent_to_sigma(self.percents[1]))
        if self.previous is not None:
            self.previous.pre_run(model, percent_to_sigma)

    def get_control(
        self, x: Tensor, sigma: Tensor, cond: Mapping[str, Any], rows_together: int, _: Any = None
    ) -> Residuals | None:
        """What is added to the U-Net at noisy latents ``[rows, 4, h, w]``; None outside the range of noise."""
        before = self.previous
        earlier = None if before is None else before.get_control(x, sigma, cond, rows_together)
        if sigma[0] > self._sigmas[0] or sigma[0] < self._sigmas[1]:
            return earlier
        dtype = self.model.dtype
        hint = self._hint_for(x, rows_together).to(x.device, dtype)
        with torch.no_grad():
            down, middle = self.model(
                self._sampling.calculate_input(sigma, x).to(dtype),
                self._sampling.timestep(sigma).float(),
                encoder_hidden_states=cond["c_crossattn"].to(x.device, dtype),
                controlnet_cond=hint,
                return_dict=False,
            )
        own: Residuals = {
            "input": [],
            "middle": [self._scaled(middle)],
            "output": [self._scaled(residual) for residual in down],
        }
        return own if earlier is None else _added(own, earlier)

    def _scaled(self, residual: Tensor) -> Tensor:
        if self.pooled:
            residual = residual.mean((2, 3), keepdim=True).expand_as(residual)
        return residual * self.strength

    def _hint_for(self, x: Tensor, rows_together: int) -> Tensor:
        assert self.hint is not None, "only a control with a hint gets into a condition"
        hint = resized(self.hint, x.shape[-1] * 8, x.shape[-2] * 8, "nearest-exact", "center")[:, :3]
        if len(hint) in (1, len(x)):
            return hint.expand(len(x), -1, -1, -1)
        # Rows are whole batches one after another: the hints of one batch, as often as it takes.
        each = len(x) // rows_together
        repeated = hint[:each].repeat(math.ceil(each / min(each, len(hint))), 1, 1, 1)[:each]
        return repeated.repeat(rows_together, 1, 1, 1)


def _added(own: Residuals, earlier: Residuals) -> Residuals:
    def total(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        return b if a is None else a if b is None else a + b

    return {key: [total(a, b) for a, b in zip(own[key], earlier[key], strict=True)] for key in own}
