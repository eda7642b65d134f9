"""How well maps of anomaly find defects: pixel AUROC, AP, F1-max and image AUROC by scikit-learn, and PRO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

Maps = NDArray[np.float32]

PIXEL = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "pro")
IMAGE = ("image_auroc",)
NAMES = {
    "pixel_ap": "pixel AP",
    "pixel_f1_max": "pixel F1-max",
    "pixel_auroc": "pixel AUROC",
    "pro": "PRO (30 %)",
    "image_auroc": "image AUROC",
}
#: PRO is the area up to this share of false positive pixels, as in MVTec AD's paper.
PRO_LIMIT = 0.3
EIGHT = np.ones((3, 3), int)


@dataclass(frozen=True)
class Truth:
    """What the test photos show.

    masks: bool ``[N,S,S]``; `known` bool ``[N]``: whether a photo's mask is known; `is_defect` bool ``[N]``.
    """

    masks: NDArray[np.bool_]
    known: NDArray[np.bool_]
    is_defect: NDArray[np.bool_]

    @property
    def has_pixels(self) -> bool:
        """Pixel measures need a set and an unset pixel."""
        return bool(self.masks[self.known].any()) and not bool(self.masks[self.known].all())

    @property
    def has_images(self) -> bool:
        return bool(self.is_defect.any() and not self.is_defect.all())


def measure(maps: Maps, truth: Truth) -> dict[str, float | None]:
    """All measures of maps ``[N,S,S]``, higher is more anomalous. None where the test set does not allow one."""
    values: dict[str, float | None] = dict.fromkeys((*PIXEL, *IMAGE))
    if truth.has_pixels:
        masks, scores = truth.masks[truth.known], maps[truth.known]
        flat, told = masks.ravel(), scores.ravel()
        precision, recall, _ = precision_recall_curve(flat, told)
        values["pixel_auroc"] = float(roc_auc_score(flat, told))
        values["pixel_ap"] = float(average_precision_score(flat, told))
        values["pixel_f1_max"] = float((2 * precision * recall / (precision + recall + 1e-12)).max())
        values["pro"] = per_region_overlap(scores, masks)
    if truth.has_images:
        values["image_auroc"] = float(roc_auc_score(truth.is_defect, image_scores(maps)))
    return values


def image_scores(maps: Maps) -> NDArray[np.float32]:
    """A photo is as anomalous as its most anomalous pixel."""
    return maps.reshape(len(maps), -1).max(1)


def per_region_overlap(maps: Maps, masks: NDArray[np.bool_], limit: float = PRO_LIMIT, steps: int = 2000) -> float:
    """PRO: the mean share found of each connected defect, averaged over false positive rates from 0 to `limit`.

    Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021. Regions are 8-connected, each counts alike.

    Args:
        maps: float ``[N,S,S]``; masks: bool ``[N,S,S]`` with at least one region.
    """
    sound = np.sort(maps[~masks])[::-1]
    rates = np.linspace(0, limit, steps)
    # At a threshold just above the n-th highest sound pixel, n - 1 sound pixels are false positives.
    thresholds = sound[np.minimum((rates * len(sound)).astype(int), len(sound) - 1)]
    overlaps = [_found(np.sort(region), thresholds) for region in regions(maps, masks)]
    return float(auc(rates, np.mean(overlaps, 0)) / limit)


def regions(maps: Maps, masks: NDArray[np.bool_]) -> list[NDArray[np.float32]]:
    """The scores inside each connected region."""
    found = []
    for one, mask in zip(maps, masks, strict=True):
        labels, count = ndimage.label(mask, EIGHT)
        found += [one[labels == number] for number in range(1, count + 1)]
    return found


def _found(ascending: NDArray[np.float32], thresholds: NDArray[np.float32]) -> NDArray[np.float64]:
    """The share of a region's pixels above each threshold."""
    return np.asarray(1 - np.searchsorted(ascending, thresholds, side="right") / len(ascending))


def curve(maps_of_seeds: Sequence[Maps], truth: Truth, points: int = 60) -> list[tuple[float, float]]:
    """(recall, precision) of the pixels, the mean over seeds at even recalls; empty without masks."""
    if not truth.has_pixels:
        return []
    grid = np.linspace(0.01, 1, points)
    found = []
    for maps in maps_of_seeds:
        precision, recall, _ = precision_recall_curve(truth.masks[truth.known].ravel(), maps[truth.known].ravel())
        found.append(np.interp(grid, recall[::-1], precision[::-1]))
    return [(float(r), float(p)) for r, p in zip(grid, np.mean(found, 0), strict=True)]


def shown_map(maps_of_seeds: Sequence[Maps]) -> NDArray[np.float16]:
    """The mean over seeds, each stretched from its median to its highest value, for looking at."""
    stretched = []
    for maps in maps_of_seeds:
        low, high = float(np.median(maps)), float(maps.max())
        stretched.append((maps - low).clip(0) / max(high - low, 1e-12))
    return np.mean(stretched, 0).astype(np.float16)
