"""The whole measure: rows trained and tested, figures with intervals, differences between rows."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detectors.base import Detector, Maps
from ..sets.generated import GeneratedSet
from ..sets.real import RealSet
from ..statistics.intervals import Floats, Resamples, interval, resampled, resamples
from ..statistics.measures import IMAGE, PIXEL, Truth, curve, measure, shown_map
from .rows import PATCHCORE, Row, plan_rows
from .store import Store, fill
from .workers import one_thread, scored

Say = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """What decides the figures, beside the data and the detector."""

    ks: tuple[int, ...] = (0, 1, 3)
    seeds: int = 3
    resamples: int = 1000
    workers: int = 1
    only: tuple[str, ...] = ()
    """Only rows whose name holds one of these; rows keep their figures, whichever others there are."""


@dataclass
class Result:
    """A row's figures, its values in every resample, and what the page shows of it."""

    row: Row
    figures: dict[str, Any]
    draws: dict[str, Floats]
    curve: list[tuple[float, float]]
    """Recall and precision, the mean of the seeds."""
    map: NDArray[np.float16]
    """The mean of the seeds' maps, each brought to 0..1: ``[N,S,S]``."""


def truth_of(real: RealSet) -> Truth:
    size = real.test[0].picture.shape[0]
    masks = [np.zeros((size, size), bool) if photo.truth is None else photo.truth for photo in real.test]
    known = [photo.truth is not None for photo in real.test]
    return Truth(np.stack(masks), np.array(known), np.array([photo.is_defect for photo in real.test]))


def study(
    real: RealSet,
    sets: Sequence[GeneratedSet],
    detector: Detector,
    patchcore: Detector | None,
    settings: Settings,
    say: Say,
) -> tuple[list[Result], list[dict[str, Any]], list[str]]:
    """All rows, the differences that decide, and what was left out with the reason.

    Args:
        patchcore: for the row that needs no defect; None leaves it out.
        say: is told each row as it is done.
    """
    plan = plan_rows(real, sets, settings.ks, settings.seeds)
    left_out = list(plan.left_out)
    rows = [row for row in plan.rows if not settings.only or any(text in _title(row) for text in settings.only)]
    if patchcore is None:
        rows = [row for row in rows if row.detector != "patchcore"]
        left_out.append(f"{PATCHCORE}: needs the frozen backbone's weights (extra `benefit`)")
    truth = truth_of(real)
    draws = resamples(truth.is_defect, settings.seeds, settings.resamples)
    results: list[Result] = []
    for row, maps in _all_maps(rows, real, sets, detector, patchcore, settings, say):
        results.append(_result(row, maps, truth, draws))
        say(line(results[-1]))
    return results, differences(results), left_out


def _all_maps(
    rows: Sequence[Row],
    real: RealSet,
    sets: Sequence[GeneratedSet],
    detector: Detector,
    patchcore: Detector | None,
    settings: Settings,
    say: Say,
) -> Iterator[tuple[Row, list[Maps]]]:
    one_thread()
    for chosen, these in ((patchcore, True), (detector, False)):
        part = [row for row in rows if (row.detector == "patchcore") == these]
        if chosen is None or not part:
            continue
        with tempfile.TemporaryDirectory(prefix="defectforge-benefit-", ignore_cleanup_errors=True) as folder:
            say(f"{chosen.name}: preparing pictures for {len(part)} row{'s' * (len(part) != 1)}")
            fill(Store(Path(folder)), chosen, real, sets, part)
            tasks = [(row, seed) for row in part for seed in range(settings.seeds)]
            maps: list[Maps] = []
            for row, _, of_seed in scored(tasks, Path(folder), chosen, min(settings.workers, len(tasks))):
                maps.append(of_seed)
                if len(maps) == settings.seeds:
                    yield row, maps
                    maps = []


def _result(row: Row, maps: list[Maps], truth: Truth, draws: Resamples) -> Result:
    by_seed = [measure(of_seed, truth) for of_seed in maps]
    values = resampled(maps, truth, draws)
    figures: dict[str, Any] = {}
    for name in (*PIXEL, *IMAGE):
        each = [figure[name] for figure in by_seed]
        if any(value is None for value in each):
            figures[name] = None
            continue
        numbers = [float(value) for value in each if value is not None]
        figures[name] = {"mean": float(np.mean(numbers)), "interval": interval(values[name]), "seeds": numbers}
    return Result(row, figures, values, curve(maps, truth), shown_map(maps))


def differences(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Each generated row minus each row that a user could have without this program, at the same k, and PatchCore."""
    found = []
    for result in results:
        if not result.row.generated:
            continue
        for base in results:
            is_comparable = base.row.detector == "patchcore" or base.row.k == result.row.k
            if not base.row.generated and is_comparable:
                found.append(_difference(result, base))
    return found


def _difference(result: Result, base: Result) -> dict[str, Any]:
    measures = {}
    for name in (*PIXEL, *IMAGE):
        one, other = result.figures[name], base.figures[name]
        if one is None or other is None:
            continue
        low, high = interval(result.draws[name] - base.draws[name])
        measures[name] = {"mean": one["mean"] - other["mean"], "interval": (low, high), "is_above": low > 0}
    return {"k": result.row.k, "row": result.row.name, "minus": base.row.name, "measures": measures}


def _title(row: Row) -> str:
    return f"k={row.k} {row.name}"


def line(result: Result) -> str:
    """One row as text; every figure of the docs' tables is printed so."""
    parts = []
    for name, short in (("pixel_ap", "AP"), ("pixel_f1_max", "F1"), ("pixel_auroc", "AUROC"), ("pro", "PRO")):
        parts.append(_figure(short, result.figures[name], name == "pixel_ap"))
    parts.append(_figure("image AUROC", result.figures["image_auroc"], False))
    pairs = result.row.pairs
    made = "" if pairs is None else f"  {pairs[0]}{f'..{pairs[1]}' if pairs[1] != pairs[0] else ''} pairs"
    return f"{_title(result.row):48s} {'  '.join(parts)}{made}"


def _figure(short: str, value: dict[str, Any] | None, with_interval: bool) -> str:
    if value is None:
        return f"{short} not measured"
    low, high = value["interval"]
    return f"{short} {value['mean']:.3f}" + (f" [{low:.3f}, {high:.3f}]" if with_interval else "")
