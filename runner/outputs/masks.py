"""Masks of a run: read from a file, decoded from a manifest line, taken apart, and as outlines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import approximate_polygon, find_contours

from ...nodes.algorithms.run_length import decode
from ...nodes.datasets.errors import ReadError
from ...nodes.datasets.pictures import read_result
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
        levels, _ = read_result(path.read_bytes())
    except (OSError, ReadError) as error:
        raise request_error(
            "out.broken_mask", f"the mask cannot be read: {error}", str(path), "a whole picture file", "restore it"
        ) from error
    if levels.ndim == 3:
        levels = levels[..., :3].max(-1)
    highest = float(levels.max())
    return np.asarray(levels > highest / 2) if highest else np.zeros(levels.shape, bool)


def from_run_lengths(code: dict[str, Any]) -> Mask:
    """`run_length.decode`, with the runner's error.

    Raises:
        RequestError: the runs do not fill the mask.
    """
    try:
        return decode(code)
    except (KeyError, TypeError, ValueError) as error:
        raise request_error(
            "out.broken_mask",
            f"a requested mask in the manifest is no run-length code ({error})",
            expected='{"size": [h, w], "counts": [...]} whose counts add up to h*w',
            mend="the manifest was changed; take the run again",
        ) from error


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
