"""What kind of checkpoint a set of tensors is, read off names and shapes."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..layout import UNetLayout
from ..model.model_sampling import Prediction
from ..state_dicts import UnsupportedModelError, count_layers, renamed

UNET_PREFIX = "model.diffusion_model."

#: A tensor that only one other family has, and that family's name.
_OTHER_FAMILIES = {
    "model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight": "Stable Diffusion 3",
    "model.diffusion_model.double_blocks.0.img_attn.qkv.weight": "Flux",
    "double_blocks.0.img_attn.qkv.weight": "Flux",
    "conditioner.embedders.1.model.ln_final.weight": "SDXL",
    "conditioner.embedders.0.model.ln_final.weight": "SDXL's refiner",
    "model.diffusion_model.clf.1.weight": "Stable Cascade",
    "model.diffusion_model.input_blocks.1.0.time_stack.in_layers.0.weight": "Stable Video Diffusion",
}
_SUPPORTED = "Stable Diffusion 1.x, 2.x and 2.1 unCLIP checkpoints (single files in ComfyUI's layout)"


def detect_unet(state: Mapping[str, torch.Tensor], name: str = "the file") -> UNetLayout:
    """The U-Net's layout; `state` is a checkpoint with its `model.diffusion_model.` prefix.

    Raises:
        UnsupportedModelError: the file is of another kind, named where it is known.
    """
    for key, family in _OTHER_FAMILIES.items():
        if key in state and not (family.startswith("SDXL") and _context_dim(state) in (768, 1024)):
            raise UnsupportedModelError(
                f"{name} is a {family} checkpoint. The embedded server runs {_SUPPORTED}; others need a ComfyUI server"
            )
    first = state.get(f"{UNET_PREFIX}input_blocks.0.0.weight")
    if first is None:
        hint = "a LoRA" if any("lora" in k for k in state) else "not a checkpoint"
        if "down_blocks.0.resnets.0.conv1.weight" in state:
            hint = "a U-Net in diffusers' layout"
        raise UnsupportedModelError(f"{name} is {hint}: expected are {_SUPPORTED}")
    layout = read_layout(state)
    _check(state, layout, name)
    return layout


def read_layout(state: Mapping[str, torch.Tensor]) -> UNetLayout:
    """What the tensors' names and shapes say, unchecked; also of a ControlNet, which is a U-Net's first half."""
    first = state[f"{UNET_PREFIX}input_blocks.0.0.weight"]
    width, in_channels = int(first.shape[0]), int(first.shape[1])
    blocks = count_layers(state, f"{UNET_PREFIX}input_blocks.")
    mult: list[int] = []
    res_blocks: list[int] = []
    depths: list[int] = []
    count = 0
    for number in range(1, blocks):
        prefix = f"{UNET_PREFIX}input_blocks.{number}."
        if f"{prefix}0.op.weight" in state:
            count = 0
            continue
        if count == 0:
            mult.append(int(state[f"{prefix}0.out_layers.3.weight"].shape[0]) // width)
            depths.append(count_layers(state, f"{prefix}1.transformer_blocks."))
            res_blocks.append(0)
        count += 1
        res_blocks[-1] = count
    label = state.get(f"{UNET_PREFIX}label_emb.0.0.weight")
    out = state.get(f"{UNET_PREFIX}out.2.weight")
    proj = state.get(f"{UNET_PREFIX}middle_block.1.proj_in.weight")
    return UNetLayout(
        in_channels=in_channels,
        out_channels=4 if out is None else int(out.shape[0]),
        model_channels=width,
        channel_mult=tuple(mult),
        num_res_blocks=tuple(res_blocks),
        transformer_depth=tuple(depths),
        middle_depth=count_layers(state, f"{UNET_PREFIX}middle_block.1.transformer_blocks."),
        context_dim=_context_dim(state) or 0,
        linear_projection=proj is not None and proj.ndim == 2,
        adm_channels=None if label is None else int(label.shape[1]),
    )


def with_prefix(state: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """The tensors of a U-Net file as they are called in a checkpoint.

    Raises:
        UnsupportedModelError: diffusers' words, and not those of a U-Net of this family.
    """
    if any(key.startswith(UNET_PREFIX) for key in state):
        return dict(state)
    if DIFFUSERS_MARK not in state:
        return {UNET_PREFIX + key: tensor for key, tensor in state.items()}
    layout = diffusers_layout(state)
    modules = {ours: ldm for ldm, ours in layout.module_names().items()}
    result = {}
    for key, tensor in state.items():
        ldm_key = renamed(key, modules)
        if ldm_key is None:
            raise UnsupportedModelError(f"{name} cannot be run: {key!r} belongs to no U-Net of {_SUPPORTED}")
        result[UNET_PREFIX + ldm_key] = tensor
    return result


#: A tensor that every U-Net in diffusers' words has, and no other file.
DIFFUSERS_MARK = "down_blocks.0.resnets.0.conv1.weight"


def diffusers_layout(state: Mapping[str, torch.Tensor]) -> UNetLayout:
    """The layout of a U-Net, or of its first half, whose tensors have diffusers' names; unchecked."""
    levels = count_layers(state, "down_blocks.")
    widths = [int(state[f"down_blocks.{i}.resnets.0.conv1.weight"].shape[0]) for i in range(levels)]
    first, out = state["conv_in.weight"], state.get("conv_out.weight")
    key = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    linear = state.get("mid_block.attentions.0.proj_in.weight")
    label = state.get("class_embedding.linear_1.weight")
    return UNetLayout(
        in_channels=int(first.shape[1]),
        out_channels=4 if out is None else int(out.shape[0]),
        model_channels=int(first.shape[0]),
        channel_mult=tuple(width // int(first.shape[0]) for width in widths),
        num_res_blocks=tuple(count_layers(state, f"down_blocks.{i}.resnets.") for i in range(levels)),
        transformer_depth=tuple(
            count_layers(state, f"down_blocks.{i}.attentions.0.transformer_blocks.") for i in range(levels)
        ),
        middle_depth=count_layers(state, "mid_block.attentions.0.transformer_blocks."),
        context_dim=int(state[key].shape[1]) if key in state else 0,
        linear_projection=linear is not None and linear.ndim == 2,
        adm_channels=None if label is None else int(label.shape[1]),
    )


def _context_dim(state: Mapping[str, torch.Tensor]) -> int | None:
    key = f"{UNET_PREFIX}middle_block.1.transformer_blocks.0.attn2.to_k.weight"
    return int(state[key].shape[1]) if key in state else None


def _check(state: Mapping[str, torch.Tensor], layout: UNetLayout, name: str) -> None:
    problem = None
    if layout.in_channels not in (4, 8, 9):
        problem = f"its U-Net has {layout.in_channels} input channels (4, 8 or 9 are known)"
    elif layout.context_dim == 0 or layout.middle_depth != 1 or max(layout.transformer_depth, default=0) > 1:
        problem = "its U-Net has an unusual arrangement of attention layers"
    elif layout.context_dim > 1024:
        problem = f"its text width is {layout.context_dim}, that of SDXL or a later family"
    if problem is None:
        expected = set(layout.module_names())
        missing = [m for m in expected if m.endswith(("conv_in", "to_q")) and f"{UNET_PREFIX}{m}.weight" not in state]
        if missing:
            problem = f"the tensor {UNET_PREFIX}{missing[0]}.weight is missing"
    if problem is not None:
        raise UnsupportedModelError(f"{name} cannot be run: {problem}. The embedded server runs {_SUPPORTED}")


def detect_prediction(state: Mapping[str, torch.Tensor], layout: UNetLayout) -> Prediction:
    """Noise or velocity. SD 2.x files do not say; as in ComfyUI the spread of one bias of the last block tells."""
    bias = state.get(f"{UNET_PREFIX}output_blocks.11.1.transformer_blocks.0.norm1.bias")
    if not layout.linear_projection or layout.in_channels != 4 or bias is None:
        return "eps"
    return "v" if float(torch.std(bias.float(), unbiased=False)) > 0.09 else "eps"
