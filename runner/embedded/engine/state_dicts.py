"""Model files: reading them safely, and the key names of CLIP models in OpenCLIP's and transformers' words."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

StateDict = dict[str, torch.Tensor]

_OPEN_CLIP_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_OPEN_CLIP_OTHER = {
    "positional_embedding": "embeddings.position_embedding.weight",
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
    "class_embedding": "embeddings.class_embedding",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "ln_pre.weight": "pre_layrnorm.weight",
    "ln_pre.bias": "pre_layrnorm.bias",
    "ln_post.weight": "post_layernorm.weight",
    "ln_post.bias": "post_layernorm.bias",
}


class UnsupportedModelError(ValueError):
    """A model file that is broken or of a kind that the embedded server cannot run."""


def read_state_dict(path: Path) -> StateDict:
    """All tensors of a model file, on the CPU. Pickled files are read without running any code from them.

    Raises:
        FileNotFoundError: there is no such file.
        UnsupportedModelError: the file cannot be read, or not safely.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no model file {path}")
    if path.suffix.lower() in (".safetensors", ".sft"):
        try:
            return load_file(str(path), device="cpu")
        except SafetensorError as error:
            raise UnsupportedModelError(
                f"{path.name} is not a complete safetensors file ({error}). It was probably not downloaded to its end: "
                "compare its size and sha256 with what `defectforge models` prints, and fetch it again"
            ) from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UnsupportedModelError(
            f"{path.name} cannot be read as plain tensors ({_reason(error)}). Pickled files may hold code, which is "
            "never run here: use the model's .safetensors file instead"
        ) from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else {}
    tensors = {k: v for k, v in state.items() if isinstance(v, torch.Tensor)}
    if not tensors:
        raise UnsupportedModelError(f"{path.name} holds no model weights")
    return tensors


def _reason(error: Exception) -> str:
    """The line that says what is wrong: torch's message also advises to switch the safe reading off."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return next((line.split(" was not ")[0] for line in lines if "Unsupported" in line), lines[0])


def without_prefix(state: Mapping[str, torch.Tensor], prefix: str) -> StateDict:
    """The tensors under a prefix, without it."""
    return {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}


def renamed(key: str, modules: Mapping[str, str]) -> str | None:
    """A tensor's name with its module called as `modules` (old name -> new name) says; None where none holds it."""
    module = key
    while module and module not in modules:
        module = module.rpartition(".")[0]
    return modules[module] + key[len(module) :] if module else None


def from_open_clip(state: Mapping[str, torch.Tensor]) -> StateDict:
    """An OpenCLIP text or vision tower under transformers' names, its projection as `projection.weight`."""
    result: StateDict = {}
    for key, tensor in state.items():
        if key.startswith("transformer.resblocks."):
            number, _, rest = key[len("transformer.resblocks.") :].partition(".")
            layer = f"encoder.layers.{number}."
            name, _, kind = rest.rpartition(".")
            if rest.startswith("attn.in_proj_"):
                for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                    result[f"{layer}self_attn.{part}_proj.{rest.rpartition('_')[2]}"] = rows
            elif name in _OPEN_CLIP_LAYER:
                result[f"{layer}{_OPEN_CLIP_LAYER[name]}.{kind}"] = tensor
        elif key in ("text_projection", "proj"):
            result["projection.weight"] = tensor.transpose(0, 1)
        elif key in _OPEN_CLIP_OTHER:
            result[_OPEN_CLIP_OTHER[key]] = tensor
    return result


def count_layers(state: Mapping[str, torch.Tensor], prefix: str) -> int:
    """How many consecutive numbers N there are with a key that starts with `prefix` + N + "."."""
    numbers = {k[len(prefix) :].partition(".")[0] for k in state if k.startswith(prefix)}
    count = 0
    while str(count) in numbers:
        count += 1
    return count
