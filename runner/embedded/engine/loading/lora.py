"""LoRA files: low-rank changes of weights, found by the names under which trainers write them.

A change is strength * (alpha / rank) * up @ down (Hu et al. 2022); convolutions are flattened, with an optional core
in between (LoCon). Names: kohya-ss (`lora_unet_...`, `lora_te_...`, in LDM's or diffusers' words), diffusers and PEFT.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from ....checkpoints.lora_files import metadata_of, training_record
from ..encoders.clip import Clip
from ..model.model import EmbeddedModel, WeightChange
from ..state_dicts import StateDict, UnsupportedModelError, read_state_dict

#: (up, down, core) under the suffixes of one convention.
_SUFFIXES = (
    (".lora_up.weight", ".lora_down.weight", ".lora_mid.weight"),
    (".lora_B.weight", ".lora_A.weight", None),
    ("_lora.up.weight", "_lora.down.weight", None),
    (".lora.up.weight", ".lora.down.weight", None),
)
#: How names of a text encoder's changes begin.
TEXT_STARTS = ("lora_te_", "lora_te1_", "lora_te2_", "text_encoder.", "text_encoder_2.", "te1.", "te2.")
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

    ComfyUI leaves out what does not fit and only logs it; here a file that fits in part is refused, because its picture
    would be neither the model's nor the LoRA's. Changes of a text encoder are left out where no CLIP is given.

    Raises:
        UnsupportedModelError: the file is no LoRA for this model, or of a kind that is not low-rank.
    """
    state = read_state_dict(path)
    unet_changes = changes(state, unet_names(model))
    text_changes = {} if clip is None else changes(state, text_names(clip))
    _check_kind(path, state)
    _check_fit(path, state, {**unet_names(model), **({} if clip is None else text_names(clip))}, clip is not None)
    for name, change in unet_changes.items():
        _check_shape(path, name, change, model.model.diffusion_model.get_parameter(name).shape)
    if clip is not None:
        for name, change in text_changes.items():
            _check_shape(path, name, change, clip.encoder.get_parameter(name).shape)
    model = model.clone()
    model.add_weight_patches(unet_changes, strength_model)
    if clip is not None:
        clip = clip.clone()
        clip.add_weight_patches(text_changes, strength_clip)
    return model, clip


def _check_kind(path: Path, state: StateDict) -> None:
    other = next((kind for kind in _OTHER_KINDS if any(kind in k for k in state)), None)
    if other is not None:
        raise UnsupportedModelError(
            f"{path.name} is not a LoRA for this checkpoint: it is of the {other} kind. Expected is a low-rank LoRA; "
            "other kinds need a ComfyUI server"
        )


def modules_of(state: StateDict) -> set[str]:
    """The names under which a file changes weights; of tensors that belong to no such name, their own names."""
    suffixes = [suffix for three in _SUFFIXES for suffix in three if suffix is not None] + [".alpha"]
    found = set()
    for key in state:
        suffix = max((s for s in suffixes if key.endswith(s)), key=len, default="")
        found.add(key.removesuffix(suffix))
    return found


def _check_fit(path: Path, state: StateDict, names: dict[str, str], with_clip: bool) -> None:
    modules = modules_of(state)
    asked = {name for name in modules if with_clip or not name.startswith(TEXT_STARTS)}
    whole = {name for name in asked for up, down, _ in _SUFFIXES if name + up in state and name + down in state}
    strange = sorted(asked - (names.keys() & whole))
    if not strange and asked:
        return
    if not asked:
        reason = "it changes a text encoder only, and no CLIP is connected"
    elif len(strange) == len(asked):
        reason = f"no name in it fits, such as {strange[0]!r}"
    else:
        reason = f"{len(strange)} of its {len(asked)} changed modules do not exist there, such as {strange[0]!r}"
    raise UnsupportedModelError(
        f"{path.name} is not a LoRA for this checkpoint: {reason}. Expected is a low-rank LoRA that was trained for "
        f"the same Stable Diffusion family{_trained_on(path)}; load the checkpoint that it was trained for"
    )


def _trained_on(path: Path) -> str:
    """What the file itself says, where `defectforge lora` made it."""
    try:
        record = training_record(metadata_of(path))
        return f" (it says: trained on {record['model']['file']})" if record else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _check_shape(path: Path, name: str, change: WeightChange, shape: torch.Size) -> None:
    keywords = change.keywords  # type: ignore[attr-defined]
    if (keywords["up"].shape[0], keywords["down"].flatten(1).shape[1]) == (shape[0], shape[1:].numel()):
        return
    if keywords["core"] is not None:
        return
    raise UnsupportedModelError(
        f"{path.name} does not fit this checkpoint: its change of {name} is "
        f"{keywords['up'].shape[0]} x {keywords['down'].flatten(1).shape[1]}, the weight is {shape[0]} x "
        f"{shape[1:].numel()}. Load the checkpoint that it was trained for{_trained_on(path)}, or choose another LoRA"
    )
