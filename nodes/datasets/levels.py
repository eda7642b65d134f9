"""From a decoded picture of any pixel format to 8-bit RGB; nothing becomes black or neon in silence.

What a file does not say is decided by its values, and said: a camera's 12 bits lie in 16-bit files, and 32-bit and
float files have no agreed white at all.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from .errors import ReadError

#: White of files with more than 8 bits, by which their values are read where the file does not say it.
_WHITES = {8: 255, 12: 4095, 16: 65535}

#: TIFF tags.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _MAX_SAMPLE_VALUE, _SAMPLE_FORMAT, _S_MAX_SAMPLE_VALUE = 258, 262, 281, 339, 341
_UNSIGNED = (None, 1, (1,))

#: 16-bit colour of which only the upper bytes are decoded: all of them below this means that 12 bits were used.
_DARK_UPPER_BYTE = 16


def to_rgb(
    picture: Image.Image,
    depth: int | None,
    notes: list[str],
    lower: Callable[[], NDArray[np.uint8]] | None = None,
) -> NDArray[np.uint8]:
    """A decoded picture as ``[H, W, 3]`` uint8, not turned.

    Args:
        picture: of any mode of Pillow's.
        depth: bits that the file declares for its grey levels.
        notes: takes what was assumed.
        lower: gives the lower bytes of 16-bit colour, of which `picture` has the upper ones.

    Raises:
        ReadError: transparent throughout, values that are no numbers, or a mode that has no colours.
    """
    picture = _twelve_bits(picture, lower, notes)
    mode = picture.mode
    if mode.startswith("I") or mode == "F":
        grey = _grey(deep_values(picture), depth, notes)
        return _as_rgb(255 - grey if is_negative(picture) else grey)
    if has_alpha(picture):
        return _over_black(picture.convert("RGBA"), notes)
    if mode in ("CMYK", "LAB"):
        return _by_profile(picture, notes)
    if mode in ("1", "L"):
        return _as_rgb(np.asarray(picture.convert("L")))
    return np.asarray(picture.convert("RGB"))


def has_alpha(picture: Image.Image) -> bool:
    """Whether some transparency is stored, as a channel or as a colour that counts as transparent."""
    return picture.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in picture.info


def deep_values(picture: Image.Image) -> NDArray[Any]:
    """Grey levels of more than 8 bits as they are in the file; Pillow takes unsigned ones of 32 bits for signed."""
    values = np.asarray(picture)
    if (
        values.dtype == np.int32
        and isinstance(picture, TiffImageFile)
        and picture.tag_v2.get(_SAMPLE_FORMAT) in _UNSIGNED
    ):
        return values.view(np.uint32)
    return values


def is_negative(picture: Image.Image) -> bool:
    """Whether 0 is white in a file of deep grey levels; for 8 bits Pillow sees to it."""
    deep = picture.mode.startswith("I") or picture.mode == "F"
    return deep and isinstance(picture, TiffImageFile) and picture.tag_v2.get(_PHOTOMETRIC) == 0


def declared_depth(picture: Image.Image) -> int | None:
    """The bits that the file itself gives its grey levels, where they are not simply those of its samples."""
    if isinstance(picture, TiffImageFile):
        tags = picture.tag_v2
        most = tags.get(_MAX_SAMPLE_VALUE) or tags.get(_S_MAX_SAMPLE_VALUE)
        most = most[0] if isinstance(most, tuple) and most else most
        if isinstance(most, (int, float)) and 255 <= most < 2**32:
            return math.ceil(math.log2(most + 1))
        bits = tags.get(_BITS_PER_SAMPLE) or (1,)
        return int(bits[0]) if 8 < bits[0] < 16 else None
    return _significant_bits(picture) if isinstance(picture, PngImageFile) else None


def _significant_bits(picture: PngImageFile) -> int | None:
    """PNG's sBIT chunk, which Pillow skips: it says that 12 of 16 bits are used."""
    file = picture.fp if picture.fp is not None else getattr(picture, "_fp", None)
    try:
        if file is None:
            with open(picture.filename, "rb") as opened:
                head = opened.read(4096)
        else:
            position = file.tell()
            file.seek(0)
            head = file.read(4096)
            file.seek(position)
    except (OSError, ValueError, AttributeError):
        return None
    at = 8
    while at + 8 <= len(head):
        length, kind = struct.unpack(">I4s", head[at : at + 8])
        if kind in (b"IDAT", b"PLTE"):
            break
        if kind == b"sBIT" and 1 <= length <= 4 and at + 9 <= len(head):
            return int(head[at + 8])
        at += 12 + length
    return None


