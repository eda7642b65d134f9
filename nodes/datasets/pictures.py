"""The one place where a picture file is opened: decoded whole, turned upright, brought to 8-bit RGB, and what had to be
assumed on the way is said.

Pillow's own limit against decompression bombs is replaced by ours, which counts pixels and names the option that raises
it: a line-scan camera's photo of 100 MP is no attack.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from .errors import ReadError
from .levels import declared_depth, to_rgb

#: Environment variable with the largest photo that is read, in px (width times height).
LIMIT_VARIABLE = "DEFECTFORGE_MAX_PIXELS"

#: Without it: 200 MP, of which an RGB photo takes 2.4 GB as float32.
DEFAULT_LIMIT = 200_000_000

#: Formats that Pillow decodes by itself. Not those for which it starts another program (EPS) or asks the system (WMF).
FORMATS = ("PNG", "JPEG", "MPO", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000", "TGA", "AVIF")

Level = TypeVar("Level", np.uint8, np.bool_)

#: EXIF orientations that swap width and height.
_LYING = (5, 6, 7, 8)
_ORIENTATION = 0x0112

#: Pillow's names of colour with 16 bits a sample, and the same with the other byte order.
_OTHER_ORDER = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B", "RGBA;16B": "RGBA;16L", "RGBA;16L": "RGBA;16B"}

_opening = threading.Lock()


@dataclass(frozen=True)
class Picture:
    """A photo as it is meant to be seen.

    Attributes:
        pixels: ``[H, W, 3]`` uint8 RGB, upright.
        stored: width and height in the file, before it was turned.
        orientation: EXIF's, 1 to 8; 1 where the file says none.
        notes: what was assumed or left out, one sentence each, without the file's name.
    """

    pixels: NDArray[np.uint8]
    stored: tuple[int, int]
    orientation: int = 1
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, upright."""
        return self.pixels.shape[1], self.pixels.shape[0]


def read_photo(source: Path | bytes, limit: int | None = None) -> Picture:
    """Read a photo.

    Args:
        source: a file, or its bytes.
        limit: most pixels; by default that of `max_pixels`.

    Raises:
        ReadError: no picture, cut off, of a kind that cannot be read, or larger than the limit.
    """
    with opened(source, limit) as file:
        pixels = turned(to_rgb(file.picture, file.depth, file.notes, file.lower), file.turn)
    if not pixels.any():
        file.notes.append("it is black throughout")
    return Picture(pixels, file.stored, file.orientation, tuple(file.notes))


def read_result(data: bytes, limit: int | None = None) -> tuple[NDArray[np.uint8], str]:
    """A picture that this project wrote, as it is in the file (``[H, W]`` or ``[H, W, C]``), and Pillow's mode of it.

    Raises:
        ReadError: it does not decode.
    """
    with opened(data, limit) as file:
        return np.asarray(file.picture), file.picture.mode


def thumbnail(path: Path, side: int) -> bytes:
    """A small JPEG of a photo, `side` px at its longest, upright and in the colours that `read_photo` gives.

    Raises:
        ReadError: as `read_photo`.
    """
    with opened(path, None, draft=2 * side) as file:
        small = Image.fromarray(turned(to_rgb(file.picture, file.depth, file.notes, file.lower), file.turn))
    small.thumbnail((side, side), Image.Resampling.BOX, reducing_gap=2.0)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


@dataclass
class Opened:
    """A decoded picture as the file stores it.

    Attributes:
        picture: decoded.
        stored: width and height in the file.
        orientation: EXIF's, 1 to 8.
        turn: the orientation that is still to be applied: Pillow turns TIFF files by itself.
        depth: bits of its grey levels, where the file says so.
        notes: takes what is worth saying.
        lower: gives the lower bytes of 16-bit colour, of which Pillow decodes the upper ones; else None.
    """

    picture: Image.Image
    stored: tuple[int, int]
    orientation: int
    turn: int
    depth: int | None
    notes: list[str]
    lower: Callable[[], NDArray[np.uint8]] | None


@contextlib.contextmanager
def opened(source: Path | bytes, limit: int | None = None, draft: int | None = None) -> Iterator[Opened]:
    """Open and decode a picture; nothing is converted.

    Args:
        source: a file, or its bytes.
        limit: most pixels; by default that of `max_pixels`.
        draft: decode a JPEG only as finely as this number of px a side needs.

    Raises:
        ReadError: as `read_photo`; errors of the decoder in the body of the `with` as well.
    """
    where = "the picture" if isinstance(source, bytes) else source
    most = max_pixels() if limit is None else limit
    try:
        with _open(source) as picture:
            if picture.width * picture.height > most:
                raise _too_large(picture, where, most)
            notes = _first_page(picture)
            stored, orientation = _stored(picture)
            lower = _lower_bytes(source, picture)
            if draft is not None and picture.format in ("JPEG", "MPO") and picture.mode in ("L", "RGB"):
                picture.draft(picture.mode, (draft, draft))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                picture.load()
            turn = orientation_of(picture)
            yield Opened(picture, stored, orientation or turn, turn, declared_depth(picture), notes, lower)
    except ReadError as error:
        raise error if error.where else ReadError(error.code, error.what, where, error.expected, error.mend) from None
    except MemoryError as error:
        raise ReadError(
            "data.image_memory", "needs more memory than there is", where, mend="Make it smaller"
        ) from error
    except Exception as error:  # Pillow's decoders raise many kinds, and any of them means the same
        raise ReadError(
            "data.image_broken",
            f"does not decode as a picture ({_reason(error, source)})",
            where,
            expected="a whole PNG, JPEG, BMP, TIFF or WebP file",
            mend="It may be cut off or of another format than its name says: copy it again, or take it out of the "
            "dataset",
        ) from error


