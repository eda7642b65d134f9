"""Masks of a run: read from a file, decoded from a manifest line, taken apart, and as outlines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from scipy import ndimage
from skimage.measure import approximate_polygon, find_contours

from ..errors import request_error

Mask = NDArray[np.bool_]
EIGHT = np.ones((3, 3), int)
#: Pixels by which an outline may leave the pixel edges' middle line.
TOLERANCE = 0.35


def read_mask_file(path: Path) -> Mask:
    """A mask picture as bool ``[H,W]``, cut at half of its own range.

    Raises:
        RequestError: it does not decode.
    """
    try:
        with Image.open(path) as image:
            levels = np.asarray(image.convert("RGB") if image.mode == "P" else image)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise request_error(
            "out.broken_mask", f"the mask cannot be read: {error}", str(path), "a whole picture file", "restore it"
        ) from error
    if levels.ndim == 3:
        levels = levels[..., :3].max(-1)
    highest = float(levels.max())
    return np.asarray(levels > highest / 2) if highest else np.zeros(levels.shape, bool)


def from_run_lengths(code: dict[str, Any]) -> Mask:
    """COCO's uncompressed run-length code: ``{"size": [h, w], "counts": [zeros, ones, zeros, ...]}``, column by column.

    Raises:
        RequestError: the runs do not fill the mask.
    """
    try:
        height, width = (int(side) for side in code["size"])
        counts = np.asarray(code["counts"], np.int64)
        if counts.ndim != 1 or (counts < 0).any() or counts.sum() != height * width:
            raise ValueError(f"runs of {int(counts.sum())} pixels")
    except (KeyError, TypeError, ValueError) as error:
        raise request_error(
            "out.broken_mask",
            f"a requested mask in the manifest is no run-length code ({error})",
            expected='{"size": [h, w], "counts": [...]} whose counts add up to h*w',
            mend="the manifest was changed; take the run again",
        ) from error
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T


def to_run_lengths(mask: Mask) -> dict[str, Any]:
    """The inverse of `from_run_lengths`."""
    flat = np.concatenate([[False], mask.T.ravel(), [True]])
    # Where the value changes, counted from a zero before the first pixel; the sentinel closes the last run.
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    bounds = np.concatenate([[0], edges[edges < mask.size], [mask.size]])
    return {"size": [int(side) for side in mask.shape], "counts": [int(run) for run in np.diff(bounds)]}


def parts(mask: Mask) -> list[Mask]:
    """The 8-connected parts, each as a mask of the same size, the largest first."""
    labels, count = ndimage.label(mask, EIGHT)
    found = [labels == number for number in range(1, count + 1)]
    return sorted(found, key=lambda part: -int(part.sum()))


def box(mask: Mask) -> tuple[int, int, int, int]:
    """x, y, width and height of what is set."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = int(rows[0]), int(columns[0])
    return left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1


def outline(part: Mask) -> NDArray[np.float64]:
    """The outer outline of one connected part as ``[N,2]`` x, y in pixels (0 is the picture's left or top edge).

    Holes are filled: the formats that take outlines have no word for them.
    """
    left, top, width, height = box(part)
    filled = ndimage.binary_fill_holes(part[top : top + height, left : left + width])
    # A frame of zeros, so that a part at the picture's edge has an outline there too.
    framed = np.pad(filled, 1).astype(float)
    longest = max(find_contours(framed, 0.5, fully_connected="high"), key=len)
    points = approximate_polygon(longest, TOLERANCE)[:-1, ::-1]
    return np.asarray(points - 0.5 + (left, top))
