"""What a viewer sees of a change, as a mask: the label that is true whatever was asked for.

A sampler rarely fills the mask it is given: the hole lies in a part of it, the rest is shell painted anew. The mask
that was *asked for* then teaches a detector to find shell. The label is therefore measured: the colour distance between
the photo and the result, followed from where it is beyond doubt down to where it is noticed (specs: defect_synthesis
E3).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

EIGHT = np.ones((3, 3), bool)


@dataclass(frozen=True)
class VisibleRule:
    """From which colour distance on a change is visible. Distances are CIE76 (Euclid in Lab).

    Attributes:
        edge: a change is followed down to this distance. 10 is noticed at a glance; at 8 the label takes in the rim
            that a person's label takes in too, and detectors gain (docs/labels.md).
        certain: only what reaches this distance somewhere counts at all.
        edge_share: ... and down to this share of each change's own strength. The faint halo that an autoencoder draws
            around a deep hole is no part of the hole.
        least_piece: pieces under this share of the largest one are dropped.
        least_area: pieces under this many px are dropped.
        smooth: Gaussian sigma in px over which the difference is averaged, so that grain is not taken for a change.
    """

    edge: float = 8.0
    certain: float = 16.0
    edge_share: float = 0.3
    least_piece: float = 0.1
    least_area: int = 12
    smooth: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.edge <= self.certain:
            raise ValueError(
                "visible change: expected 0 < edge <= certain (CIE76), "
                f"got edge {self.edge:g} and certain {self.certain:g}"
            )
        if not 0.0 <= self.edge_share < 1.0:
            raise ValueError(f"visible change: edge_share is a share below 1, got {self.edge_share:g}")


#: Less smoothing for the label than for finding a defect, as a share of the rule's: lines are thin, and in a photo of
#: 256 px it would widen a hole by a tenth.
DRAWN_SMOOTH = 0.7


def rule_for_drawn(rule: VisibleRule) -> VisibleRule:
    """The rule for a change of which nothing faint is left to find: a fine line counts with less contrast than a hole,
    however short the piece."""
    certain = max(rule.edge, 0.7 * rule.certain)
    return replace(rule, edge_share=0.0, certain=certain, least_piece=0.0, least_area=6)


def colour_distance(before: Floats, after: Floats, smooth: float = 1.0) -> NDArray[np.float32]:
    """CIE76 distance of two pictures at each pixel, their difference averaged over `smooth` px first.

    The difference is averaged as a vector: grain, which points everywhere, cancels; a darker patch does not.

    Args:
        before: ``[H, W, 3]`` RGB, 0..1.
        after: the same shape.
        smooth: Gaussian sigma in px; 0 compares pixel by pixel.

    Returns:
        ``[H, W]`` float32, 0 to about 100.

    Raises:
        ValueError: the shapes differ.
    """
    if before.shape != after.shape or before.ndim != 3 or before.shape[-1] != 3:
        raise ValueError(
            f"the pictures are {list(before.shape)} and {list(after.shape)}: both must be the same [height, width, 3]"
        )
    from skimage.color import rgb2lab  # here: loading it costs the host's start 0.1 s

    lab = rgb2lab(after.astype(np.float32)) - rgb2lab(before.astype(np.float32))
    if smooth > 0:
        lab = ndimage.gaussian_filter(lab, (smooth, smooth, 0.0))
    return np.sqrt((lab * lab).sum(-1)).astype(np.float32)


def noise_floor(distance: Floats, quiet: Bools) -> float:
    """Colour distance below which a change is the machinery's, not the defect's.

    Args:
        distance: ``[H, W]``, as `colour_distance` gives it.
        quiet: ``[H, W]``, where nothing was meant to change but the picture went through the autoencoder all the same
            (the crop outside its denoise mask): 95 % of it lies below the floor. Of a picture that was repainted as a
            whole nothing is known to be quiet: `repainted.drift_floor`.
    """
    values = distance[quiet]
    return float(np.percentile(values, 95)) if values.size >= 64 else 0.0


def visible_change(
    distance: Floats, area: Bools, rule: VisibleRule | None = None, floor: float = 0.0, thinnest: float = 0.0
) -> Bools:
    """The visible part of a change.

    Args:
        distance: ``[H, W]``, as `colour_distance` gives it.
        area: ``[H, W]``, where a change may count: what was repainted.
        rule: thresholds.
        floor: `noise_floor`; raises the rule's `edge` to it and `certain` to twice it.
        thinnest: px; what is thinner is shaved off (tails and specks of a model that cannot draw so finely), gaps of
            that size are closed. 0 keeps every line.

    Returns:
        ``[H, W]`` bool, its openings filled; all False where nothing is visible.
    """
    from skimage.filters import apply_hysteresis_threshold  # here: loading it costs the host's start 0.1 s

    rule = rule or VisibleRule()
    edge = max(rule.edge, floor)
    certain = max(rule.certain, 2.0 * floor)
    inside = np.where(area, distance, 0.0)
    found = apply_hysteresis_threshold(inside, edge, certain)
    pieces, count = ndimage.label(found, EIGHT)
    kept = np.zeros(found.shape, bool)
    for number, box in enumerate(ndimage.find_objects(pieces, count), 1):
        here = pieces[box] == number
        strength = float(np.percentile(inside[box][here], 90))
        kept[box] |= here & (inside[box] >= max(edge, rule.edge_share * strength))
    if thinnest > 0:
        kept = _shaved(kept, thinnest)
    kept = ndimage.binary_fill_holes(kept)
    return without_crumbs(kept, rule)


def _shaved(mask: Bools, thinnest: float) -> Bools:
    """Opening, then closing, with discs of that diameter, by distances: any radius, and cheap."""
    radius = thinnest / 2.0
    padding = int(np.ceil(thinnest)) + 2
    wide = np.pad(mask, padding)
    eroded = ndimage.distance_transform_edt(wide) > radius
    opened = ndimage.distance_transform_edt(~eroded) <= radius if eroded.any() else eroded
    grown = ndimage.distance_transform_edt(~opened) <= radius if opened.any() else opened
    closed = ndimage.distance_transform_edt(grown) > radius
    return np.asarray((closed | opened)[padding:-padding, padding:-padding], bool)


def without_crumbs(mask: Bools, rule: VisibleRule) -> Bools:
    """A mask ``[H, W]`` without the pieces that the rule's `least_area` and `least_piece` call too small."""
    pieces, count = ndimage.label(mask, EIGHT)
    if count == 0:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= max(rule.least_area, rule.least_piece * sizes.max()))[pieces], bool)
