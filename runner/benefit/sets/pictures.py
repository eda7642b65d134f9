"""Photos and masks as arrays of the one size that the detectors look at."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ....nodes.datasets import pictures
from ...errors import request_error
from ...plans.photos import as_problems

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]


class Read(NamedTuple):
    """A photo upright: uint8 RGB ``[size,size,3]``, the sha256 of its decoded pixels, its own width and height."""

    picture: Picture
    pixels: str
    size: tuple[int, int]


def read_photo(path: Path, size: int) -> Read:
    """A photo brought to a square of `size`.

    Raises:
        RequestError: it does not decode.
    """
    with as_problems():
        return brought_to(pictures.read_photo(path).pixels, size)


def brought_to(pixels: Picture, size: int) -> Read:
    """Decoded, upright pixels ``[H,W,3]`` brought to a square of `size`."""
    rgb = Image.fromarray(pixels)
    return Read(np.asarray(rgb.resize((size, size), Image.Resampling.BOX)), pixels_sha256(rgb), rgb.size)


def small_mask(mask: Mask, size: int, of: Read, where: Path) -> Mask:
    """bool ``[size,size]``: a pixel is set where more than half of what it covers is.

    Args:
        of: the mask's photo; `where` names the mask in the error.

    Raises:
        RequestError: photo and mask differ in size.
    """
    if mask.shape != of.size[::-1]:
        raise request_error(
            "benefit.mask_size",
            f"a mask is {mask.shape[1]}x{mask.shape[0]}, its photo {of.size[0]}x{of.size[1]}",
            where=str(where),
            expected="a mask of the same size as its photo",
            mend="replace the mask",
        )
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(image.resize((size, size), Image.Resampling.BOX)) > 127


def pixels_sha256(image: Image.Image) -> str:
    """The same for a PNG and a BMP of the same picture."""
    return hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()


def thumbnails(of: Sequence[Picture] | Picture, side: int = 48) -> NDArray[np.float32]:
    """uint8 pictures -> float32 ``[N,side,side,3]`` in 0..255."""
    small = [Image.fromarray(picture).resize((side, side), Image.Resampling.BOX) for picture in of]
    return np.stack([np.asarray(picture, np.float32) for picture in small])
