"""FiftyOne's `ImageSegmentationDirectory`: pictures in data/, masks of class numbers in labels/, one folder a side."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from .pairs import Split, write_mask


def write(split: Split, dest: Path) -> list[str]:
    """DEST/<side>/{data,labels}; DEST/mask_targets.json names the classes of the masks' values."""
    for side, pairs in split.sides():
        for pair in pairs:
            split.place(pair.image, dest / side / "data" / f"{pair.name}{pair.image.suffix}")
            values = pair.mask * np.uint8(split.class_index(pair) + 1)
            write_mask(values, dest / side / "labels" / f"{pair.name}.png")
    targets = {str(value): name for value, name in enumerate(split.classes, 1)}
    (dest / "mask_targets.json").write_text(json.dumps(targets), encoding="utf-8")
    return []
