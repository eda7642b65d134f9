"""Picture files decoded to the numbers of ComfyUI's decoder, which is FFmpeg's since 0.28.1.

Which numbers FFmpeg gives depends on how it holds a file's pixels. Colours of 8 bits in its plain orders are divided
by 255; everything else passes its scaler to 32-bit floats, which makes 16 bits of 8 by a shift, so that the brightest
level comes out as 0xFF00 / 0xFFFF = 0.996. Files that it cannot decode are read by Pillow, there and here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, ImageSequence

from . import jpeg

Floats = NDArray[np.float32]
#: What 8 bits are divided by; a product with its inverse is not always the same float.
LEVELS = np.float32(255)
#: From 8 bits to 0..1 through FFmpeg's scaler.
SHIFTED = np.float32(256 / 65535)
#: From 16 bits to 0..1.
DEEP = np.float32(1 / 65535)
#: Formats whose colours of 8 bits FFmpeg holds in an order (RGB, RGBA, or JPEG's own) that needs no scaler.
PLAIN_FORMATS = {"JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF"}
#: Those with more than one picture of which FFmpeg gives each; of others it gives the first.
ANIMATED = {"GIF", "PNG"}
#: Those that FFmpeg decodes as far as they go.
TORN = {"GIF", "JPEG", "MPO"}
#: EXIF orientation: how many quarters to turn to the left. FFmpeg turns and does not mirror.
QUARTERS = {2: 2, 3: 2, 5: 3, 6: 3, 7: 1, 8: 1}
#: What the scaler can hold bits in without a step through 8 bits of grey: rows of whole 32 pixels.
_ROW = 32


class NotDecoded(Exception):
    """FFmpeg has no decoder for this kind of picture, so that ComfyUI reads it by Pillow."""


@dataclass(frozen=True)
class Decoded:
    """Frames of one file: `colours` [F, H, W, 3] and, where it has a plane for it, `opacity` [F, H, W], in 0..1."""

    colours: Floats
    opacity: Floats | None


def decoded(path: Path) -> Decoded:
    """Read a picture as ComfyUI 0.28.1 does; a truncated one as far as it goes.

    Raises:
        OSError: no picture that Pillow can read.
    """
    picture = Image.open(path)
    try:
        with tolerance(picture.format in TORN):
            return _joined(list(_as_ffmpeg(path, picture)))
    except (NotDecoded, OSError, SyntaxError, ValueError):
        with tolerance():
            return _joined(list(_as_pillow(Image.open(path))))


@contextmanager
def tolerance(wanted: bool = True) -> Iterator[None]:
    """Within, Pillow decodes truncated files as far as they go."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = wanted
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


Planes = tuple[Floats, "Floats | None"]


def _joined(found: list[Planes]) -> Decoded:
    opacities = [opacity for _, opacity in found if opacity is not None]
    whole = np.stack(opacities) if len(opacities) == len(found) else None
    return Decoded(np.stack([colours for colours, _ in found]), whole)


def frames(picture: Image.Image, upright: Callable[[Image.Image], Image.Image]) -> Iterator[Image.Image]:
    """Every frame of the first one's size, made upright."""
    size = None
    for frame in map(upright, ImageSequence.Iterator(picture)):
        size = size or frame.size
        if frame.size == size:
            yield frame


def _as_pillow(picture: Image.Image) -> Iterator[Planes]:
    """Every frame of the first one's size, upright, in 8 bits."""
    for frame in frames(picture, ImageOps.exif_transpose):
        opacity = as_floats(frame.getchannel("A")) / LEVELS if "A" in frame.getbands() else None
        yield as_floats(frame.convert("RGB")) / LEVELS, opacity


def _as_ffmpeg(path: Path, picture: Image.Image) -> Iterator[Planes]:
    kind = picture.format or ""
    quarters = QUARTERS.get(_orientation(picture), 0)
    animated = bool(getattr(picture, "is_animated", False))
    if kind == "WEBP" and animated:
        raise NotDecoded(kind)
    for number, frame in enumerate(ImageSequence.Iterator(picture)):
        if number == 0 and getattr(picture, "default_image", False):
            continue  # what an animated PNG shows where animations are unknown
        of_kind = _of_jpeg if kind in {"JPEG", "MPO"} else _of_frame
        colours, opacity = of_kind(path, frame)
        yield np.rot90(colours, quarters), None if opacity is None else np.rot90(opacity, quarters)
        if not (animated and kind in ANIMATED):
            return


def _orientation(picture: Image.Image) -> int:
    if picture.format == "TIFF":
        # Taken out, so that Pillow does not turn the picture by itself.
        return int(picture.getexif().pop(ExifTags.Base.Orientation, 1))
    exif = Image.Exif()
    try:
        exif.load(picture.info.get("exif", b""))
        return int(exif.get(ExifTags.Base.Orientation, 1))
    except (SyntaxError, TypeError, ValueError):
        return 1


def _of_jpeg(path: Path, frame: Image.Image) -> Planes:
    # Mode and marks stand in the header; what is not asked for here need not be decoded.
    if frame.mode == "CMYK":
        return _inked(frame) * SHIFTED, np.full((frame.height, frame.width), 255 * SHIFTED, np.float32)
    if frame.mode == "L":
        return _grey(as_floats(frame) * SHIFTED), None
    if frame.info.get("adobe_transform") == 0:
        return as_floats(frame) * SHIFTED, None  # stored as RGB
    coloured = jpeg.colours(path, frame)
    return (as_floats(frame) if coloured is None else coloured) / LEVELS, None


