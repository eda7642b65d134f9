"""YOLO segmentation, as ultralytics and supervision read it: one line of outline points a connected part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from scipy import ndimage

from ..masks import outline, parts
from .pairs import TRAIN, VAL, Split


def write(split: Split, dest: Path) -> list[str]:
    """DEST/images/<side>, DEST/labels/<side>, DEST/data.yaml."""
    filled = 0
    for side, pairs in split.sides():
        (dest / "labels" / side).mkdir(parents=True)
        for pair in pairs:
            split.place(pair.image, dest / "images" / side / f"{pair.name}{pair.image.suffix}")
            filled += bool((ndimage.binary_fill_holes(pair.mask) & ~pair.mask).any())
            lines = []
            for part in parts(pair.mask):
                points = np.clip(outline(part) / pair.size, 0, 1)
                coordinates = " ".join(f"{value:.6f}" for value in points.ravel())
                lines.append(f"{split.class_index(pair)} {coordinates}\n")
            (dest / "labels" / side / f"{pair.name}.txt").write_text("".join(lines), encoding="utf-8")
    # Without a path, as ultralytics has it: relative to this file, so that the folder can move. A trainer wants both
    # sides; where one is empty the other stands for it, and it is said.
    there = [side for side, _ in split.sides()]
    sides = {side: f"images/{side if side in there else there[0]}" for side in (TRAIN, VAL)}
    content = {**sides, "names": dict(enumerate(split.classes))}
    (dest / "data.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    notes = []
    if filled:
        notes.append(f"{filled} masks have holes in them, which an outline cannot say: filled")
    if len(there) == 1:
        notes.append(f"all pairs are on one side: data.yaml names {there[0]} for both")
    return notes
