"""The label of a picture that was repainted as a whole: a defect that stands out from all that was drawn anew, or none.

img2img, instruct-pix2pix and reference-only move every edge and every grain a little. Where such a picture differs
from its photo is no label by itself: most of it is the part, drawn once more (specs: defect_synthesis E3).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .visible import EIGHT, Bools, Floats, VisibleRule, visible_change

#: Colour distance (CIE76) below which a pixel counts as not repainted: even ground that the autoencoder gave back.
_MOVED = 2.0
#: Defects of one picture are about equally strong; what is weaker than this share of the strongest is drift.
_AS_STRONG = 0.8
#: An honest label leaves no more than this share of its own area of equally certain change unlabelled.
_UNLABELLED = 0.08
#: A change this near to the outline of the part, as a share of the picture's shorter side, is the outline's own.
_OUTLINE = 0.01


def drift_floor(distance: Floats, widest: float) -> float:
    """Colour distance that the repainting of a whole picture brings by itself, without any defect.

    Taken from what was repainted at all: even ground comes back nearly equal, and a floor with it in would be the
    ground's, above which all of the part lies.

    Args:
        distance: ``[H, W]``, as `visible.colour_distance` gives it.
        widest: share of the picture, 0..1, that a defect covers at most. Where no more than that was repainted, it may
            be the defect itself, and the floor is taken from the whole picture.

    Returns:
        The median plus four robust standard deviations; 0 for fewer than 64 pixels.
    """
    moved = distance > _MOVED
    values = distance[moved] if float(moved.mean() if moved.size else 0.0) > widest else distance.ravel()
    if values.size < 64:
        return 0.0
    middle = float(np.median(values))
    return middle + 4.0 * 1.4826 * float(np.median(np.abs(values - middle)))


def standing_out(
    distance: Floats, area: Bools, rule: VisibleRule, widest: float, thinnest: float = 0.0
) -> NDArray[np.bool_]:
    """The change that is beyond doubt no drift.

    Args:
        distance: ``[H, W]``, as `visible.colour_distance` gives it, the shift of colours undone before.
        area: ``[H, W]``, the part: where a defect may be. As strong a change elsewhere, or at its outline, says that
            the part itself has moved.
        rule: thresholds; `drift_floor` raises them.
        widest: share of the picture, 0..1, above which a change is a drift.
        thinnest: px, as for `visible.visible_change`.

    Returns:
        ``[H, W]`` bool. All False where nothing stands out, or where what does is not all that changed as much: then
        there is no honest label.
    """
    found = visible_change(distance, np.ones_like(area), rule, drift_floor(distance, widest), thinnest)
    pieces, count = ndimage.label(found, EIGHT)
    if count == 0:
        return found
    strengths = [float(np.percentile(distance[pieces == number], 90)) for number in range(1, count + 1)]
    weak = [number for number, strength in enumerate(strengths, 1) if strength < _AS_STRONG * max(strengths)]
    inside = ndimage.distance_transform_edt(area) > _OUTLINE * min(area.shape) if not area.all() else area
    kept = found & ~np.isin(pieces, weak) & ~np.isin(pieces, np.unique(pieces[~inside]))
    unlabelled = found & ~kept
    return np.zeros_like(found) if unlabelled.sum() > _UNLABELLED * kept.sum() or kept.mean() > widest else kept
