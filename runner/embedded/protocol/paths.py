"""Paths that a client names: they stay inside the folder that they belong to."""

from __future__ import annotations

import os
from pathlib import Path


def inside(root: Path, *parts: str) -> Path | None:
    """`root / parts`, or None where that leads out of `root` (by `..`, an absolute path, a drive, or a null byte)."""
    if any("\0" in part for part in parts):
        return None
    path = Path(os.path.abspath(os.path.join(root, *parts)))
    return path if path.is_relative_to(root) else None


def annotated(name: str) -> tuple[str, str | None]:
    """Split `photo.png [output]` into the name and its folder type; None where no type is named."""
    for kind in ("input", "output", "temp"):
        mark = f"[{kind}]"
        if name.endswith(mark):
            # ComfyUI drops one more character: the blank before the bracket.
            return name[: -len(mark) - 1], kind
    return name, None
