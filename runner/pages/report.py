"""OUT/report.html with its data as CSV and JSON: every pair to look at, to filter and to mark."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...nodes.algorithms.scores.measures import MEANING
from ..outputs.files import write_whole
from .page import write_page
from .reading import Pair, Run, command
from .views import GAIN, Viewer, Views

BINS = 20
ALIKE = 4
"""Grey levels of a 32 px copy by which two results of one source photo may differ and still count as alike."""
COPY = 0.95
COLUMNS = (
    "id", "number", "image", "mask", "category", "type", "method", "seed", "label", "source", "references", "seconds",
    "command", "problems",
)  # fmt: skip


def write_report(run: Run, inside: bool, say: Callable[[int], None] = lambda n: None) -> Path:
    """Write report.html, report.csv, report.json and, unless `inside`, report_files/ into OUT. Returns the page's path.

    Raises:
        OSError: the folder cannot be written.
    """
    page = run.out / "report.html"
    viewer = Viewer(page, inside)
    views = viewer.all(run.pairs, say)
    names = score_names(run.pairs)
    items = [_item(pair, view, run, names) for pair, view in zip(run.pairs, views, strict=True)]
    rows = methods(run, names)
    content = {
        "pairs": [{k: v for k, v in item.items() if k not in ("views", "note")} for item in items],
        "methods": rows,
        "refused": run.refused,
        "failed": run.failed,
        "put_aside": [row["pair"] for row in run.aside],
        "alike": alike(run.pairs, views),
        "notes": run.notes,
        "problems": run.problems,
    }
    write_whole(run.out / "report.json", json.dumps(content, indent=1).encode())
    write_whole(run.out / "report.csv", _csv(items, names))
    write_page(
        "report.html",
        page,
        title=run.out.resolve().name,
        data={"run": str(run.out.resolve()), "scores": names, "pairs": items},
        types=sorted({pair.type for pair in run.pairs}),
        run=run,
        rows=rows,
        names=names,
        meaning={name: MEANING.get(name, "a score of its own") for name in names},
        charts=[chart(name, run.pairs) for name in names],
        alike=content["alike"],
        gain=GAIN,
        alike_levels=ALIKE,
        copy=COPY,
        copies=[p for p in run.pairs if (p.scores.get("copy") or 0) > COPY],
        broken=[item for item in items if item["problems"]],
        folder="" if inside else viewer.folder.name,
        refused_names=[n for n in ("quality", "presence") if any(r["scores"].get(n) is not None for r in run.refused)],
    )
    return page


def score_names(pairs: Sequence[Pair]) -> list[str]:
    """Every score of the run, ours first and in their order."""
    found = {name for pair in pairs for name in pair.scores}
    return [name for name in MEANING if name in found] + sorted(found - set(MEANING))


def _item(pair: Pair, views: Views, run: Run, names: Sequence[str]) -> dict[str, Any]:
    record = pair.record
    entry = record.get("source")
    references = record.get("references")
    server = record.get("server")
    kind = server.get("kind") if isinstance(server, dict) else None
    return {
        "id": pair.id,
        "number": pair.number,
        "image": str(pair.image.relative_to(run.out)) if pair.image else "",
        "mask": str(pair.mask.relative_to(run.out)) if pair.mask else "",
        "category": pair.category,
        "type": pair.type,
        "method": pair.method,
        "seed": pair.seed,
        "label": pair.label,
        "source": str(entry.get("path", "?")) if isinstance(entry, dict) else "?",
        "references": [str(r.get("path", "?")) for r in references if isinstance(r, dict)]
        if isinstance(references, list)
        else [],
        "scores": {name: pair.scores.get(name) for name in names},
        "seconds": pair.seconds,
        "command": command(pair, run),
        "problems": [*pair.problems, *views.problems],
        "note": ""
        if kind in (None, "embedded")
        else f"Made on a server of the kind '{kind}': add --server URL to the command for the same pixels.",
        "views": {
            name: getattr(views, name) for name in ("strip", "source", "result", "difference", "outlines", "focus")
        },
    }


def methods(run: Run, names: Sequence[str]) -> list[dict[str, Any]]:
    """One row a method: pairs, labels, cost, and the mean of each score over the pairs that have it."""
    rows = []
    for method in sorted({pair.method for pair in run.pairs}):
        mine = [pair for pair in run.pairs if pair.method == method]
        seconds = [pair.seconds for pair in mine if pair.seconds is not None]
        kinds = [pair.label for pair in mine]
        measured = {name: [v for pair in mine if (v := pair.scores.get(name)) is not None] for name in names}
        rows.append(
            {
                "name": method,
                "pairs": len(mine),
                "labels": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
                "seconds": round(statistics.median(seconds), 2) if seconds else None,
                "scores": {
                    name: {"mean": statistics.fmean(values), "n": len(values)} if values else None
                    for name, values in measured.items()
                },
            }
        )
    return rows


def chart(name: str, pairs: Sequence[Pair]) -> dict[str, Any]:
    """A histogram of one score."""
    values = sorted(value for pair in pairs if (value := pair.scores.get(name)) is not None)
    if not values:
        return {"name": name, "n": 0, "without": len(pairs)}
    low, high = values[0], values[-1]
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low == high:
        low, high = low - 0.5, high + 0.5
    counts = np.histogram(values, BINS, (low, high))[0]
    return {
        "name": name,
        "n": len(values),
        "without": len(pairs) - len(values),
        "low": low,
        "high": high,
        "lowest": values[0],
        "median": statistics.median(values),
        "highest": values[-1],
        "bars": [int(count) / int(counts.max()) for count in counts],
        "most": int(counts.max()),
    }


def alike(pairs: Sequence[Pair], views: Sequence[Views]) -> list[dict[str, Any]]:
    """Groups of pairs that are the same picture, or nearly so from the same source photo."""
    groups: list[dict[str, Any]] = []
    by_file: dict[str, list[int]] = {}
    by_source: dict[str, list[int]] = {}
    for index, pair in enumerate(pairs):
        image, source = pair.record.get("image"), pair.record.get("source")
        if isinstance(image, dict) and isinstance(image.get("sha256"), str):
            by_file.setdefault(image["sha256"], []).append(index)
        if isinstance(source, dict) and isinstance(source.get("sha256"), str) and views[index].small is not None:
            by_source.setdefault(source["sha256"], []).append(index)
    for same in by_file.values():
        if len(same) > 1:
            groups.append({"kind": "the same picture", "pairs": [pairs[i].id for i in same]})
    for family in by_source.values():
        taken: set[int] = set()
        small = np.stack([np.asarray(views[i].small, np.int16) for i in family])
        for place, first in enumerate(family):
            if first in taken:
                continue
            far = np.abs(small[place + 1 :] - small[place]).max((1, 2)) if place + 1 < len(family) else np.zeros(0)
            near = [i for i, d in zip(family[place + 1 :], far, strict=True) if d <= ALIKE and i not in taken]
            same_file = {i for group in by_file.values() if first in group for i in group}
            near = [i for i in near if i not in same_file]
            if near:
                taken |= {first, *near}
                groups.append({"kind": "nearly the same picture", "pairs": [pairs[i].id for i in (first, *near)]})
    return groups


def _csv(items: Sequence[dict[str, Any]], names: Sequence[str]) -> bytes:
    """With a BOM, which spreadsheets need. A score that was not measured is empty."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow([*COLUMNS, *(f"score_{name}" for name in names)])
    for item in items:
        values = {**item, "references": " ".join(item["references"]), "problems": "; ".join(item["problems"])}
        scores = ["" if item["scores"][name] is None else item["scores"][name] for name in names]
        table.writerow([*("" if values[name] is None else values[name] for name in COLUMNS), *scores])
    return text.getvalue().encode("utf-8-sig", "backslashreplace")
