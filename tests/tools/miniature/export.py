"""Pack what was trained for shipping: 8-bit U-Net, fp16 autoencoder, low-rank differences, and the hash table.

    python tests/tools/miniature/export.py --work DIR [--data runner/checkpoints/data]

Exports miniature, and each variant whose DIR/unet-<kind>.pt exists.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from defectforge.runner.checkpoints import miniature, safetensors_file
from defectforge.runner.embedded.engine.layout import UNetLayout
from trained import TrainedVae

LAYOUT = UNetLayout(channel_mult=(1,), num_res_blocks=(1,), transformer_depth=(1,))
RANK = 32
METADATA = {"format": "pt", "licence": "Apache-2.0", "note": "parts of defectforge's miniature; not Stable Diffusion"}


def ldm_names(state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """diffusers' names to LDM's, sorted, float32."""
    modules = {ours: ldm for ldm, ours in LAYOUT.module_names().items()}
    modules |= {"class_embedding.linear_1": "label_emb.0.0", "class_embedding.linear_2": "label_emb.0.2"}
    renamed = {}
    for name, value in state.items():
        prefix = max((m for m in modules if name.startswith(m + ".")), key=len)
        renamed[modules[prefix] + name[len(prefix) :]] = value.float().numpy()
    return dict(sorted(renamed.items()))


def quantise(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """8-bit values and the scale of each output channel that loses least, out of a few clipping points."""
    flat = weight.reshape(len(weight), -1)
    top = np.abs(flat).max(1) + 1e-12
    best, best_error = np.zeros_like(flat), np.full(len(flat), np.inf)
    best_scale = top / 127
    for clip in (1.0, 0.93, 0.86, 0.8):
        scale = (clip * top / 127).astype(np.float32)
        values = np.clip(np.rint(flat / scale[:, None]), -127, 127)
        error = ((values * scale[:, None] - flat) ** 2).sum(1)
        better = error < best_error
        best[better], best_scale[better], best_error[better] = values[better], scale[better], error[better]
    return best.astype(np.int8).reshape(weight.shape), best_scale.astype(np.float32)


def base_tensors(unet: dict[str, np.ndarray], vae: TrainedVae) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {}
    for name, value in unet.items():
        if value.ndim > 1 and value.size > 20_000 and not name.startswith(("input_blocks.0.", "out.")):
            tensors[f"unet.{name}"], tensors[f"unet.{name}.scale"] = quantise(value)
        else:
            tensors[f"unet.{name}"] = value.astype(np.float16)
    for name, value in vae.vae.state_dict().items():
        part, _, rest = name.partition(".layers.")
        number, _, tail = rest.partition(".")
        shift = 1 if part == "decoder" else 0  # TAESD's decoder counts its clamp as layer 0
        tensors[f"vae.taesd_{part}.{int(number) + shift}.{tail}"] = value.numpy().astype(np.float16)
    return tensors


def difference(base: dict[str, np.ndarray], variant: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The best rank-32 difference of each weight, in 8 bits; small and reshaped tensors whole.

    ``base`` are the weights as trained, not as rounded: against those the difference has rank 32 exactly.
    """
    tensors: dict[str, np.ndarray] = {}
    for name, value in variant.items():
        old = base.get(name)
        if old is None or old.shape != value.shape or value.size <= 20_000:
            if old is None or old.shape != value.shape or not np.array_equal(old, value):
                tensors[f"set.{name}"] = value.astype(np.float16)
            continue
        change = (value - old).reshape(len(value), -1)
        if np.abs(change).max() < 1e-7:
            continue
        u, s, v = np.linalg.svd(change.astype(np.float64), full_matrices=False)
        rows, columns = u[:, :RANK] * np.sqrt(s[:RANK]), np.sqrt(s[:RANK])[:, None] * v[:RANK]
        out_scale = np.abs(rows).max(1) / 127 + 1e-12
        in_scale = np.abs(columns).max(0) / 127 + 1e-12
        tensors[f"rows.{name}"] = np.rint(rows / out_scale[:, None]).astype(np.int8)
        tensors[f"columns.{name}"] = np.rint(columns / in_scale[None]).astype(np.int8)
        tensors[f"out_scale.{name}"] = out_scale.astype(np.float32)
        tensors[f"in_scale.{name}"] = in_scale.astype(np.float32)
    return tensors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=miniature.DATA)
    options = parser.parse_args()
    options.data.mkdir(exist_ok=True)
    unet = torch.load(options.work / "unet.pt", weights_only=True)["ema"]
    base = ldm_names(unet)
    packed = base_tensors(base, TrainedVae(options.work / "vae.pt"))
    files = {"miniature.safetensors": packed}
    for kind in ("inpaint", "ip2p", "unclip"):
        source = options.work / f"unet-{kind}.pt"
        if source.exists():
            changed = ldm_names(torch.load(source, weights_only=True)["ema"])
            if kind == "ip2p":  # servers hand the picture's latents over unscaled (InstructPix2Pix's convention)
                changed["input_blocks.0.0.weight"][:, 4:] *= miniature.LATENT_SCALE
            files[f"miniature-{kind}.safetensors"] = difference(base, changed)
    table: dict[str, Any] = {}
    hashes = {}
    for file, tensors in files.items():
        hashes[file] = safetensors_file.write(options.data / file, tensors, METADATA)
        print(file, f"{(options.data / file).stat().st_size / 1e6:.2f} MB")
    for file in files:
        needed = dict.fromkeys(["miniature.safetensors", file])
        table[Path(file).stem] = {"files": {f: hashes[f] for f in needed}, "sha256": "", "bytes": 0}
        if file == "miniature-unclip.safetensors":
            table[Path(file).stem]["vision"] = True
    table_file = options.data / miniature.TABLE
    table_file.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        for name in table:
            path = Path(folder) / "checkpoint.safetensors"
            metadata = miniature.metadata(name)
            table[name]["sha256"] = safetensors_file.write(path, miniature.assemble(name, options.data), metadata)
            table[name]["bytes"] = path.stat().st_size
            assert hashlib.sha256(path.read_bytes()).hexdigest() == table[name]["sha256"]
            print(name, table[name]["sha256"], table[name]["bytes"])
    table_file.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
