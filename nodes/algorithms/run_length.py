"""Masks as text: COCO's uncompressed run-length code, which pycocotools and the annotation tools read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def encode(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """``{"size": [height, width], "counts": [...]}``: lengths of runs of 0 and 1 in turn, column by column, 0 first."""
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    if flat.size and flat[0]:
        counts.insert(0, 0)
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": counts}


def decode(code: Mapping[str, Any]) -> NDArray[np.bool_]:
    """The mask ``[H, W]`` of `encode`.

    Raises:
        ValueError: the runs do not fill the size.
    """
    height, width = code["size"]
    counts = np.asarray(code["counts"], np.int64)
    if (counts < 0).any() or int(counts.sum()) != height * width:
        raise ValueError(f"run-length code: {int(counts.sum())} pixels in runs for a mask of {width}x{height}")
    values = np.arange(len(counts)) % 2 == 1
    return np.asarray(np.repeat(values, counts).reshape((height, width), order="F"))
