"""The page of the measure: table, differences, curves, worst misses and false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...pages import Pictures, write_page
from ..protocol.rows import PATCHCORE
from ..protocol.study import Result
from ..sets.real import RealSet
from ..statistics.measures import IMAGE, NAMES, PIXEL
from .showing import alarms, best_of_each_k, misses

ORDER = ("pixel_ap", "pixel_f1_max", "pixel_auroc", "pro", "image_auroc")
COLOURS = 8


def write_benefit_page(
    target: Path, record: dict[str, Any], results: Sequence[Result], real: RealSet, inside: bool
) -> None:
    """Write `target` and, unless `inside`, its pictures beside it."""
    pictures = Pictures(target, inside)
    galleries = [
        {
            "k": result.row.k,
            "name": result.row.name,
            "misses": misses(result, real, pictures),
            "alarms": alarms(result, real, pictures),
        }
        for result in best_of_each_k(results)
    ]
    write_page(
        "benefit.html",
        target,
        record=record,
        measures=[name for name in ORDER if name in (*PIXEL, *IMAGE)],
        test_defects=len(real.test_defects),
        test_good=len(real.test_good),
        verdicts=verdicts(record),
        warnings=[*real.notes, *(f"{s['name']}: {note}" for s in record["generated"] for note in s["notes"])],
        headline=headline(record),
        gains=gains(record),
        curves=curves(results),
        galleries=galleries,
        files="itself" if inside else f"the folder {pictures.folder.name}",
    )


def verdicts(record: dict[str, Any]) -> list[str]:
    """For each k one sentence on the generated row with the highest figure, and what it is above for sure."""
    sentences = []
    name = headline(record)
    for k in sorted({row["k"] for row in record["rows"] if row["generated"]}):
        rows = [row for row in record["rows"] if row["k"] == k and row["generated"] and row["figures"][name]]
        if not rows:
            continue
        best = max(rows, key=lambda row: row["figures"][name]["mean"])
        against = [
            d for d in record["differences"] if (d["k"], d["row"]) == (k, best["name"]) and name in d["measures"]
        ]
        above = [d["minus"] for d in against if d["measures"][name]["is_above"]]
        unsure = [d["minus"] for d in against if not d["measures"][name]["is_above"]]
        text = (
            f"k = {k}: the highest generated row is '{best['name']}', {NAMES[name]} {best['figures'][name]['mean']:.3f}"
        )
        text += f"; with the interval above 0 it beats {', '.join(above) or 'nothing'}"
        sentences.append(text + (f"; not for sure: {', '.join(unsure)}." if unsure else "."))
    return sentences or ["No row has generated pairs: the table shows what there is without them."]


def headline(record: dict[str, Any]) -> str:
    """The measure that sentences and differences speak of: pixel AP, or image AUROC where no mask is known."""
    return "pixel_ap" if any(row["figures"]["pixel_ap"] for row in record["rows"]) else "image_auroc"


def gains(record: dict[str, Any]) -> list[dict[str, Any]]:
    """For each k a table: rows with generated pairs, and their differences to the rows without."""
    tables = []
    for k in sorted({item["k"] for item in record["differences"]}):
        items = [item for item in record["differences"] if item["k"] == k]
        minus = list(dict.fromkeys(item["minus"] for item in items))
        values = {(item["row"], item["minus"]): item["measures"].get(headline(record)) for item in items}
        rows = [
            {"name": name, "differences": [values.get((name, base)) for base in minus]}
            for name in dict.fromkeys(item["row"] for item in items)
        ]
        tables.append({"k": k, "minus": minus, "rows": rows})
    return tables


def curves(results: Sequence[Result]) -> list[dict[str, Any]]:
    """One chart for each k; the row that needs no defect stands in all of them. Baselines are dashed."""
    charts = []
    for k in sorted({result.row.k for result in results}):
        shown = [r for r in results if r.curve and (r.row.k == k or r.row.name == PATCHCORE)]
        if len(shown) < 2:
            continue
        lines = [
            {
                "name": result.row.name,
                "points": result.curve,
                "colour": index % COLOURS,
                "dashed": not result.row.generated,
            }
            for index, result in enumerate(shown)
        ]
        charts.append({"k": k, "lines": lines})
    return charts
