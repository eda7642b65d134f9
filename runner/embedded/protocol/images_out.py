"""Numbered PNG files as ComfyUI's SaveImage writes them: names, counter, text chunks and rounding."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


def filled_in(prefix: str, width: int, height: int) -> str:
    """Replace `%width%`, `%height%` and the parts of the local date and time."""
    if "%" not in prefix:
        return prefix
    now = time.localtime()
    values = {
        "width": str(width),
        "height": str(height),
        "year": str(now.tm_year),
        "month": f"{now.tm_mon:02}",
        "day": f"{now.tm_mday:02}",
        "hour": f"{now.tm_hour:02}",
        "minute": f"{now.tm_min:02}",
        "second": f"{now.tm_sec:02}",
    }
    for name, value in values.items():
        prefix = prefix.replace(f"%{name}%", value)
    return prefix


def next_number(folder: Path, name: str) -> int:
    """One more than the highest number behind `name_` in the folder; ComfyUI counts the same way."""
    stem = os.path.normcase(f"{name}_")
    numbers = []
    for entry in os.listdir(folder) if folder.is_dir() else ():
        if os.path.normcase(entry[: len(stem)]) == stem:
            digits = entry[len(stem) :].split("_")[0]
            numbers.append(int(digits) if digits.isdigit() else 0)
    return max(numbers, default=0) + 1


def to_pil(image: Tensor) -> Image.Image:
    """`[H, W, C]` in 0..1 to an 8-bit picture: clipped, then truncated, not rounded, as ComfyUI does."""
    import numpy as np
    from PIL import Image

    return Image.fromarray(np.clip(255.0 * image.cpu().numpy(), 0, 255).astype(np.uint8))


def save_images(
    images: Tensor,
    prefix: str,
    root: Path,
    kind: str,
    *,
    prompt: Any = None,
    extra_pnginfo: Mapping[str, Any] | None = None,
    compress_level: int = 4,
) -> list[dict[str, str]]:
    """Write a batch `[B, H, W, C]` below `root` and give each file's reference (`filename`, `subfolder`, `type`).

    The prompt and each entry of `extra_pnginfo` become PNG text chunks, which is how a picture carries its workflow.

    Raises:
        ValueError: the prefix leads out of `root`.
    """
    from PIL.PngImagePlugin import PngInfo

    root = root.resolve()
    prefix = os.path.normpath(filled_in(prefix, int(images[0].shape[1]), int(images[0].shape[0])))
    subfolder, name = os.path.split(prefix)
    folder = Path(os.path.abspath(root / subfolder))
    if not folder.is_relative_to(root):
        raise ValueError(
            f"filename_prefix {prefix!r} leads out of the {kind} folder {root}: use a path below it, without '..'"
        )
    folder.mkdir(parents=True, exist_ok=True)
    number = next_number(folder, name)
    chunks = PngInfo()
    if prompt is not None:
        chunks.add_text("prompt", json.dumps(prompt))
    for key, value in (extra_pnginfo or {}).items():
        chunks.add_text(key, json.dumps(value))
    references = []
    for index, image in enumerate(images):
        file = f"{name.replace('%batch_num%', str(index))}_{number:05}_.png"
        to_pil(image).save(folder / file, pnginfo=chunks, compress_level=compress_level)
        references.append({"filename": file, "subfolder": subfolder, "type": kind})
        number += 1
    return references
