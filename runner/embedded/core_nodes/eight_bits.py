"""Picture files decoded as ComfyUI 0.3.64 did it: by Pillow, to 8 bits; for `--follow 0.3.64`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .pictures import LEVELS, Decoded, Floats, as_floats, frames, tolerance


def decoded(path: Path) -> Decoded:
    """Colours of each frame; opacity where the first frame knows any.

    Raises:
        OSError: no picture that Pillow can read.
        ValueError: some frames know transparency and others do not.
    """
    found = list(_frames(_opened(path)))
    opacities = [_opacity(frame) for frame in found]
    known = [opacity for opacity in opacities if opacity is not None]
    if known and len(known) < len(found):
        raise ValueError(f"{path.name}: some of its {len(found)} frames are transparent and some are not")
    return Decoded(
        np.stack([_shares(frame.convert("RGB")) for frame in found]),
        np.stack(known) if known else None,
    )


def mask(path: Path, channel: str) -> Floats:
    """One channel of the first frame `[1, H, W]`, alpha turned round: 1 where transparent."""
    levels = _shares(_upright(_opened(path)).convert("RGBA").getchannel(channel[0].upper()))[None]
    return np.float32(1) - levels if channel == "alpha" else levels


def _opened(path: Path) -> Image.Image:
    """A truncated picture as far as it goes."""
    try:
        picture = Image.open(path)
        picture.load()
    except (OSError, UnidentifiedImageError, ValueError):
        with tolerance():
            picture = Image.open(path)
            picture.load()
    return picture


def _shares(picture: Image.Image) -> Floats:
    """8 bits as 0..1."""
    return as_floats(picture) / LEVELS


def _upright(picture: Image.Image) -> Image.Image:
    """Turned as its EXIF says, and 32-bit grey scaled to 8 bits."""
    turned = ImageOps.exif_transpose(picture)
    return turned.point(lambda value: value * (1 / 255)) if turned.mode == "I" else turned


def _opacity(picture: Image.Image) -> Floats | None:
    if "A" in picture.getbands():
        return _shares(picture.getchannel("A"))
    if picture.mode == "P" and "transparency" in picture.info:
        return _shares(picture.convert("RGBA").getchannel("A"))
    return None


def _frames(picture: Image.Image) -> Iterator[Image.Image]:
    """Frames of the first one's size; of an MPO (two views of one photo) only the first."""
    found = frames(picture, _upright)
    return islice(found, 1) if picture.format == "MPO" else found
