"""LoRA files: low-rank changes of weights, found by the names under which trainers write them.

A change is strength * (alpha / rank) * up @ down (Hu et al. 2022); convolutions are flattened, with an optional core
in between (LoCon). Names: kohya-ss (`lora_unet_...`, `lora_te_...`, in LDM's or diffusers' words), diffusers and PEFT.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from .clip import Clip
from .model import EmbeddedModel, WeightChange
from .state_dicts import StateDict, UnsupportedModelError, read_state_dict

#: (up, down, core) under the suffixes of one convention.
_SUFFIXES = (
    (".lora_up.weight", ".lora_down.weight", ".lora_mid.weight"),
    (".lora_B.weight", ".lora_A.weight", None),
    ("_lora.up.weight", "_lora.down.weight", None),
    (".lora.up.weight", ".lora.down.weight", None),
)
#: Kinds of files that are called LoRA too but change weights in another way.
_OTHER_KINDS = ("hada_w1_a", "lokr_w1", "dora_scale", "oft_blocks", "diff_b", ".diff")


def low_rank_change(
    weight: torch.Tensor,
    strength: float,
    up: torch.Tensor,
    down: torch.Tensor,
    core: torch.Tensor | None,
    alpha: float | None,
) -> torch.Tensor:
    """The change of one weight, shaped like it."""
    up, down = up.to(weight.device).float(), down.to(weight.device).float()
    rank = down.shape[0]
    if core is not None:
        middle = core.to(weight.device).float()
        change = torch.einsum("oi,ijhw,jk->okhw", up.flatten(1), middle, down.flatten(1))
    else:
        change = up.flatten(1) @ down.flatten(1)
    scale = 1.0 if alpha is None else alpha / rank
    return (strength * scale) * change.reshape(weight.shape)


def unet_names(model: EmbeddedModel) -> dict[str, str]:
    """Name in a LoRA file -> parameter of `model.model.diffusion_model`."""
    network = model.model.diffusion_model
    parameters = {name for name, _ in network.named_parameters()}
    names: dict[str, str] = {}
    for ldm, ours in _weights_in_both_words(network.layout.module_names(), parameters):
        parameter = f"unet.{ours}.weight"
        for words in (ldm, ours):
            names["lora_unet_" + words.replace(".", "_")] = parameter
        names["diffusion_model." + ldm] = parameter
        processor = ours.replace(".to_", ".processor.to_").removesuffix(".0") if ".to_" in ours else ours
        plain = ours.removesuffix(".0") if ours.endswith("to_out.0") else ours
        for words in (ours, plain, processor):
            names["unet." + words] = parameter
            names[words] = parameter
    return names


def _weights_in_both_words(modules: dict[str, str], parameters: set[str]) -> Iterator[tuple[str, str]]:
    for ldm, ours in modules.items():
        for parameter in parameters:
            name = parameter.removeprefix("unet.")
            inside = name.startswith(ours + ".")
            if inside and name.endswith(".weight"):
                rest = name[len(ours) : -len(".weight")]
                yield ldm + rest, ours + rest


def text_names(clip: Clip) -> dict[str, str]:
    """Name in a LoRA file -> parameter of the text encoder."""
    names: dict[str, str] = {}
    for parameter, _ in clip.encoder.named_parameters():
        if not parameter.endswith(".weight"):
            continue
        module = parameter.removesuffix(".weight")
        for prefix in ("lora_te_", "lora_te1_"):
            names[prefix + module.replace(".", "_")] = parameter
        for prefix in ("text_encoder.", "te1."):
            names[prefix + module] = parameter
    return names


def changes(state: StateDict, names: dict[str, str]) -> dict[str, WeightChange]:
    """Changes by parameter."""
    found: dict[str, WeightChange] = {}
    for name, parameter in names.items():
        for up, down, core in _SUFFIXES:
            if name + up not in state or name + down not in state:
                continue
            alpha = state.get(name + ".alpha")
            found[parameter] = partial(
                low_rank_change,
                up=state[name + up],
                down=state[name + down],
                core=None if core is None else state.get(name + core),
                alpha=None if alpha is None else float(alpha),
            )
    return found


def apply_lora(
    model: EmbeddedModel, clip: Clip | None, path: Path, strength_model: float, strength_clip: float
) -> tuple[EmbeddedModel, Clip | None]:
    """Clones of model and CLIP that use the file's changes.

    Raises:
        UnsupportedModelError: the file is no LoRA for this model, or of a kind that is not low-rank.
    """
    state = read_state_dict(path)
    unet_changes = changes(state, unet_names(model))
    text_changes = {} if clip is None else changes(state, text_names(clip))
    if not unet_changes and not text_changes:
        other = next((kind for kind in _OTHER_KINDS if any(kind in k for k in state)), None)
        reason = f"it is of the {other} kind" if other else f"no name in it fits, such as {min(state)!r}"
        raise UnsupportedModelError(
            f"{path.name} is not a LoRA for this checkpoint: {reason}. Expected is a low-rank LoRA that was trained "
            "for the same Stable Diffusion family; other kinds need a ComfyUI server"
        )
    for name, change in unet_changes.items():
        _check_shape(path, name, change, model.model.diffusion_model.get_parameter(name).shape)
    model = model.clone()
    model.add_weight_patches(unet_changes, strength_model)
    if clip is not None:
        clip = clip.clone()
        clip.add_weight_patches(text_changes, strength_clip)
    return model, clip


def _check_shape(path: Path, name: str, change: WeightChange, shape: torch.Size) -> None:
    keywords = change.keywords  # type: ignore[attr-defined]
    if (keywords["up"].shape[0], keywords["down"].flatten(1).shape[1]) == (shape[0], shape[1:].numel()):
        return
    if keywords["core"] is not None:
        return
    raise UnsupportedModelError(
        f"{path.name} does not fit this checkpoint: its change of {name} is "
        f"{keywords['up'].shape[0]} x {keywords['down'].flatten(1).shape[1]}, the weight {tuple(shape)}"
    )
