"""Scores of one generated defect, from the photo, the result and the label alone.

Everything is measured in a window around the label: a pair of 1024 px costs some milliseconds. A score that cannot be
measured (no reference, no weights) is None, never a substitute (specs: defect_synthesis B.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .references import Look, closeness, look_of

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]
Scores = dict[str, float | None]

#: Every score, in the order in which they are shown, and what it says.
MEANING: dict[str, str] = {
    "quality": "the product of presence and what speaks against the picture; 0 to 1, higher is better",
    "presence": "how plainly a defect is there: contrast to its surroundings, with a dark core; 0 to 1",
    "contrast": "colour distance (CIE76) between the defect and its surroundings",
    "dark_core": "how much darker than its surroundings the defect's darkest tenth is; 0 to 1",
    "light_rim": "how much lighter than its surroundings the defect's lightest tenth is; 0 to 1",
    "change": "mean colour distance (CIE76) between photo and result inside the label",
    "seam": "how much steeper the picture became just outside the label; 0 is seamless",
    "grain": "fine detail of the defect over that of its surroundings; 1 is alike",
    "colour_drift": "shift of the surroundings' mean colour (CIE76); 0 where the photo was kept",
    "label_agreement": "overlap (IoU) of what was asked for with what is visible",
    "label_share": "share of the photo that the label covers",
    "closeness": "likeness of the defect's colours and size to real references, 0 to 1; None without references",
    "copy": "correlation with the most similar reference, -1 to 1; near 1 is a copy; None without references",
    "clip_similarity": "cosine of image embeddings (CLIP, DINOv2) to the references; None without weights",
}

#: A dark core that covers this share of the label, and this contrast (CIE76), are a hole beyond doubt.
_CORE_SHARE, _FULL_CONTRAST = 0.12, 30.0

#: Darker than this share of the surroundings' lightness is core.
_CORE_LIGHTNESS = 0.55

#: Correlation with a reference from which on a picture counts as its copy.
COPY = 0.95

_GAP, _LEAST_MARGIN = 2, 8

#: Pieces of a label that are nearer to each other than this share of the largest one's extent, on both sides, are
#: looked at as one.
_NEAR = 0.5

Box = tuple[int, int, int, int]


def score_defect(
    photo: Floats,
    result: Floats,
    label: Bools,
    requested: Bools | None = None,
    references: Sequence[Look] = (),
) -> Scores:
    """All scores of one pair.

    Args:
        photo: ``[H, W, 3]``, 0..1, the source.
        result: the same shape.
        label: ``[H, W]``, what is visible.
        requested: ``[H, W]``, what was asked for.
        references: `references.look_of` each real defect.

    Returns:
        A value for each name of `MEANING`; None where it could not be measured. An empty label has presence 0.
    """
    scores: Scores = dict.fromkeys(MEANING)
    covered = np.count_nonzero(label)
    scores["label_share"] = covered / label.size
    if requested is not None:
        both = np.count_nonzero(label & requested)
        union = covered + np.count_nonzero(requested) - both
        scores["label_agreement"] = both / union if union else 1.0
    if not covered:
        return scores | {"quality": 0.0, "presence": 0.0, "change": 0.0}
    parts = [_Part.of(photo[box], result[box], label[box]) for box in _windows(label)]
    inside = np.concatenate([part.lab_after[part.inside] for part in parts])
    ring = np.concatenate([part.lab_after[part.ring] for part in parts])
    scores |= _presence(inside, ring)
    before = np.concatenate([part.lab_before[part.inside] for part in parts])
    scores["change"] = float(np.linalg.norm(inside - before, axis=-1).mean())
    scores["seam"] = _seam(parts)
    scores["grain"] = _grain(parts)
    if len(ring):
        shift = ring.mean(0) - np.concatenate([part.lab_before[part.ring] for part in parts]).mean(0)
        scores["colour_drift"] = float(np.linalg.norm(shift))
    if references:
        scores |= closeness(look_of(result, label), references)
    scores["quality"] = quality(scores)
    return scores


def quality(scores: Scores) -> float:
    """One number to rank by: presence, less what speaks against the picture.

    A halo of one grey step costs little, a copy of a reference everything: it teaches a detector nothing new. The
    strongest change is *not* the best picture (choosing by the largest change rewards garbage): presence saturates.
    """
    value = scores["presence"] or 0.0
    value *= float(np.exp(-max(0.0, scores["seam"] or 0.0)))
    value *= float(np.exp(-max(0.0, (scores["colour_drift"] or 0.0) - 2.0) / 5.0))
    if scores["closeness"] is not None:
        value *= 0.5 + 0.5 * scores["closeness"]
    if scores["copy"] is not None and scores["copy"] > COPY:
        value = 0.0
    return float(value)


@dataclass(frozen=True)
class _Part:
    """A window around pieces of the label: Lab before and after, label, distance to it, surroundings."""

    lab_before: Floats
    lab_after: Floats
    inside: Bools
    away: Floats
    ring: Bools

    @classmethod
    def of(cls, photo: Floats, result: Floats, label: Bools) -> _Part:
        before, after = (np.ascontiguousarray(picture, np.float32) for picture in (photo, result))
        from skimage.color import rgb2lab  # here: loading it costs the host's start 0.1 s

        lab_after = rgb2lab(after)
        lab_before = lab_after.copy()
        differs = before != after
        changed = differs[..., 0] | differs[..., 1] | differs[..., 2]
        if changed.any():  # the rest is the photo's own
            lab_before[changed] = rgb2lab(before[changed])
        away = ndimage.distance_transform_edt(~label)
        ring = np.asarray(away > _GAP)
        # The surroundings; where a label leaves hardly any, all that is not label.
        return cls(lab_before, lab_after, label, away, ring if np.count_nonzero(ring) >= 16 else ~label)


def _windows(label: Bools) -> list[tuple[slice, slice]]:
    """Windows around the pieces of a label; far pieces have windows of their own and do not need what lies between."""
    rows, columns = np.flatnonzero(label.any(1)), np.flatnonzero(label.any(0))
    top, left = int(rows[0]), int(columns[0])
    pieces, _ = ndimage.label(label[top : rows[-1] + 1, left : columns[-1] + 1], np.ones((3, 3), bool))
    found = ndimage.find_objects(pieces)
    boxes = [(y.start + top, x.start + left, y.stop + top, x.stop + left) for y, x in found]
    reach = int(_NEAR * max(_extent(box) for box in boxes))
    grown = [_grown(box, -reach) for box in _joined([_grown(box, reach) for box in boxes])]
    grown = [_grown(box, max(_LEAST_MARGIN, int(0.15 * _extent(box)))) for box in grown]
    return [(slice(max(0, y0), y1), slice(max(0, x0), x1)) for y0, x0, y1, x1 in sorted(_joined(grown))]


def _extent(box: Box) -> int:
    return max(box[2] - box[0], box[3] - box[1])


def _grown(box: Box, by: int) -> Box:
    return (box[0] - by, box[1] - by, box[2] + by, box[3] + by)


def _joined(boxes: Sequence[Box]) -> list[Box]:
    """Boxes that overlap, as one, until none do."""
    waiting, apart = list(boxes), list[Box]()
    while waiting:
        box = waiting.pop()
        for other in apart:
            if box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]:
                apart.remove(other)
                low, high = map(min, box[:2], other[:2]), map(max, box[2:], other[2:])
                waiting.append((*low, *high))  # type: ignore[arg-type]
                break
        else:
            apart.append(box)
    return apart


def _presence(inside: Floats, ring: Floats) -> Scores:
    if not len(ring):  # the label fills the picture: nothing to stand out from
        return {"presence": 0.0, "contrast": 0.0, "dark_core": 0.0, "light_rim": 0.0}
    around = ring.mean(0)
    distance = np.linalg.norm(inside - around, axis=-1)
    contrast = float(distance.mean())
    light = inside[:, 0]
    dark = float(np.clip(1.0 - np.percentile(light, 10) / max(1.0, around[0]), 0.0, 1.0))
    rim = float(np.clip((np.percentile(light, 90) - around[0]) / max(1.0, 100.0 - around[0]), 0.0, 1.0))
    core = min(1.0, float((light < _CORE_LIGHTNESS * around[0]).mean()) / _CORE_SHARE)
    presence = core * min(1.0, contrast / _FULL_CONTRAST)
    return {"presence": float(presence), "contrast": contrast, "dark_core": dark, "light_rim": rim}


def _seam(parts: Sequence[_Part]) -> float | None:
    """Excess of the lightness gradient in the band where the blend ends, over the photo's own; in its units."""
    bands = [np.nonzero((part.away > _GAP) & (part.away <= _GAP + 4)) for part in parts]
    if not sum(len(y) for y, _ in bands):
        return None
    steps = [
        np.concatenate([_steepness(lab[..., 0], *band) for lab, band in zip(labs, bands, strict=True)]).mean()
        for labs in ([part.lab_before for part in parts], [part.lab_after for part in parts])
    ]
    return float((steps[1] - steps[0]) / (steps[0] + 1.0))


def _steepness(light: Floats, y: NDArray[np.intp], x: NDArray[np.intp]) -> Floats:
    """Length of the gradient (central differences, one-sided at the border) at some pixels only."""
    height, width = light.shape
    up, down = np.maximum(y - 1, 0), np.minimum(y + 1, height - 1)
    left, right = np.maximum(x - 1, 0), np.minimum(x + 1, width - 1)
    vertical = (light[down, x] - light[up, x]) / np.maximum(1, down - up)
    return np.hypot(vertical, (light[y, right] - light[y, left]) / np.maximum(1, right - left))


def _grain(parts: Sequence[_Part]) -> float | None:
    deep, around = [], []
    for part in parts:
        light = part.lab_after[..., 0]
        fine = np.abs(light - ndimage.gaussian_filter(light, 1.0))
        deep.append(fine[ndimage.binary_erosion(part.inside, iterations=2)])  # the outline is an edge, not grain
        around.append(fine[part.ring])
    inner, ring = np.concatenate(deep), np.concatenate(around)
    if len(inner) < 16 or len(ring) < 16:
        return None
    # Medians: the edge between a hole's core and its rim is structure, not grain.
    return float(np.median(inner) / (np.median(ring) + 1e-6))
