"""Write a safetensors file whose bytes depend on nothing but its contents.

The library's own writer may order tensors differently from version to version; a checkpoint that is pinned by its
sha256 needs one order for ever: the order of the mapping.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NAMES = {"<f2": "F16", "<f4": "F32", "|i1": "I8", "|u1": "U8", "<i4": "I32", "<i8": "I64"}


def write(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> str:
    """Write ``tensors`` in their order; returns the file's sha256.

    Raises:
        KeyError: for a data type that the format or this writer does not know.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, value in tensors.items():
        end = offset + value.nbytes
        header[name] = {
            "dtype": _NAMES[value.dtype.newbyteorder("<").str],
            "shape": list(value.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in (len(text).to_bytes(8, "little"), text):
            file.write(part)
            digest.update(part)
        for value in tensors.values():
            data = np.ascontiguousarray(value, value.dtype.newbyteorder("<")).tobytes()
            file.write(data)
            digest.update(data)
    return digest.hexdigest()
