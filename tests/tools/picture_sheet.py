"""Small labelled pictures for help pages: tiles in columns, on a ground that suits a dark window and a white page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

WIDTH = 600
GAP = 6
GROUND, INK, FAINT = (32, 33, 36), (240, 240, 240), (165, 168, 175)
#: Bytes that a page's picture may have: help panels load it over the server's network each time.
LIMIT = 40_000


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet, with the words above it and, smaller, below it."""

    picture: Image.Image
    title: str
    note: str = ""


def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own typeface, so that every machine draws the same letters."""
    return ImageFont.load_default(size)


def to_picture(image: Tensor) -> Image.Image:
    """An IMAGE ``[1, H, W, 3]`` or MASK ``[1, H, W]`` (also without the batch), 0..1, as an RGB picture."""
    array = image.detach().cpu()
    if array.shape[0] == 1 and array.ndim > 2:
        array = array[0]
    return Image.fromarray((array.clamp(0, 1) * 255).round().byte().numpy()).convert("RGB")


def to_image(picture: np.ndarray) -> Tensor:
    """An 8-bit picture ``[H, W, 3]`` as IMAGE, or an 8-bit mask ``[H, W]`` as MASK, each with a batch of one."""
    return torch.from_numpy(picture.astype(np.float32) / 255)[None]


def fitting(draw: ImageDraw.ImageDraw, texts: Sequence[str], room: float, size: float) -> float:
    """The largest size up to `size` at which each of the texts fits into `room` px on one line."""
    while size > 8 and max(draw.textlength(text, font(size)) for text in texts) > room:
        size -= 0.5
    return size


def sheet(tiles: Sequence[Tile], columns: int) -> Image.Image:
    """Tiles of equal width in rows, titles above, notes below."""
    side = (WIDTH - GAP * (columns + 1)) // columns
    size = 25 if columns <= 2 else 22
    head = size + 12
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(round(t.picture.height * side / t.picture.width) for t in row) for row in rows]
    feet = [size + 8 if any(tile.note for tile in row) else GAP for row in rows]
    canvas = Image.new("RGB", (WIDTH, len(rows) * head + sum(heights) + sum(feet) + GAP), GROUND)
    draw = ImageDraw.Draw(canvas)
    # One size for all titles and one for all notes: a smaller one beside a larger one looks like less.
    titles, notes = (
        font(fitting(draw, texts, side - 4, most))
        for texts, most in (([tile.title for tile in tiles], size), ([tile.note for tile in tiles], size - 5))
    )
    top = GAP // 2
    for row, height, foot in zip(rows, heights, feet, strict=True):
        for number, tile in enumerate(row):
            left = GAP + number * (side + GAP)
            fitted = tile.picture.resize(
                (side, round(tile.picture.height * side / tile.picture.width)), Image.Resampling.LANCZOS
            )
            canvas.paste(fitted, (left, top + head))
            draw.text((left + 2, top + head / 2), tile.title, INK, titles, anchor="lm")
            draw.text((left + 2, top + head + height + foot / 2), tile.note, FAINT, notes, anchor="lm")
        top += head + height + foot
    return canvas


def save(canvas: Image.Image, path: Path) -> int:
    """Write a JPEG of at most `LIMIT` bytes, at the best quality that allows; gives the number of bytes."""
    for quality in range(90, 30, -3):
        buffer = io.BytesIO()
        canvas.save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
        if buffer.tell() <= LIMIT:
            path.write_bytes(buffer.getvalue())
            return buffer.tell()
    raise ValueError(f"{path.name}: {canvas.width}x{canvas.height} px do not fit into {LIMIT} bytes; draw less")
