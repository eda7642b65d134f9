"""OUT/compare.html: a row a photo, a column a method, with scores, label and cost; and the same as one picture."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ...nodes.algorithms.scores.measures import MEANING, score_defect
from ..outputs.files import write_whole
from ..outputs.masks import Mask
from .page import Pictures, write_page
from .reading import Pair, Run, read_run
from .views import LABEL, REQUEST, label_of, read_picture, request_of, ring, small

Pixels = NDArray[np.uint8]
SHOWN = ("quality", "presence", "label_agreement", "seam", "colour_drift")
"""Scores in a cell; compare.json has all."""
SIDE = 512
BAND, CELL, HEAD = 8, 168, 40
"""Of the one picture: columns a band, side of a cell, height of the names, in px."""


def write_comparison(out: Path, methods: Sequence[str], left_out: dict[str, str], count: int, inside: bool) -> Path:
    """Write compare.html, compare.json and compare.jpg into OUT; returns the page's path."""
    page = out / "compare.html"
    pictures = Pictures(page, inside)
    columns = [_column(name, read_run(out / name), count) for name in methods]
    rows = []
    for index in range(count):
        known = [column["cells"][index] for column in columns if column["cells"][index]["pair"] is not None]
        usual_photo = _usual(cell["source_sha256"] for cell in known)
        first = next((cell for cell in known if cell["source_sha256"] == usual_photo), None)
        source = None if first is None else first["source"]
        row: dict[str, Any] = {
            "source": None if source is None else pictures.add(_small(source)),
            "pixels": source,
            "name": f"photo {index}" if first is None else first["source_name"],
            "seeds": sorted({cell["seed"] for cell in known}),
            "others": {},
            "cells": [],
        }
        usual_mask = _usual(cell["mask_key"] for cell in known)
        for column in columns:
            cell = column["cells"][index]
            cell["same_mask"] = None if cell["mask_key"] is None else cell["mask_key"] == usual_mask
            cell["src"] = None if cell["shown"] is None else pictures.add(_small(cell["shown"]))
            row["cells"].append(cell)
            if first is not None and cell["pair"] is not None and cell["source_sha256"] != usual_photo:
                row["others"][column["name"]] = _photo_of(cell, row["name"])
        rows.append(row)
    write_whole(out / "compare.json", json.dumps(_record(columns, rows, left_out), indent=1).encode())
    sheet(columns, rows).save(out / "compare.jpg", quality=86)
    write_page(
        "compare.html",
        page,
        columns=columns,
        rows=rows,
        others=_elsewhere(columns, rows),
        left_out=left_out,
        shown=SHOWN,
        meaning=MEANING,
        folder="" if inside else pictures.folder.name,
    )
    return page


def _usual(values: Iterable[str | None]) -> str | None:
    """What most have, of those that have any; of equally many the first."""
    counts = Counter(value for value in values if value is not None)
    return counts.most_common(1)[0][0] if counts else None


