"""How sure a figure is: bootstrap over test photos and seeds, and paired differences between rows.

One resample draws defect photos, good photos and seeds, each with replacement, and is the same for all rows: the
difference of two rows is taken on equal photos and seeds. Sorting every pixel a thousand times would take hours, so
each photo's scores are counted once in bins; what that changes is about a thousandth (a test holds it), and the figures
themselves are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .measures import IMAGE, PIXEL, PRO_LIMIT, Maps, Truth, image_scores, regions

Floats = NDArray[np.float64]
BINS_OF_EACH = 500
LEVEL = 0.95


@dataclass(frozen=True)
class Resamples:
    """photos: how often each photo is drawn ``[R,N]``; seeds: each seed's share ``[R,S]``."""

    photos: Floats
    seeds: Floats


def resamples(is_defect: NDArray[np.bool_], n_seeds: int, count: int = 1000, seed: int = 0) -> Resamples:
    """`count` draws; defect and good photos are drawn apart, so that none is without a defect."""
    rng = np.random.default_rng(seed)
    photos = np.zeros((count, len(is_defect)))
    for group in (np.flatnonzero(is_defect), np.flatnonzero(~is_defect)):
        if len(group):
            photos[:, group] = rng.multinomial(len(group), np.full(len(group), 1 / len(group)), count)
    seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), count) / n_seeds
    return Resamples(photos, seeds)


def resampled(maps_of_seeds: Sequence[Maps], truth: Truth, draws: Resamples) -> dict[str, Floats]:
    """Each measure's value in each resample ``[R]``, for a row with one stack of maps a seed."""
    by_seed = [_of_one_seed(maps, truth, draws.photos) for maps in maps_of_seeds]
    return {name: np.einsum("sr,rs->r", np.stack([v[name] for v in by_seed]), draws.seeds) for name in by_seed[0]}


def interval(values: Floats) -> tuple[float, float]:
    """The middle 95 % of the resamples."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _of_one_seed(maps: Maps, truth: Truth, photos: Floats) -> dict[str, Floats]:
    values: dict[str, Floats] = {}
    if truth.has_pixels:
        values |= _pixels(maps[truth.known], truth.masks[truth.known], photos[:, truth.known])
    if truth.has_images:
        values[IMAGE[0]] = _images(image_scores(maps), truth.is_defect, photos)
    return values


def _images(scores: NDArray[np.float32], is_defect: NDArray[np.bool_], photos: Floats) -> Floats:
    bad, good = scores[is_defect][:, None], scores[~is_defect][None]
    wins = (bad > good) + 0.5 * (bad == good)
    bad_weight, good_weight = photos[:, is_defect], photos[:, ~is_defect]
    pairs = bad_weight.sum(1) * good_weight.sum(1)
    return np.asarray(np.einsum("rb,bg,rg->r", bad_weight, wins, good_weight) / pairs)


def _pixels(maps: Maps, masks: NDArray[np.bool_], photos: Floats) -> dict[str, Floats]:
    edges = _edges(maps[masks], maps[~masks])
    bins = len(edges) + 1
    # Bin 0 holds the highest scores.
    place = bins - 1 - np.searchsorted(edges, maps.reshape(len(maps), -1), side="right")
    flat = masks.reshape(len(masks), -1)
    in_defect = np.stack([np.bincount(p[m], minlength=bins) for p, m in zip(place, flat, strict=True)])
    sound = np.stack([np.bincount(p[~m], minlength=bins) for p, m in zip(place, flat, strict=True)])
    hits = np.cumsum(photos @ in_defect, 1)
    false = np.cumsum(photos @ sound, 1)
    recall, alarm = hits / hits[:, -1:], false / false[:, -1:]
    precision = hits / np.maximum(hits + false, 1e-12)
    start = np.zeros((len(photos), 1))
    steps = np.diff(np.hstack([start, recall]))
    rise, run = np.hstack([start, recall]), np.hstack([start, alarm])
    values = {
        "pixel_auroc": (np.diff(run) * (rise[:, 1:] + rise[:, :-1]) / 2).sum(1),
        "pixel_ap": (steps * precision).sum(1),
        "pixel_f1_max": (2 * hits / np.maximum(hits + false + hits[:, -1:], 1e-12)).max(1),
        "pro": _overlap(maps, masks, edges, photos, run),
    }
    return {name: values[name] for name in PIXEL}


def _overlap(maps: Maps, masks: NDArray[np.bool_], edges: Floats, photos: Floats, run: Floats) -> Floats:
    curves, owners = [], []
    for photo, (one, mask) in enumerate(zip(maps, masks, strict=True)):
        for region in regions(one[None], mask[None]):
            above = 1 - np.searchsorted(np.sort(region), edges[::-1], side="left") / len(region)
            curves.append(np.concatenate([[0.0], above, [1.0]]))
            owners.append(photo)
    weights = photos[:, owners]
    found = weights @ np.stack(curves) / weights.sum(1, keepdims=True)
    grid = np.linspace(0, PRO_LIMIT, 500)
    return np.stack([np.interp(grid, x, y).mean() for x, y in zip(run, found, strict=True)])


def _edges(in_defect: NDArray[np.float32], sound: NDArray[np.float32]) -> Floats:
    """Fine where it matters: evenly among the defect's pixels, ever finer towards the highest sound ones."""
    tail = 1 - np.geomspace(1 / max(len(sound), 2), 1, BINS_OF_EACH)
    chosen = [np.quantile(in_defect, np.linspace(0, 1, BINS_OF_EACH)), np.quantile(sound, tail)]
    return np.unique(np.concatenate(chosen))
