"""Whether written labels are true: an independent measure of the visible change, over the pairs of a run.

Nothing here uses the nodes' own measure (nodes/algorithms/compositing/visible.py): the distance is that of each pixel,
averaged afterwards, with one threshold, no hysteresis, no filling. It is the rule that the yardstick of the docs uses.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from defectforge.nodes.algorithms.compositing.denoise import paintable
from defectforge.nodes.algorithms.run_length import decode
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.color import rgb2lab

#: Distance in Lab above which a change is visible, sigma in px over which it is averaged, and the least piece in px.
THRESHOLD, SIGMA, LEAST = 10.0, 1.0, 20

#: How far in px a fine line's edge reaches beyond its label.
EDGE = 3

Picture = NDArray[np.uint8]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class PairTruth:
    """What is true of one pair.

    Attributes:
        number: of the pair.
        iou: overlap of the written label with the visible change.
        seen: share of the label that is visibly changed.
        outside: share of the visible change that the label leaves out.
        stray: largest difference, 0..255, outside denoise area and label.
        label: px of the label.
    """

    number: int
    iou: float
    seen: float
    outside: float
    stray: int
    label: int


def visible(source: Picture, result: Picture) -> Bools:
    """``[H, W]``: where two 8-bit pictures ``[H, W, 3]`` visibly differ."""
    distance = np.linalg.norm(rgb2lab(source) - rgb2lab(result), axis=-1)
    found = ndimage.gaussian_filter(distance, SIGMA) > THRESHOLD
    pieces, _ = ndimage.label(found)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= LEAST)[pieces], bool)


def pair_truth(number: int, source: Picture, result: Picture, label: Bools, area: Bools) -> PairTruth:
    """Judge one pair; `area` is what was repainted, ``[H, W]``."""
    change = visible(source, result)
    both, either = int((label & change).sum()), int((label | change).sum())
    difference = np.abs(source.astype(np.int16) - result.astype(np.int16)).max(-1)
    far = ~(area | ndimage.binary_dilation(label, iterations=EDGE))
    return PairTruth(
        number,
        both / either if either else 1.0,
        both / max(1, int(label.sum())),
        1.0 - both / change.sum() if change.any() else 0.0,
        int(difference[far].max()) if far.any() else 0,
        int(label.sum()),
    )


def opened(path: Path) -> Picture:
    """A picture as 8-bit RGB."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def records_of(out: Path) -> list[dict[str, Any]]:
    """The manifest of a run, by number."""
    lines = (out / "manifest.jsonl").read_text().splitlines()
    return sorted((json.loads(line) for line in lines), key=lambda record: int(record["number"]))


def run_truth(out: Path, data: Path) -> list[PairTruth]:
    """Judge every pair of a run of an inpainting workflow on the dataset `data`."""
    return [record_truth(out, data, record) for record in records_of(out)]


def record_truth(out: Path, data: Path, record: dict[str, Any]) -> PairTruth:
    """Judge the pair of one manifest line."""
    graph = json.loads((out / record["workflow"]["graph"]).read_text())
    ask = next(node["inputs"] for node in graph.values() if node["class_type"] == "DefectForgeDenoiseMask")
    numbers = [ask[name] for name in ("size", "context", "grow", "feather", "thinnest")]
    requested = decode(record["requested"])
    asked = paintable(requested, *numbers)
    with Image.open(out / record["mask"]["path"]) as picture:
        label = np.asarray(picture.convert("L")) > 127
    source, result = opened(data / record["source"]["file"]), opened(out / record["image"]["path"])
    # A fine line may be lengthened to the hole that it belongs to; that piece is in the label.
    area = (asked.denoise > 0) | ndimage.binary_dilation(asked.fine, iterations=EDGE)
    return pair_truth(int(record["number"]), source, result, label, area)


def refused_draws(out: Path) -> list[str]:
    """Why each refused draw of a run was refused."""
    with closing(sqlite3.connect(out / "run.sqlite")) as journal:
        return [str(row[0]) for row in journal.execute("SELECT reason FROM refused ORDER BY job, round, draw")]


def summary(truths: Sequence[PairTruth]) -> dict[str, float]:
    """Median and worst IoU, median share of the label that is seen, visible change outside over all, largest stray."""
    iou, seen, outside = (np.array([getattr(t, name) for t in truths]) for name in ("iou", "seen", "outside"))
    return {
        "pairs": len(truths),
        "iou": float(np.median(iou)),
        "worst": float(iou.min()),
        "seen": float(np.median(seen)),
        "outside": float(np.median(outside)),
        "most_outside": float(outside.max()),
        "stray": max(t.stray for t in truths),
    }
