"""What is written beside a saved pair, for whoever meets the file later."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .masks import bounding_box, to_array


def pair_record(
    label: Tensor,
    category: str,
    defect_type: str,
    source_path: str,
    pack_version: str,
    server: str,
    server_version: str,
) -> dict[str, Any]:
    """Describe one pair. No time and no machine: the same job writes the same bytes.

    Args:
        label: ``[H, W]``, the hard label mask.
        category: product.
        defect_type: MVTec type.
        source_path: path of the source photo relative to its dataset; may be empty.
        pack_version: version of this pack.
        server: kind of the server, ``comfyui`` or ``embedded``.
        server_version: its version.

    Returns:
        A dictionary of JSON values; `mask.box` is x0, y0, x1, y1 (ends exclusive) or None.
    """
    mask = to_array(label)
    box = bounding_box(mask)
    return {
        "category": category,
        "type": defect_type,
        "source_path": source_path,
        "width": int(label.shape[1]),
        "height": int(label.shape[0]),
        "mask": {
            "pixels": int(mask.sum()),
            "share": round(float(mask.mean()), 6),
            "box": None if box is None else [box[1], box[0], box[3], box[2]],
        },
        "defectforge": pack_version,
        "server": server,
        "server_version": server_version,
    }
