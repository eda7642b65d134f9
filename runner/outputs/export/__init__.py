"""A run's pairs in the formats that detectors read: one file a format, the same pairs and the same split in all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import anomalib, coco, csv_table, datumaro, fiftyone, voc, yolo_seg
from .pairs import Split

Write = Callable[[Split, Path], list[str]]
"""Writes a format into an empty folder; returns what has to be said about it."""

FORMATS: dict[str, Write] = {
    "anomalib": anomalib.write,
    "coco": coco.write,
    "yolo-seg": yolo_seg.write,
    "voc": voc.write,
    "datumaro": datumaro.write,
    "fiftyone": fiftyone.write,
    "csv": csv_table.write,
}
