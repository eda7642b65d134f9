"""Placing a defect at the part's edge: a chip on it, or a piece that is gone up to it."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from ..hole_shapes import inside_picture
from . import DefectType
from .cut_off import cut_off
from .ground import AREA_TOLERANCE, Found, Ground


def at_edge(rng: np.random.Generator, ground: Ground, kind: DefectType, area: float) -> Found | str:
    """On the rim, its long side along it; what lies off the part is air, so the size is that of the rest."""
    assert kind.draw is not None
    shape = kind.draw(rng)
    found = _rim_place(rng, ground)
    if found is None:
        return "no edge of the part lies inside the picture"
    centre, inwards = found
    direction = inwards + math.pi / 2
    scale = math.sqrt(2.0 * area)
    for _ in range(6):
        box, top, left = inside_picture(*shape.placed(scale, direction, centre).raster(), ground.free.shape)
        window = (slice(top, top + box.shape[0]), slice(left, left + box.shape[1]))
        on = box & ground.part[window]
        drawn = int(np.count_nonzero(on))
        if drawn and abs(drawn - area) <= AREA_TOLERANCE * area:
            break
        scale *= float(np.clip(math.sqrt(area / max(drawn, 1)), 0.5, 2.0))
    else:
        return "its area cannot be reached at that edge"
    labels, count = ndimage.label(on, structure=np.ones((3, 3)))
    if count > 1:
        on = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    if np.count_nonzero(on & ground.free[window]) < np.count_nonzero(on):
        return "it would reach into the keep-out mask or into another defect"
    if np.count_nonzero(on) < (1 - 2 * AREA_TOLERANCE) * area:
        return "the edge would cut it into pieces"
    return on, top, left, direction


def _rim_place(rng: np.random.Generator, ground: Ground) -> tuple[tuple[float, float], float] | None:
    """A place on the part's edge, px, and the direction into the part, rad (x towards y)."""
    small = ground.small
    rim = small & ~ndimage.binary_erosion(small, border_value=1)
    # Where the photo cuts the part there is no edge to be chipped.
    rim[0] = rim[-1] = False
    rim[:, 0] = rim[:, -1] = False
    rows, columns = np.nonzero(rim)
    if rows.size == 0:
        return None
    chosen = int(rng.integers(rows.size))
    row, column = int(rows[chosen]), int(columns[chosen])
    reach = 6
    window = small[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
    y, x = np.nonzero(window)
    inwards = math.atan2(y.mean() - min(row, reach), x.mean() - min(column, reach))
    return (row * ground.step + rng.uniform(), column * ground.step + rng.uniform()), inwards


#: Places on the rim that are tried for one.
_ENDS_TRIED = 24

#: How strongly a long part breaks at its ends rather than along its side: 0 for a disc, by its elongation.
_BREAKS_ACROSS = 4.0


def cut_off_at(rng: np.random.Generator, ground: Ground, area: float) -> Found | str:
    """All beyond a line of fracture, most often across the part's longer axis: that is where a long part breaks."""
    power = _BREAKS_ACROSS * (ground.frame.elongation - 1.0)
    found = _rim_place(rng, ground)
    for _ in range(_ENDS_TRIED):
        if found is None or rng.uniform() <= abs(math.cos(found[1] - ground.frame.axis)) ** power:
            break
        found = _rim_place(rng, ground)
    if found is None:
        return "no edge of the part lies inside the picture"
    centre, inwards = found
    rows, columns = (np.flatnonzero(ground.part.any(axis=axis)) for axis in (1, 0))
    top, left = int(rows[0]), int(columns[0])
    window = (slice(top, int(rows[-1]) + 1), slice(left, int(columns[-1]) + 1))
    piece = cut_off(rng, ground.part[window], (centre[0] - top, centre[1] - left), inwards, area)
    if piece is None:
        return "the part would fall into pieces there"
    if np.count_nonzero(piece & ground.free[window]) < np.count_nonzero(piece):
        return "it would reach into the keep-out mask or into another defect"
    rows, columns = (np.flatnonzero(piece.any(axis=axis)) for axis in (1, 0))
    inner = piece[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return inner, top + int(rows[0]), left + int(columns[0]), inwards + math.pi / 2
