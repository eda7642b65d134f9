"""What the page shows of a row: its worst misses and its worst false alarms, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from ....nodes.datasets.pictures import read_photo
from ...pages import Pictures
from ..protocol.study import Result
from ..sets.real import RealPhoto, RealSet

CELL = 320
TRUTH = np.array([40, 220, 90])
COLD, HOT = np.array([255, 190, 0]), np.array([255, 20, 20])


@dataclass(frozen=True)
class Shown:
    """One photo: as it is, with the truth's outline, under the detector's map; and a sentence."""

    photo: str
    truth: str
    found: str
    name: str
    text: str


def best_of_each_k(results: Sequence[Result]) -> list[Result]:
    """For each k the generated row with the highest pixel AP (image AUROC without masks): to look at, not to decide."""
    best: dict[int, Result] = {}
    for result in results:
        rank = _rank(result)
        if result.row.generated and rank is not None:
            known = best.get(result.row.k)
            if known is None or rank > (_rank(known) or 0):
                best[result.row.k] = result
    return list(best.values())


def _rank(result: Result) -> float | None:
    for name in ("pixel_ap", "image_auroc"):
        if result.figures[name] is not None:
            return float(result.figures[name]["mean"])
    return None


def misses(result: Result, real: RealSet, pictures: Pictures, count: int = 4) -> list[Shown]:
    """The defect photos of which the least is found, at the threshold of the best F1."""
    limit = threshold(result, real)
    found = []
    for index, photo in enumerate(real.test):
        if photo.is_defect and photo.truth is not None and photo.truth.any():
            found.append((float((result.map[index] >= limit)[photo.truth].mean()), index))
    return [
        _shown(real.test[index], result.map[index], limit, pictures, f"{share:.0%} of the defect found")
        for share, index in sorted(found)[:count]
    ]


def alarms(result: Result, real: RealSet, pictures: Pictures, count: int = 4) -> list[Shown]:
    """The photos with the highest map where no defect is (a rim of the defect is not counted)."""
    limit = threshold(result, real)
    found = []
    for index, photo in enumerate(real.test):
        if photo.truth is None:
            continue
        away = ~ndimage.binary_dilation(photo.truth, iterations=photo.truth.shape[0] // 32)
        values = result.map[index][away].astype(np.float32)
        found.append((float(values.max()), float((values >= limit).mean()), index))
    return [
        _shown(real.test[index], result.map[index], limit, pictures, f"{share:.2%} of the photo taken for a defect")
        for _, share, index in sorted(found, reverse=True)[:count]
    ]


def threshold(result: Result, real: RealSet) -> float:
    """Where F1 is best over all test pixels; half of the highest value without masks."""
    known = [index for index, photo in enumerate(real.test) if photo.truth is not None]
    scores = result.map[known].astype(np.float32).ravel()
    truth = np.stack([real.test[index].truth for index in known]).ravel() if known else np.zeros(0, bool)  # type: ignore[misc]
    if not truth.any():
        return float(result.map.max()) / 2
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(truth[order])
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + truth.sum())
    return float(scores[order][int(f1.argmax())])


def _shown(photo: RealPhoto, heat: NDArray[np.float16], limit: float, pictures: Pictures, text: str) -> Shown:
    image = Image.fromarray(read_photo(photo.path).pixels)
    image.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    pixels = np.asarray(image, np.float32)
    return Shown(
        pictures.add(image),
        pictures.add(Image.fromarray(_outlined(pixels, photo.truth))),
        pictures.add(Image.fromarray(_heated(pixels, heat, limit))),
        photo.name,
        text,
    )


def _outlined(pixels: NDArray[np.float32], truth: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
    result = pixels.copy()
    if truth is not None:
        mask = _resized(truth.astype(np.float32), pixels) > 0.5
        rim = ndimage.binary_dilation(mask, iterations=2) & ~mask
        result[rim] = TRUTH
    return result.astype(np.uint8)


def _heated(pixels: NDArray[np.float32], heat: NDArray[np.float16], limit: float) -> NDArray[np.uint8]:
    """Yellow from half of the threshold on, red from the threshold on."""
    values = _resized(heat.astype(np.float32), pixels)
    weight = np.clip(values / max(limit, 1e-6) * 2 - 1, 0, 1)[..., None]
    colour = np.where((values >= limit)[..., None], HOT, COLD)
    return (pixels * (1 - 0.65 * weight) + colour * 0.65 * weight).clip(0, 255).astype(np.uint8)


def _resized(values: NDArray[np.float32], pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    size = (pixels.shape[1], pixels.shape[0])
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))
