"""A missing part: what a ragged line of fracture takes off a part, all of it up to the edge."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: Least share of the wanted area that the largest piece must have.
_ONE_PIECE = 0.9


def cut_off(
    rng: np.random.Generator,
    part: NDArray[np.bool_],
    edge: tuple[float, float],
    inwards: float,
    area: float,
) -> NDArray[np.bool_] | None:
    """Take a piece of the given area off a part at one side.

    Args:
        rng: source of all randomness.
        part: ``[h, w]``.
        edge: (y, x) on the part's edge, where the piece is taken.
        inwards: direction into the part, rad (x towards y).
        area: px.

    Returns:
        The piece ``[h, w]``, or None where the line would cut off several.
    """
    rows, columns = np.nonzero(part)
    if rows.size <= area:
        return None
    y, x = (rows - edge[0]).astype(np.float32), (columns - edge[1]).astype(np.float32)
    cos, sin = math.cos(inwards), math.sin(inwards)
    depth, across = cos * x + sin * y, -sin * x + cos * y
    # The line: an arc that bows into the part or out of it, with lumps and chips.
    reach = math.sqrt(area)
    lengths = np.array([2.2, 1.1, 0.55, 0.28, 0.14, 0.07]) * reach
    phases, sizes = rng.uniform(0, 2 * math.pi, lengths.size), rng.normal(0.0, 1.0, lengths.size) * 0.022 * lengths
    bow = rng.normal(0.0, 0.18) / reach
    position = np.linspace(float(across.min()), float(across.max()), 512)
    line = bow * np.square(position)
    line += (sizes[:, None] * np.sin(2 * math.pi * position / lengths[:, None] + phases[:, None])).sum(axis=0)
    depth -= np.interp(across, position, line).astype(np.float32)
    count = round(area)
    taken = depth <= np.partition(depth, count)[count]
    piece = np.zeros(part.shape, bool)
    piece[rows[taken], columns[taken]] = True
    labels, pieces = ndimage.label(piece)
    if pieces > 1:
        piece = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
        if np.count_nonzero(piece) < _ONE_PIECE * area:
            return None
    return piece
