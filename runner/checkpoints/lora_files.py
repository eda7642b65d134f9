"""LoRA files as the client sees them: their training record, read from the file's head; no tensor is loaded."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

#: Under this name a file of `defectforge lora` says what it was trained on, as JSON.
RECORD = "defectforge.training"
MOST_HEADER = 64 << 20


def header(path: Path) -> dict[str, Any]:
    """The JSON at the beginning of a safetensors file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no safetensors file.
    """
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise ValueError("it is shorter than any safetensors file")
        length = struct.unpack("<Q", start)[0]
        if length > MOST_HEADER:
            raise ValueError(f"a header of {length} bytes")
        found = json.loads(file.read(length))
    if not isinstance(found, dict):
        raise ValueError("its header is no JSON object")
    return found


def check_whole(path: Path) -> None:
    """Whether the file holds all that its head says.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no safetensors file, or ends early.
    """
    entries = [entry for name, entry in header(path).items() if name != "__metadata__"]
    try:
        ends = [int(entry["data_offsets"][1]) for entry in entries]
    except (TypeError, KeyError, IndexError, ValueError):
        raise ValueError("its header does not say where its tensors are") from None
    with path.open("rb") as file:
        start = 8 + struct.unpack("<Q", file.read(8))[0]
    expected, size = start + max(ends, default=0), path.stat().st_size
    if size != expected:
        raise ValueError(f"it is {size} bytes long and its header speaks of {expected}")


def metadata_of(path: Path) -> dict[str, str]:
    """What the file says about itself: as `header`."""
    found = header(path).get("__metadata__") or {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def training_record(metadata: dict[str, Any]) -> dict[str, Any] | None:
    """What `defectforge lora` wrote into a file's metadata; None where somebody else made the file."""
    try:
        record = json.loads(metadata.get(RECORD) or "null")
    except (TypeError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
