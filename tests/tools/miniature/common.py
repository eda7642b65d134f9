"""What the training scripts share: the pool, the tiny autoencoder, logs, sheets and safe writing."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from PIL import Image


def tiny_vae() -> AutoencoderTiny:
    """TAESD's architecture with fresh weights; images and latents as in diffusers' AutoencoderTiny."""
    return AutoencoderTiny()


def shard_files(folder: Path) -> list[Path]:
    """The pool's shards in order of their names."""
    files = sorted(folder.glob("pool-*.npz"))
    if not files:
        raise FileNotFoundError(f"no shards in {folder}: run tests/tools/miniature/pool.py first")
    return files


def load_pool(folder: Path, key: str, limit: int | None = None) -> list[np.ndarray]:
    """The arrays named ``key`` of all shards, or of the first ``limit``."""
    return [np.load(file)[key] for file in shard_files(folder)[:limit]]


def load_pictures(folder: Path, limit: int | None = None) -> torch.Tensor:
    """All pictures of the pool, ``[N, 3, 128, 128]`` uint8."""
    parts = [part.reshape(-1, *part.shape[3:]) for part in load_pool(folder, "pictures", limit)]
    return torch.from_numpy(np.concatenate(parts)).permute(0, 3, 1, 2)


def log(work: Path, name: str, line: str) -> None:
    text = f"{time.strftime('%H:%M:%S')} {line}"
    print(text, flush=True)
    with (work / f"{name}.log").open("a") as file:
        file.write(text + "\n")


def save_atomically(state: object, path: Path) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def sheet(pictures: torch.Tensor, path: Path, columns: int) -> None:
    """Write pictures ``[N, 3, H, W]``, 0..1, as one PNG."""
    count, _, height, width = pictures.shape
    rows = -(-count // columns)
    canvas = np.zeros((rows * height, columns * width, 3), np.uint8)
    values = (pictures.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    for i, value in enumerate(values):
        y, x = divmod(i, columns)
        canvas[y * height : (y + 1) * height, x * width : (x + 1) * width] = value
    Image.fromarray(canvas).save(path)