def _of_frame(path: Path, frame: Image.Image) -> Planes:
    kind = frame.format or ""
    deep = _deep(path, frame) if kind == "PNG" and not getattr(frame, "is_animated", False) else None
    if deep is not None:
        return deep
    stored = _stored(frame)
    frame.load()
    mode, key = frame.mode, frame.info.get("transparency")
    if mode == "F" or (mode == "I" and kind not in {"PNG", "PPM"}):
        raise NotDecoded(mode)
    if kind == "GIF":
        rgba = as_floats(frame.convert("RGBA"))
        colours = np.where(rgba[..., 3:] == 0, np.float32(255), rgba[..., :3])
        return colours * SHIFTED, rgba[..., 3] * SHIFTED
    if mode == "P" or (kind == "BMP" and mode in {"1", "L"}):
        rgba = as_floats(frame.convert("RGBA")) / LEVELS
        return rgba[..., :3], rgba[..., 3]
    if mode == "I" or mode.startswith("I;16"):
        levels = np.array(frame).astype(np.int32)
        return _grey(levels.astype(np.float32) * DEEP), _unlike(levels, key)
    if mode == "1":
        brightest = np.float32(1) if frame.width % _ROW == 0 else 255 * SHIFTED
        return _grey(np.array(frame).astype(np.float32) * brightest), None
    if mode == "L":
        levels = np.array(frame)
        opacity = _unlike(levels, key)
        return _grey(as_floats(frame) * SHIFTED), None if opacity is None else opacity * (255 * SHIFTED)
    if mode == "LA":
        planes = as_floats(frame) * SHIFTED
        return _grey(planes[..., 0]), planes[..., 1]
    if mode == "CMYK":
        return _inked(frame) * SHIFTED, None
    if kind == "BMP" and stored == "BGRX":
        # Pillow leaves out the fourth byte; as the red one of another order it is there. All 0 is no opacity.
        fourth = as_floats(_read_as(path, "XBGR").getchannel("R"))
        return as_floats(frame) * SHIFTED, fourth * SHIFTED if fourth.any() else None
    has_plane = "A" in frame.getbands() or key is not None or (kind == "WEBP" and _lossless(path))
    if has_plane and kind != "AVIF":
        rgba = _scaled(as_floats(frame.convert("RGBA")), kind)
        return rgba[..., :3], rgba[..., 3]
    return _scaled(as_floats(frame.convert("RGB")), kind), None


def as_floats(picture: Image.Image) -> Floats:
    """Each channel's numbers, as the file has them."""
    return np.array(picture).astype(np.float32)


def _scaled(levels: Floats, kind: str) -> Floats:
    return levels / LEVELS if kind in PLAIN_FORMATS else levels * SHIFTED


def _grey(levels: Floats) -> Floats:
    return np.repeat(levels[..., None], 3, axis=-1)


def _unlike(levels: NDArray[Any], key: Any) -> Floats | None:
    """1 where the level is not the one that a PNG calls transparent."""
    return (levels != key).astype(np.float32) if isinstance(key, int) else None


def _inked(frame: Image.Image) -> Floats:
    """Colours of cyan, magenta, yellow and black, with FFmpeg's rounding."""
    lights = 255 - np.array(frame).astype(np.int64)
    return (lights[..., :3] * lights[..., 3:] * 257 >> 16).astype(np.float32)


def _deep(path: Path, frame: Image.Image) -> Planes | None:
    """Colours of 16 bits, of which Pillow keeps the upper 8; None for other pictures."""
    raw = _stored(frame)
    if raw == "LA;16B":
        halves = np.array(_read_as(path, "RGBA")).astype(np.int32)
        levels = (halves[..., 0::2] << 8 | halves[..., 1::2]).astype(np.float32) * DEEP
        return _grey(levels[..., 0]), levels[..., 1]
    if raw not in {"RGB;16B", "RGBA;16B"}:
        return None
    upper, lower = (np.array(_read_as(path, raw[:-1] + order)).astype(np.int32) for order in "BL")
    levels = upper << 8 | lower
    scaled = levels.astype(np.float32) * DEEP
    key = frame.info.get("transparency")
    if key is not None:
        return scaled, (levels != np.array(key)).any(-1).astype(np.float32)
    return scaled[..., :3], scaled[..., 3] if scaled.shape[-1] == 4 else None


def _stored(frame: Image.Image) -> str:
    """The order of the bytes of a picture that is not loaded yet, as Pillow calls it."""
    tile = getattr(frame, "tile", None)
    given = tile[0][3] if tile else ""
    return str(given[0] if isinstance(given, tuple) and given else given)


def _read_as(path: Path, order: str) -> Image.Image:
    """A PNG or BMP whose bytes are taken in another order than it says."""
    picture = Image.open(path)
    assert isinstance(picture, ImageFile.ImageFile)
    *place, given = picture.tile[0]
    picture.tile = [(*place, (order, *given[1:]) if isinstance(given, tuple) else order)]  # type: ignore[list-item]
    picture.load()
    return picture


def _lossless(path: Path) -> bool:
    """Whether a WebP is of the kind that always has a plane for its opacity."""
    with path.open("rb") as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            if head[:4] in {b"VP8L", b"VP8 "}:
                return head[:4] == b"VP8L"
            size = int.from_bytes(head[4:], "little")
            file.seek(size + size % 2, 1)
    return False
