"""The miniature checkpoints: rebuild full single files, in Stable Diffusion 1.5's layout, from what is shipped.

Shipped are the trained parts only: the U-Net as 8-bit integers with one scale per output channel, the tiny autoencoder
in fp16, and per variant a low-rank difference. The frozen text encoder is drawn again from its seed. Rebuilding uses
exact integer products and single IEEE operations, so the result is the same file everywhere, and its sha256 is checked.

    write_checkpoint("miniature", Path("models/checkpoints/miniature.safetensors"))

It is not Stable Diffusion: see docs/miniature.md for what it was trained on and what it can do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import request_error
from . import random_text_encoder, random_vision_encoder, safetensors_file

DATA = Path(__file__).parent / "data"
TABLE = "miniature.json"
UNET, VAE = "model.diffusion_model.", "first_stage_model."
LATENT_SCALE = 0.18215

Tensors = dict[str, NDArray[Any]]


def table(data: Path = DATA) -> dict[str, Any]:
    """name -> {"files": {file: sha256}, "sha256": of the rebuilt file, "bytes": its size, "vision": bool}."""
    path = data / TABLE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def available(name: str, data: Path = DATA) -> bool:
    """Whether this installation holds the weights of that miniature."""
    entry = table(data).get(name)
    return entry is not None and all((data / file).exists() for file in entry["files"])


def write_checkpoint(name: str, path: Path, data: Path = DATA) -> str:
    """Rebuild checkpoint ``name`` at ``path``; returns its sha256.

    Raises:
        RequestError: unknown name; a shipped file that is missing, truncated or changed (the text names the file, both
            hashes and the command that mends it); a result with another hash than the table's.
    """
    entry = table(data).get(name)
    if entry is None:
        raise request_error(
            "miniature.unknown",
            f"no miniature checkpoint is called '{name}'",
            where=str(data / TABLE),
            expected="one of " + (", ".join(table(data)) or "none: this installation holds no weights"),
        )
    tensors = assemble(name, data)
    found = safetensors_file.write(path, tensors, metadata(name))
    if found != entry["sha256"]:
        path.unlink()
        raise request_error(
            "miniature.other_result",
            f"rebuilding '{name}' gave another file than expected",
            where=str(path),
            expected=f"sha256 {entry['sha256']}; found {found}",
            mend="report this machine's NumPy version and processor: the same bytes are expected everywhere",
        )
    return found


def metadata(name: str) -> dict[str, str]:
    """The rebuilt file's own words about itself."""
    return {"format": "pt", "name": name, "licence": "Apache-2.0", "note": "not Stable Diffusion"}


def assemble(name: str, data: Path = DATA) -> Tensors:
    """All tensors of a checkpoint, in file order, verified against the table's hashes of the shipped files."""
    entry = table(data)[name]
    shipped = [_read(data / file, sha256) for file, sha256 in entry["files"].items()]
    tensors: Tensors = {}
    for key, value in _unet(shipped[0], shipped[1:]).items():
        tensors[UNET + key] = value
    for key, value in shipped[0].items():
        if key.startswith("vae."):
            tensors[VAE + key.removeprefix("vae.")] = value
    # ComfyUI and the embedded server divide the encoder's latents by this, as for every TAESD.
    tensors[VAE + "vae_scale"] = np.float32(LATENT_SCALE).reshape(())
    tensors.update(random_text_encoder.tensors())
    if entry.get("vision"):
        tensors.update(random_vision_encoder.tensors())
    return tensors


def _unet(base: Mapping[str, NDArray[Any]], differences: list[Tensors]) -> Tensors:
    """fp16 weights of the U-Net in LDM names: base, plus a variant's low-rank differences and replaced tensors."""
    weights: Tensors = {}
    for key, value in base.items():
        if not key.startswith("unet.") or key.endswith(".scale"):
            continue
        scale = base.get(f"{key}.scale")
        weights[key.removeprefix("unet.")] = value if scale is None else expand(value, scale)
    for difference in differences:
        for key, value in difference.items():
            action, _, rest = key.partition(".")
            if action == "set":
                weights[rest] = value
            elif action == "rows":
                weights[rest] = weights[rest] + low_rank(difference, rest).reshape(weights[rest].shape)
    return {key: weight.astype(np.float16) for key, weight in weights.items()}


def expand(values: NDArray[np.int8], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """8-bit weights ``[out, ...]`` times their output channel's scale ``[out]``, float32."""
    return values.astype(np.float32) * scale.reshape(-1, *[1] * (values.ndim - 1))


def low_rank(difference: Mapping[str, NDArray[Any]], key: str) -> NDArray[np.float32]:
    """``rows [out, r]`` times ``columns [r, in]``, both 8-bit, with a scale for each output and for each input.

    The integer product is exact in float64 in whatever order a machine adds it up, so the result is too.
    """
    product = difference[f"rows.{key}"].astype(np.float64) @ difference[f"columns.{key}"].astype(np.float64)
    scaled = product.astype(np.float32) * difference[f"out_scale.{key}"][:, None]
    return np.asarray(scaled * difference[f"in_scale.{key}"][None, :], np.float32)


def _read(path: Path, sha256: str) -> Tensors:
    mend = f"git checkout -- runner/checkpoints/data/{path.name}, or pip install --force-reinstall defectforge"
    if not path.exists():
        raise request_error(
            "miniature.missing", "a file of the miniature's weights is missing", str(path), f"sha256 {sha256}", mend
        )
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise request_error(
            "miniature.corrupt",
            f"{path.name} is broken: {len(content)} bytes that are not the miniature's weights",
            where=str(path),
            expected=f"sha256 {sha256}; found {found}",
            mend=mend,
        )
    return _parse(content)


def _parse(content: bytes) -> Tensors:
    """Tensors of a safetensors file in the file's own order, which the rebuilt checkpoint keeps."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    kinds = {"F16": "<f2", "F32": "<f4", "I8": "|i1"}
    tensors: Tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(content[start:end], kinds[entry["dtype"]]).reshape(entry["shape"])
    return tensors
