"""A picture of results: photo, where the mask lies, what came out; one row a pair."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ....nodes.datasets.pictures import read_photo

CELL, GAP = 256, 6
RED = np.array([255.0, 40.0, 40.0])


def write_sheet(records: Sequence[dict[str, Any]], data: Path, results: Path, target: Path, columns: int = 2) -> None:
    """Rows of photo | mask over photo | result, `columns` pairs side by side.

    Args:
        records: manifest lines; `data` and `results` are the folders that their paths start from.
    """
    rows = -(-len(records) // columns)
    step = 3 * CELL + 4 * GAP
    sheet = Image.new("RGB", (columns * step, rows * (CELL + GAP) + GAP), (24, 24, 24))
    for n, record in enumerate(records):
        photo = _cell(data / record["source"]["file"])
        result = _cell(results / record["image"]["path"])
        mask = _cell(results / record["mask"]["path"]).convert("L") if record["mask"] else Image.new("L", photo.size)
        left, top = (n % columns) * step + GAP, (n // columns) * (CELL + GAP) + GAP
        for position, cell in enumerate((photo, overlay(photo, mask), result)):
            sheet.paste(cell, (left + position * (CELL + GAP), top))
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target)


def overlay(photo: Image.Image, mask: Image.Image) -> Image.Image:
    """The photo with the masked area tinted red; both of one size, mask 0..255."""
    weight = np.asarray(mask, np.float64)[..., None] / 255 * 0.6
    mixed = np.asarray(photo, np.float64) * (1 - weight) + RED * weight
    return Image.fromarray(mixed.round().astype(np.uint8))


def _cell(path: Path) -> Image.Image:
    return Image.fromarray(read_photo(path).pixels).resize((CELL, CELL), Image.Resampling.LANCZOS)
