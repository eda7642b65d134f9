"""One table: a line a pair, with paths, split, origin and scores; for pandas, a spreadsheet or one's own loader."""

from __future__ import annotations

import csv
from pathlib import Path

from .pairs import Split, write_mask

COLUMNS = (
    "split", "image", "mask", "class", "category", "type", "label", "mask_share", "seed", "workflow", "source",
    "source_sha256", "references", "id",
)  # fmt: skip


def write(split: Split, dest: Path) -> list[str]:
    """DEST/pairs.csv (with a BOM, which spreadsheets need), DEST/images, DEST/masks. A null score is empty."""
    everything = [(side, pair) for side, pairs in split.sides() for pair in pairs]
    scores = sorted({name for _, pair in everything for name in pair.record.get("scores") or {}})
    with (dest / "pairs.csv").open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.writer(file)
        table.writerow([*COLUMNS, *(f"score_{name}" for name in scores)])
        for side, pair in everything:
            image, mask = f"images/{pair.name}{pair.image.suffix}", f"masks/{pair.name}.png"
            split.place(pair.image, dest / image)
            write_mask(pair.mask, dest / mask)
            record = pair.record
            kind = record.get("label", "requested") if pair.label == "recorded" else pair.label
            values = [
                side, image, mask, pair.class_name, record["category"], record["type"], kind,
                f"{pair.mask.mean():.6f}", record["seed"], record["workflow"]["name"], record["source"]["path"],
                pair.source_sha256, " ".join(entry["path"] for entry in record.get("references") or []), record["id"],
            ]  # fmt: skip
            known = record.get("scores") or {}
            table.writerow([*values, *("" if known.get(name) is None else known[name] for name in scores)])
    return []
