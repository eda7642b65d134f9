"""Scores of one generated defect, from the photo, the result and the label alone.

Everything is measured in a window around the label: a pair of 1024 px costs some milliseconds. A score that cannot be
measured (no reference, no weights) is None, never a substitute (specs: defect_synthesis B.2).
"""

from __future__ import annotations

from collections.abc import Sequence

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
    scores["label_share"] = float(label.mean())
    if requested is not None:
        union = int((label | requested).sum())
        scores["label_agreement"] = float((label & requested).sum() / union) if union else 1.0
    if not label.any():
        return scores | {"quality": 0.0, "presence": 0.0, "change": 0.0}
    rows, columns = _window(label)
    inside = label[rows, columns]
    before, after = (np.ascontiguousarray(picture[rows, columns], np.float32) for picture in (photo, result))
    away = ndimage.distance_transform_edt(~inside)
    ring = away > _GAP
    if ring.sum() < 16:
        ring = ~inside
    from skimage.color import rgb2lab  # here: loading it costs the host's start 0.1 s

    lab_before, lab_after = rgb2lab(before), rgb2lab(after)
    scores |= _presence(lab_after, inside, ring)
    scores["change"] = float(np.linalg.norm(lab_after[inside] - lab_before[inside], axis=-1).mean())
    scores["seam"] = _seam(lab_before[..., 0], lab_after[..., 0], away)
    scores["grain"] = _grain(lab_after[..., 0], inside, ring)
    if ring.any():
        shift = lab_after[ring].mean(0) - lab_before[ring].mean(0)
        scores["colour_drift"] = float(np.linalg.norm(shift))
    if references:
        scores |= closeness(look_of(after, inside), references)
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


def _window(label: Bools) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(label.any(1)), np.flatnonzero(label.any(0))
    box = (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)
    margin = max(_LEAST_MARGIN, int(0.15 * max(box[1] - box[0], box[3] - box[2])))
    return (
        slice(max(0, int(box[0]) - margin), int(box[1]) + margin),
        slice(max(0, int(box[2]) - margin), int(box[3]) + margin),
    )


def _presence(lab: Floats, inside: Bools, ring: Bools) -> Scores:
    if not ring.any():  # the label fills the picture: nothing to stand out from
        return {"presence": 0.0, "contrast": 0.0, "dark_core": 0.0, "light_rim": 0.0}
    around = lab[ring].mean(0)
    distance = np.linalg.norm(lab[inside] - around, axis=-1)
    contrast = float(distance.mean())
    light = lab[inside][:, 0]
    dark = float(np.clip(1.0 - np.percentile(light, 10) / max(1.0, around[0]), 0.0, 1.0))
    rim = float(np.clip((np.percentile(light, 90) - around[0]) / max(1.0, 100.0 - around[0]), 0.0, 1.0))
    core = min(1.0, float((light < _CORE_LIGHTNESS * around[0]).mean()) / _CORE_SHARE)
    presence = core * min(1.0, contrast / _FULL_CONTRAST)
    return {"presence": float(presence), "contrast": contrast, "dark_core": dark, "light_rim": rim}


def _seam(before: Floats, after: Floats, away: Floats) -> float | None:
    """Excess of the lightness gradient in the band where the blend ends, over the photo's own; in its units."""
    band = (away > _GAP) & (away <= _GAP + 4)
    if not band.any():
        return None
    steps = [np.hypot(*np.gradient(light)) for light in (before, after)]
    return float((steps[1][band] - steps[0][band]).mean() / (steps[0][band].mean() + 1.0))


def _grain(light: Floats, inside: Bools, ring: Bools) -> float | None:
    fine = light - ndimage.gaussian_filter(light, 1.0)
    deep = ndimage.binary_erosion(inside, iterations=2)  # the outline is an edge, not grain
    if deep.sum() < 16 or ring.sum() < 16:
        return None
    # Medians: the edge between a hole's core and its rim is structure, not grain.
    return float(np.median(np.abs(fine[deep])) / (np.median(np.abs(fine[ring])) + 1e-6))
