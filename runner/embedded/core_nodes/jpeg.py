"""A JPEG's coarse chroma brought to its full size as FFmpeg does it: repeated; libjpeg smooths between its values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin
from scipy.linalg import solve_banded

#: Single precision is far finer than what is rounded to whole numbers in the end, and photos can be large.
Floats = NDArray[np.float32]
#: What `JpegImagePlugin.get_sampling` calls chroma at half the width, and at half of both sides.
HALF_WIDTH, HALF_BOTH = 1, 2


def colours(path: Path, picture: Image.Image) -> Floats | None:
    """Colours [H, W, 3], whole numbers in 0..255; None where chroma is as fine as luma, and Pillow's are the same.

    Pictures of an odd height go another way through FFmpeg's scaler, which does not repeat but smooth, from positions
    of its own, and rounds instead of cutting off.
    """
    sampling = JpegImagePlugin.get_sampling(picture)
    if sampling not in {HALF_WIDTH, HALF_BOTH} or min(picture.size) < 4:
        return None
    stored = np.array(_as_stored(path)).astype(np.float32)
    height, width = stored.shape[:2]
    if sampling == HALF_BOTH:
        # At half the size libjpeg gives just the stored chroma.
        chroma = np.array(_as_stored(path, (width // 2, height // 2)))[..., 1:].astype(np.float32)
        chroma = smoothed(chroma, height) if height % 2 else chroma.repeat(2, axis=0)
    else:
        chroma = unsmoothed(stored[..., 1:])
    if height % 2 and width % 2:
        chroma = smoothed(chroma.swapaxes(0, 1), width).swapaxes(0, 1)
    else:
        chroma = chroma.repeat(2, axis=1)[:, :width]
    blue, red = np.moveaxis(chroma - 128, -1, 0)
    luma = stored[..., 0]
    exact = np.stack((luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue), axis=-1)
    whole: Floats = exact.round(out=exact) if height % 2 else np.floor(exact, out=exact)
    return whole.clip(0, 255, out=whole)


def _as_stored(path: Path, size: tuple[int, int] | None = None) -> Image.Image:
    picture = Image.open(path)
    picture.draft("YCbCr", size)
    picture.load()
    return picture


def smoothed(coarse: Floats, count: int) -> Floats:
    """`count` rows between those of `coarse`, which fill the same height."""
    at = ((np.arange(count) + 0.5) * len(coarse) / count - 0.5).clip(0, len(coarse) - 1)
    below = np.minimum(at.astype(int) + 1, len(coarse) - 1)
    weight = (at - at.astype(int)).astype(np.float32)[:, None, None]
    between: Floats = coarse[at.astype(int)] * (1 - weight) + coarse[below] * weight
    return between


def unsmoothed(fine: Floats) -> Floats:
    """The values [H, ceil(W / 2), C] between which libjpeg has interpolated [H, W, C].

    Each gives two: three quarters of itself and one of its left neighbour, and of its right one; at the ends itself.
    The two together are a quarter of (1, 6, 1), a system that is solved along the rows. The second of the last one
    is not there in an odd width.
    """
    height, width, channels = fine.shape
    even, odd = fine[:, 0::2], fine[:, 1::2]
    count = even.shape[1]
    sums = np.empty((height, count, channels), np.float32)
    sums[:, 1:-1] = 4 * (even[:, 1:-1] + odd[:, 1 : count - 1])
    sums[:, 0] = 8 * even[:, 0]
    sums[:, -1] = 8 * fine[:, -1]
    bands = np.ones((3, count), np.float32)
    bands[1] = 6
    bands[1, 0], bands[0, 1] = 8, 0
    bands[1, -1], bands[2, -2] = (6, 2) if width % 2 else (8, 0)
    right = np.moveaxis(sums, 1, 0).reshape(count, height * channels)
    found = solve_banded((1, 1), bands, right).round().clip(0, 255)
    return np.moveaxis(found.reshape(count, height, channels), 0, 1)