def _elsewhere(columns: list[dict[str, Any]], rows: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """For each method that did not start from its rows' photos: row to photo."""
    names = [column["name"] for column in columns]
    photos = {name: {row["name"]: row["others"][name] for row in rows if name in row["others"]} for name in names}
    return {name: found for name, found in photos.items() if found}


def _photo_of(cell: dict[str, Any], usual: str) -> str:
    """What a method started from that has another photo than the one called `usual`."""
    if cell["source_sha256"] is None:
        return "a photo whose contents are not known"
    return f"other contents of {usual}" if cell["source_name"] == usual else str(cell["source_name"])


def _column(name: str, run: Run, count: int) -> dict[str, Any]:
    cells: list[dict[str, Any]] = [_cell(None, run, index) for index in range(count)]
    for pair in run.pairs:
        if 0 <= pair.number < count:
            cells[pair.number] = _cell(pair, run, pair.number)
    there = [cell for cell in cells if cell["pair"] is not None]
    labels = Counter(cell["label"] for cell in there)
    seconds = [cell["seconds"] for cell in there if cell["seconds"] is not None]
    values = {n: [c["scores"][n] for c in there if c["scores"].get(n) is not None] for n in MEANING}
    models = {
        m["file"] for c in there for m in c["pair"].record.get("models") or [] if isinstance(m, dict) and m.get("file")
    }
    kept = [cell["kept"] for cell in there if cell["kept"] is not None]
    return {
        "name": name,
        "cells": cells,
        "labels": dict(labels),
        "seconds": round(statistics.median(seconds), 2) if seconds else None,
        "means": {n: statistics.fmean(v) if v else None for n, v in values.items()},
        "kept": statistics.fmean(kept) if kept else None,
        "models": sorted(models),
        "pairs": len(there),
        "notes": [*run.notes, *run.problems],
    }


def _cell(pair: Pair | None, run: Run, index: int) -> dict[str, Any]:
    if pair is None:
        failed = [row["error"] for row in run.failed if row["number"] == index]
        why = failed[0] if failed else "no pair was made"
        return dict.fromkeys(("source", "shown", "mask_key", "kept", "seconds", "label"), None) | {
            "pair": None, "scores": {}, "problems": [why], "scored_here": False,
        }  # fmt: skip
    problems = list(pair.problems)
    source = read_picture(pair.source, "source photo", pair.record.get("source"), problems)
    result = read_picture(pair.image, "picture", pair.record.get("image"), problems)
    label, request = label_of(pair, problems), request_of(pair, problems)
    size = None if result is None else result.shape[:2]
    label, request = (mask if mask is not None and mask.shape == size else None for mask in (label, request))
    scores, here, kept = dict(pair.scores), False, None
    if source is not None and result is not None and source.shape == result.shape:
        kept = float((source == result).all(-1).mean())
        if not scores and label is not None:
            # The workflow has no node that scores: the same measure, here.
            photo, picture = (pixels.astype(np.float32) / 255 for pixels in (source, result))
            scores, here = score_defect(photo, picture, label, request), True
    entry = pair.record.get("source")
    entry = entry if isinstance(entry, dict) else {}
    return {
        "pair": pair,
        "source": source,
        "source_name": str(entry.get("path", "?")),
        "source_sha256": entry.get("sha256"),
        "shown": None if result is None else marked(result, label, request),
        "mask_key": None
        if pair.record.get("requested") is None
        else json.dumps(pair.record["requested"], sort_keys=True),
        "kept": kept,
        "scores": scores,
        "scored_here": here,
        "label": pair.label,
        "seed": pair.seed,
        "seconds": pair.seconds,
        "problems": problems,
    }


def marked(result: Pixels, label: Mask | None, request: Mask | None) -> Pixels:
    """The result with the label's outline in red and, under it, that of what was asked for in yellow."""
    shown = result.copy()
    width = max(1, max(result.shape[:2]) // 256)
    for mask, colour in ((request, REQUEST), (label, LABEL)):
        if mask is not None and mask.any():
            shown[ring(mask, width)] = colour
    return shown


def sheet(columns: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> Image.Image:
    """Bands of up to `BAND` methods, each beside the photos they started from."""
    bands = [columns[start : start + BAND] for start in range(0, len(columns), BAND)]
    high = HEAD + len(rows) * CELL
    width = (1 + min(BAND, len(columns))) * CELL
    picture = Image.new("RGB", (width, len(bands) * high), (255, 255, 255))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for number, band in enumerate(bands):
        top = number * high
        draw.text((6, top + 6), "photo", (40, 40, 40), font)
        for place, column in enumerate(band, 1):
            told = ", ".join(column["labels"]) or "nothing made"
            draw.text((place * CELL + 4, top + 4), _cut(column["name"], font), (20, 20, 20), font)
            cost = "" if column["seconds"] is None else f"; {column['seconds']:.1f} s"
            draw.text((place * CELL + 4, top + 20), _cut(f"label: {told}{cost}", font), (110, 80, 50), font)
        for index, row in enumerate(rows):
            cells = [row["pixels"], *(row["cells"][columns.index(column)]["shown"] for column in band)]
            for place, pixels in enumerate(cells):
                if pixels is None:
                    continue
                cell = Image.fromarray(pixels)
                cell.thumbnail((CELL - 4, CELL - 4), Image.Resampling.LANCZOS)
                picture.paste(cell, (place * CELL + 2, top + HEAD + index * CELL + 2))
    return picture


def _cut(text: str, font: Any) -> str:
    while font.getlength(text) > CELL - 8:
        text = text[:-2].rstrip("…") + "…"
    return text


def _small(picture: Pixels) -> Image.Image:
    return Image.fromarray(small(picture, SIDE))


def _record(
    columns: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]], left_out: dict[str, str]
) -> dict[str, Any]:
    """What compare.json holds: figures, no pictures."""
    names = ("seed", "label", "seconds", "scores", "scored_here", "kept", "same_mask", "problems")
    return {
        "methods": [{k: v for k, v in column.items() if k != "cells"} for column in columns],
        "rows": [
            {
                "source": row["name"],
                "same_photo": not row["others"],
                "other_photos": row["others"],
                "seeds": row["seeds"],
                "cells": {
                    column["name"]: {"id": cell["pair"].id if cell["pair"] else None}
                    | {name: cell.get(name) for name in names}
                    for column, cell in zip(columns, row["cells"], strict=True)
                },
            }
            for row in rows
        ],
        "left_out": left_out,
    }