def _grey(values: NDArray[Any], depth: int | None, notes: list[str]) -> NDArray[np.uint8]:
    """Grey levels of more than 8 bits, or floats, as 8 bits."""
    floats = values.dtype.kind == "f"
    if floats and not np.isfinite(values).all():
        raise ReadError("data.image_values", "holds values that are no numbers (NaN or infinite)", mend="Save it anew")
    low, high = float(values.min()), float(values.max())
    kind = "float" if floats else f"{8 * values.dtype.itemsize}-bit"
    if depth is not None and low >= 0 and high < 2**depth:
        if depth not in (8 * values.dtype.itemsize, 16):
            notes.append(f"its file says that {depth} bits are used")
        return _scaled(values, 0.0, float(2**depth - 1))
    if floats and low >= 0 and high <= 1.0:
        notes.append(f"its float values ({low:g} to {high:g}) are read as 0 to 1")
        return _scaled(values, 0.0, 1.0)
    bits = next((bits for bits, white in _WHITES.items() if high <= white), None)
    if bits is None or low < 0:
        notes.append(
            f"its {kind} values ({low:g} to {high:g}) fit no usual range: the lowest is black, the highest white"
        )
        return _scaled(values, low, high)
    if bits != 16 or floats or values.dtype.itemsize > 2:
        notes.append(f"its {kind} values ({low:g} to {high:g}) are read as {bits} bits, 0 to {_WHITES[bits]}")
    return _scaled(values, 0.0, float(_WHITES[bits]))


def _scaled(values: NDArray[Any], black: float, white: float) -> NDArray[np.uint8]:
    factor = 255.0 / (white - black) if white > black else 0.0
    if values.dtype == np.uint16:
        levels = np.arange(65536, dtype=np.float64)
        table: NDArray[np.uint8] = np.rint(np.clip((levels - black) * factor, 0, 255)).astype(np.uint8)
        return table[values]
    # Row by row in blocks: a float64 copy of a large photo would take eight times its 8 bits.
    out = np.empty(values.shape, np.uint8)
    for top in range(0, values.shape[0], 256):
        block = values[top : top + 256].astype(np.float64)
        out[top : top + 256] = np.rint(np.clip((block - black) * factor, 0, 255))
    return out


def _as_rgb(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[..., None], 3, axis=-1)


def _over_black(picture: Image.Image, notes: list[str]) -> NDArray[np.uint8]:
    """Colour weighed by its opacity: what is stored under full transparency never shows."""
    pixels = np.asarray(picture)
    alpha = pixels[..., 3]
    if alpha.min() == 255:
        return np.ascontiguousarray(pixels[..., :3])
    if alpha.max() == 0:
        raise ReadError("data.image_transparent", "is transparent throughout", mend="Save it without transparency")
    notes.append(f"it is transparent in places ({float((alpha < 255).mean()):.1%}); black is put behind it")
    out = np.empty((*alpha.shape, 3), np.uint8)
    for top in range(0, alpha.shape[0], 256):
        rows = slice(top, top + 256)
        weight = alpha[rows, :, None].astype(np.uint32)
        out[rows] = (pixels[rows, :, :3] * weight + 127) // 255
    return out


def _by_profile(picture: Image.Image, notes: list[str]) -> NDArray[np.uint8]:
    """Inks and Lab through the colour profile in the file, where there is one that works."""
    stored = picture.info.get("icc_profile")
    try:
        if picture.mode == "LAB":
            source: Any = ImageCms.createProfile("LAB")
        elif isinstance(stored, bytes) and stored:
            source = ImageCms.ImageCmsProfile(io.BytesIO(stored))
        else:
            notes.append("it is CMYK without a colour profile; its inks are converted plainly")
            return np.asarray(picture.convert("RGB"))
        rgb = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        assert rgb is not None
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        if picture.mode == "LAB":
            raise ReadError("data.image_mode", f"is in Lab colours that do not convert ({error})") from error
        notes.append("it is CMYK with a colour profile that does not work; its inks are converted plainly")
        return np.asarray(picture.convert("RGB"))
    notes.append(f"its {picture.mode} colours are converted to sRGB")
    return np.asarray(rgb)


def _twelve_bits(picture: Image.Image, lower: Callable[[], NDArray[np.uint8]] | None, notes: list[str]) -> Image.Image:
    """Colour of 16 bits of which only 12 are used: Pillow keeps the upper bytes, which are all but black then."""
    if lower is None:
        return picture
    upper = np.asarray(picture)
    if int(upper[..., :3].max()) >= _DARK_UPPER_BYTE or not upper[..., :3].any():
        return picture
    values = upper.astype(np.uint16) << 8 | lower()
    out = _scaled(values, 0.0, float(_WHITES[12]))
    if values.shape[-1] == 4 and int(values[..., 3].max()) > _WHITES[12]:
        out[..., 3] = upper[..., 3]
    notes.append(f"its 16-bit colours (0 to {int(values[..., :3].max())}) are read as 12 bits, 0 to {_WHITES[12]}")
    return Image.fromarray(out)
