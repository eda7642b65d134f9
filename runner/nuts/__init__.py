"""Procedural hazelnut photos with labelled defects: the demo's input and the miniature checkpoint's training data.

Everything here is NumPy, SciPy and Pillow, seeded, and independent of the picture size: the same seed drawn at 128 and
at 1024 pixels is the same nut.
"""

from __future__ import annotations

from .dataset import drawn_once, write_dataset
from .defects import ALL_KINDS, KINDS, UNSEEN_KINDS
from .photo import View, draw_defect, draw_nut, draw_pair

__all__ = [
    "ALL_KINDS", "KINDS", "UNSEEN_KINDS", "View", "draw_defect", "draw_nut", "draw_pair", "drawn_once", "write_dataset",
]  # fmt: skip