def _open(source: Path | bytes) -> Image.Image:
    file: Path | io.BytesIO = io.BytesIO(source) if isinstance(source, bytes) else source
    # Pillow's limit is one number for the whole process; it is away only while the header is read, and our own is
    # asked before anything is decoded.
    with _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=[name for name in FORMATS if _is_known(name)])
        finally:
            Image.MAX_IMAGE_PIXELS = theirs


def _is_known(name: str) -> bool:
    Image.init()
    return name in Image.OPEN


def _lower_bytes(source: Path | bytes, picture: Image.Image) -> Callable[[], NDArray[np.uint8]] | None:
    """How to decode the other half of each 16-bit sample: with its bytes taken in the other order."""
    tiles = getattr(picture, "tile", [])
    if not any(_swapped(tile.args) != tile.args for tile in tiles):
        return None

    def read() -> NDArray[np.uint8]:
        again: Any  # a file's picture has tiles; Pillow's own annotation of what it opens does not say so
        with _open(source) as again:
            again.tile = [tile._replace(args=_swapped(tile.args)) for tile in again.tile]
            again.load()
            return np.asarray(again)

    return read


def _swapped(args: Any) -> Any:
    """A decoder's arguments with the byte order of colour of 16 bits a sample turned round."""
    if isinstance(args, tuple):
        return tuple(_swapped(arg) for arg in args)
    return _OTHER_ORDER.get(args, args) if isinstance(args, str) else args


def max_pixels() -> int:
    """The largest picture that is read, in px: ``DEFECTFORGE_MAX_PIXELS``, or 200 million.

    Raises:
        ReadError: the variable holds no whole number above 0.
    """
    text = os.environ.get(LIMIT_VARIABLE, "").strip()
    if not text:
        return DEFAULT_LIMIT
    try:
        limit = int(text)
    except ValueError:
        limit = 0
    if limit < 1:
        raise ReadError(
            "data.limit", f"is {text!r}", f"the environment variable {LIMIT_VARIABLE}", "a whole number of px above 0"
        )
    return limit


def _too_large(picture: Image.Image, where: object, limit: int) -> ReadError:
    pixels = picture.width * picture.height
    return ReadError(
        "data.image_too_large",
        f"is {picture.width}x{picture.height} px, {pixels / 1e6:.0f} MP",
        where,
        expected=f"at most {limit / 1e6:g} MP",
        mend=f"Allow more with --max-pixels {pixels} (on a server of its own: {LIMIT_VARIABLE}={pixels} in its "
        "environment), or make the photo smaller",
    )


def _first_page(picture: Image.Image) -> list[str]:
    """Only TIFF has pages that a person may not know of; a note is due for every kind with several pictures."""
    try:
        pages = int(getattr(picture, "n_frames", 1))
    except Exception:  # a broken chain of pages: the first one may be sound
        return ["its further pages cannot be counted; the first one is read"]
    return [f"it has {pages} pages; only the first one is read"] if pages > 1 else []


def _stored(picture: Image.Image) -> tuple[tuple[int, int], int | None]:
    """Width and height in the file; and the orientation where decoding will apply it and forget it."""
    if not isinstance(picture, TiffImageFile):
        return picture.size, None
    tags = picture.tag_v2
    orientation = tags.get(_ORIENTATION, 1)
    known = isinstance(orientation, int) and 1 <= orientation <= 8
    return (int(tags[256]), int(tags[257])), orientation if known else 1


def orientation_of(picture: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 where there is none, or none that EXIF knows."""
    try:
        orientation = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # EXIF data of any kind of broken: then nothing is known of it
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def turned(pixels: NDArray[Level], orientation: int) -> NDArray[Level]:
    """Stored pixels ``[H, W, ...]`` as EXIF's orientation means them to be seen."""
    if orientation in _LYING:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def upright_size(stored: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Width and height after turning."""
    return (stored[1], stored[0]) if orientation in _LYING else stored


def _reason(error: Exception, source: Path | bytes) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "cannot identify image file" in str(error):
        return "it is none that is known"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
