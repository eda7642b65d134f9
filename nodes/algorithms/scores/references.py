"""How a real defect looks, small enough to be kept: colours, size, and a thumbnail that gives copies away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

_SIDE = 24

#: Levels of the three Lab channels in a histogram: lightness tells most about a hole.
_BINS = (8, 4, 4)
_RANGES = ((0.0, 100.0), (-20.0, 40.0), (-20.0, 50.0))


@dataclass(frozen=True)
class Look:
    """One defect: its colour histogram (sums to 1), the square root of its area in px, a grey thumbnail ``[24, 24]``
    of mean 0 and norm 1."""

    histogram: NDArray[np.float32]
    extent: float
    thumbnail: NDArray[np.float32]


def look_of(image: Floats, mask: Bools) -> Look:
    """Describe the defect in ``[H, W, 3]``, 0..1, that ``[H, W]`` marks.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("the mask of the defect is empty, so there is nothing to compare with; mark the defect")
    from skimage.color import rgb2lab  # here: loading it costs the host's start 0.1 s

    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    inside = mask[box]
    lab = rgb2lab(np.ascontiguousarray(image[box], np.float32))
    counts, _ = np.histogramdd(lab[inside], bins=_BINS, range=_RANGES)
    grey = np.where(inside, lab[..., 0], lab[inside][:, 0].mean()).astype(np.float32)
    small = np.asarray(Image.fromarray(grey).resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float32)
    small = small - small.mean()
    total = max(1.0, float(counts.sum()))
    return Look((counts / total).astype(np.float32), float(np.sqrt(mask.sum())), small / (np.linalg.norm(small) + 1e-6))


def closeness(look: Look, references: Sequence[Look]) -> dict[str, float | None]:
    """Likeness to the most similar reference, and correlation with the one that it copies most, in any of eight turns.

    Returns:
        ``closeness`` 0..1: shared colours (histogram intersection) times the ratio of sizes; ``copy`` -1..1.
    """
    if not references:
        return {"closeness": None, "copy": None}
    likeness, copied = [], []
    for reference in references:
        shared = float(np.minimum(look.histogram, reference.histogram).sum())
        sizes = sorted((look.extent, reference.extent))
        likeness.append(shared * (sizes[0] / max(1e-6, sizes[1])) ** 0.5)
        turns = [np.rot90(face, k) for face in (look.thumbnail, look.thumbnail[:, ::-1]) for k in range(4)]
        copied.append(max(float((turn * reference.thumbnail).sum()) for turn in turns))
    return {"closeness": max(likeness), "copy": max(copied)}
