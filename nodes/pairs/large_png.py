"""A large photo as a PNG, strip by strip: Pillow would hold 400 MB of its own for a photo of 100 MP."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

#: Rows that are packed at a time.
_STRIP = 256

#: PNG's colour types by the number of channels, and the filter that stores each row as the difference to the one above.
_COLOUR_TYPES = {1: 0, 3: 2}
_UP = 2


@dataclass(frozen=True)
class LargePicture:
    """A picture whose 8-bit rows are made when they are needed.

    Attributes:
        width: px.
        height: px.
        channels: 1 (grey) or 3 (RGB).
        rows: gives ``[end - start, width]`` or ``[end - start, width, 3]`` uint8 for (start, end).
    """

    width: int
    height: int
    channels: int
    rows: Callable[[int, int], NDArray[np.uint8]]


def write_large(
    file: BinaryIO, picture: LargePicture, extra: Iterable[tuple[bytes, bytes]] = (), level: int = 1
) -> None:
    """Write a PNG (https://www.w3.org/TR/png-3/, 5.2, 9.2).

    Args:
        file: open for writing.
        picture: what to write.
        extra: further chunks (type, data), for text.
        level: zlib's, 0 to 9.
    """
    file.write(b"\x89PNG\r\n\x1a\n")
    header = struct.pack(">2I5B", picture.width, picture.height, 8, _COLOUR_TYPES[picture.channels], 0, 0, 0)
    _chunk(file, b"IHDR", header)
    for kind, data in extra:
        _chunk(file, kind, data)
    packer = zlib.compressobj(level)
    above = np.zeros((1, picture.width * picture.channels), np.uint8)
    for top in range(0, picture.height, _STRIP):
        end = min(top + _STRIP, picture.height)
        rows = picture.rows(top, end).reshape(end - top, -1)
        lines = np.empty((end - top, 1 + rows.shape[1]), np.uint8)
        lines[:, 0] = _UP
        # Unsigned and without carry: what the filter asks for.
        np.subtract(rows[:1], above, out=lines[:1, 1:])
        np.subtract(rows[1:], rows[:-1], out=lines[1:, 1:])
        above = rows[-1:].copy()
        _chunk(file, b"IDAT", packer.compress(lines.data))
    _chunk(file, b"IDAT", packer.flush())
    _chunk(file, b"IEND", b"")


def _chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    if kind == b"IDAT" and not data:
        return
    file.write(struct.pack(">I", len(data)) + kind)
    file.write(data)
    file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))
