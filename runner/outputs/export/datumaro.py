"""Datumaro's own format: one JSON a side, exact masks as compressed run-length code (pycocotools, extra `export`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ...extras import require
from ..masks import Mask, parts
from .coco import origin
from .pairs import Split


def write(split: Split, dest: Path) -> list[str]:
    """DEST/annotations/<side>.json and DEST/images/<side>."""
    (dest / "annotations").mkdir(parents=True)
    labels = [{"name": name, "parent": "", "attributes": []} for name in split.classes]
    for side, pairs in split.sides():
        items = []
        for pair in pairs:
            file = f"{pair.name}{pair.image.suffix}"
            split.place(pair.image, dest / "images" / side / file)
            annotations = [
                {
                    "id": number,
                    "type": "mask",
                    "attributes": {},
                    "group": number,
                    "label_id": split.class_index(pair),
                    "rle": compressed(part),
                    "z_order": 0,
                }
                for number, part in enumerate(parts(pair.mask), 1)
            ]
            size = list(reversed(pair.size))
            image = {"path": file, "size": size}
            items.append({"id": pair.name, "annotations": annotations, "attr": origin(pair), "image": image})
        content = {
            "info": {},
            "categories": {"label": {"labels": labels, "attributes": []}},
            "items": items,
        }
        (dest / "annotations" / f"{side}.json").write_text(json.dumps(content), encoding="utf-8")
    return []


def compressed(mask: Mask) -> dict[str, Any]:
    """COCO's compressed run-length code.

    Raises:
        RequestError: pycocotools is not installed.
    """
    require("export", ("pycocotools",), "export.not_installed", "this format")
    from pycocotools import mask as coder

    code = coder.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"counts": code["counts"].decode("ascii"), "size": [int(side) for side in code["size"]]}
