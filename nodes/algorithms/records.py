"""What is written beside a saved pair, for whoever meets the file later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from .masks import bounding_box, to_array
from .run_length import encode

#: Digits of a score in a record: the same picture gives the same text.
_DIGITS = 6


def pair_record(
    label_mask: Tensor | None,
    size: Sequence[int],
    category: str,
    defect_type: str,
    source_path: str,
    pack_version: str,
    server: str,
    server_version: str,
    *,
    label: str = "given",
    requested: Tensor | None = None,
    scores: Mapping[str, float | None] | None = None,
) -> dict[str, Any]:
    """Describe one pair. No time and no machine: the same job writes the same bytes.

    Args:
        label_mask: ``[H, W]``, the hard label mask; None for a picture without one.
        size: height and width of the picture in px.
        category: product.
        defect_type: MVTec type.
        source_path: path of the source photo relative to its dataset; may be empty.
        pack_version: version of this pack.
        server: kind of the server, ``comfyui`` or ``embedded``.
        server_version: its version.
        label: what the mask holds: ``visible``, ``requested``, ``given`` (unjudged) or ``none``.
        requested: ``[H, W]``, what was asked for.
        scores: of this picture; None values were not measured.

    Returns:
        A dictionary of JSON values; `mask.box` is x0, y0, x1, y1 (ends exclusive) or None, `requested` is COCO's
        uncompressed run-length code (column by column).
    """
    described = None
    if label_mask is not None:
        mask = to_array(label_mask)
        box = bounding_box(mask)
        described = {
            "pixels": int(mask.sum()),
            "share": round(float(mask.mean()), 6),
            "box": None if box is None else [box[1], box[0], box[3], box[2]],
        }
    return {
        "category": category,
        "type": defect_type,
        "source_path": source_path,
        "width": int(size[1]),
        "height": int(size[0]),
        "mask": described,
        "label": label,
        "requested": None if requested is None else encode(to_array(requested)),
        "scores": {name: None if value is None else round(value, _DIGITS) for name, value in (scores or {}).items()},
        "defectforge": pack_version,
        "server": server,
        "server_version": server_version,
    }
