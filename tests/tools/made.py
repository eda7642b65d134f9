"""What tests and benchmarks of the runner start from without a server: nodes, the cheapest graph, jobs and pictures."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
from PIL import Image

Node = dict[str, Any]


def titled(class_type: str, title: str, **inputs: Any) -> Node:
    """A node as the queue takes it."""
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title}}


def loader(title: str, type_: str = "good", split: str = "train") -> Node:
    """A node that reads a photo; the runner says which."""
    return titled("DefectForgeLoadMVTec", title, root="", category="hazelnut", split=split, type=type_, index=0)


def saver(type_: str = "hole", **more: Any) -> Node:
    """The node that saves node 1's image with node 3's mask."""
    return titled(
        "DefectForgeSaveDefectPair", "Save pair", image=["1", 0], mask=["3", 0], filename_prefix="defectforge",
        category="hazelnut", type=type_, **more,
    )  # fmt: skip


def cheapest(side: int) -> dict[str, Node]:
    """The photo and a mask that is drawn, not computed: pairs of `side` px that cost the server next to nothing."""
    mask = titled("SolidMask", "Mask", value=1.0, width=side, height=side)
    return {"1": loader("Good photo"), "3": mask, "4": saver(source_path=["1", 2])}


class Job:
    """What the journal needs of a job.

    Args:
        index: in the plan.
        number: of its type; that of the plan with one type.
    """

    def __init__(self, index: int, type_: str = "hole", number: int | None = None) -> None:
        self.id = hashlib.sha256(f"job {index}".encode()).hexdigest()
        self.index, self.number = index, index if number is None else number
        self.category, self.type = "hazelnut", type_


def png(array: np.ndarray[Any, Any]) -> bytes:
    """A picture's file."""
    data = io.BytesIO()
    Image.fromarray(array).save(data, "PNG")
    return data.getvalue()
