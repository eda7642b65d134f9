"""COCO instances: one annotation a connected part, its exact mask as run-length code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ....nodes.algorithms.run_length import encode
from ..masks import box, parts
from .pairs import Pair, Split


def write(split: Split, dest: Path) -> list[str]:
    """DEST/<side>/<name>.png and DEST/annotations/instances_<side>.json."""
    (dest / "annotations").mkdir(parents=True)
    for side, pairs in split.sides():
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, pair in enumerate(pairs, 1):
            file = f"{pair.name}{pair.image.suffix}"
            split.place(pair.image, dest / side / file)
            width, height = pair.size
            images.append({"id": number, "file_name": file, "width": width, "height": height, **origin(pair)})
            for part in parts(pair.mask):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": split.class_index(pair) + 1,
                        "segmentation": encode(part),
                        "area": int(part.sum()),
                        "bbox": list(box(part)),
                        "iscrowd": 0,
                    }
                )
        categories = [{"id": i, "name": name, "supercategory": "defect"} for i, name in enumerate(split.classes, 1)]
        content: dict[str, Any] = {
            "info": {"description": "made with DefectForge"},
            "licenses": [],
            "images": images,
            "annotations": annotations,
            "categories": categories,
        }
        (dest / "annotations" / f"instances_{side}.json").write_text(json.dumps(content), encoding="utf-8")
    return []


def origin(pair: Pair) -> dict[str, Any]:
    """What ties a picture to its manifest line; readers ignore keys they do not know."""
    return {"defectforge_id": pair.record["id"], "source_sha256": pair.source_sha256}
