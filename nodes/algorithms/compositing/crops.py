"""The working crop: a square around the defect at the model's size, and the way back into the photo.

A photo has 1024 px, Stable Diffusion 1.5 works at 512, and a real hazelnut hole is 7-11 latent cells wide there: too
few for the UNet to draw anything ("small masks change nothing"). Cropping first gives the hole more cells. On the way
back only pixels under the denoise mask are touched; every other pixel is the source's, bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ..masks import as_batch, bounding_box
from ..pixels import resize, resize_mask

#: Pixels of a picture for each cell of its latent.
LATENT_CELL = 8

#: Latent cells that a hole should span for the UNet to have something to draw.
WANTED_CELLS = 16

#: The automatic crop leaves at least this much room around the mask, as a factor of its longer side.
LEAST_CONTEXT = 1.25

#: ... and shows at least this many hole diameters. At 512 px the wanted cells give four; a model of 128 px has only 16
#: cells in all, and a hole that fills its picture leaves it nothing to fit the hole into.
LEAST_DIAMETERS = 2.5


@dataclass(frozen=True)
class Window:
    """A rectangle of a photo, in px: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int

    @property
    def rows(self) -> slice:
        """Rows of the photo inside the window."""
        return slice(self.y, self.y + self.height)

    @property
    def columns(self) -> slice:
        """Columns of the photo inside the window."""
        return slice(self.x, self.x + self.width)


@dataclass(frozen=True)
class Stitch:
    """What it takes to put crops back: the source photos, their denoise masks, and where each crop was taken."""

    image: Tensor
    mask: Tensor
    windows: tuple[Window, ...]


def hole_diameter(mask: NDArray[np.bool_]) -> float:
    """Diameter in px of the disc that has the area of the mask's largest connected region; thin cracks count little."""
    box = bounding_box(mask)
    if box is None:
        return 0.0
    labels, _ = ndimage.label(mask[box[0] : box[2], box[1] : box[3]])
    return float(2.0 * math.sqrt(np.bincount(labels.ravel())[1:].max() / math.pi))


def window_around(
    denoise: NDArray[np.float32], label: NDArray[np.bool_] | None, size: int, context: float = 0.0
) -> Window:
    """Choose the square working crop around a mask.

    Args:
        denoise: ``[H, W]``, 0..1: what is repainted; the crop holds all of it, feather included.
        label: ``[H, W]``: the hole itself, for the count of latent cells; None takes the denoise mask.
        size: side of the crop after resizing, px (the model's native size).
        context: side of the crop as a multiple of the mask's longer side; 0 chooses the largest crop in which the
            hole still spans `WANTED_CELLS` latent cells, but never less than `LEAST_DIAMETERS` holes and
            `LEAST_CONTEXT` times the mask.

    Raises:
        ValueError: an empty mask, or one that no square inside the photo can hold.
    """
    box, side = box_and_side(denoise, label, size, context, denoise.shape)
    height, width = denoise.shape
    x = shift_inside((box[1] + box[3] - side) // 2, side, width)
    y = shift_inside((box[0] + box[2] - side) // 2, side, height)
    return Window(x, y, side, side)


def box_and_side(
    denoise: NDArray[np.float32] | NDArray[np.bool_],
    label: NDArray[np.bool_] | None,
    size: int,
    context: float,
    photo: tuple[int, int],
) -> tuple[tuple[int, int, int, int], int]:
    """The box of a mask and the side of the crop that `window_around` takes around it, px.

    Args:
        denoise: ``[h, w]``, the part of the photo that holds the mask, or the whole of it.
        label: the same part.
        size: see `window_around`.
        context: see `window_around`.
        photo: height and width of the photo.

    Raises:
        ValueError: as `window_around`.
    """
    box = bounding_box(denoise > 0)
    if box is None:
        raise ValueError(
            "The mask is empty, so there is nothing to crop around. Connect a mask with at least one set pixel, "
            "or take the whole photo."
        )
    extent = max(box[2] - box[0], box[3] - box[1])
    largest = min(photo)
    if extent > largest:
        raise ValueError(
            f"The mask is {box[3] - box[1]}x{box[2] - box[0]} px (width x height), longer than the short side of the "
            f"{photo[1]}x{photo[0]} photo, so no square crop can hold it. Take the whole photo, or a smaller mask."
        )
    if context > 0:
        side = extent * max(1.0, context)
    else:
        hole = hole_diameter(denoise >= 0.5 if label is None else label)
        diameters = max(size / (LATENT_CELL * WANTED_CELLS), LEAST_DIAMETERS)
        side = max(hole * diameters, extent * LEAST_CONTEXT)
    return box, int(min(largest, max(extent, math.ceil(side))))


def shift_inside(start: int, side: int, length: int) -> int:
    """Where a stretch of `side` px begins so that all of it lies within 0..`length`, as near to `start` as can be."""
    return max(0, min(start, length - side))


def whole_photo(height: int, width: int) -> Window:
    """The window that is the photo itself: the plain behaviour of the web UI's "whole picture"."""
    return Window(0, 0, width, height)


def working_size(window: Window, size: int) -> tuple[int, int]:
    """Height and width to which a window is resized.

    A square becomes ``size x size``. An oblong photo keeps its proportions at about the same number of pixels, in
    multiples of 64 px (8 for small models), which the UNet's three halvings of the latent need.
    """
    step = 64 if size % 64 == 0 and size >= 256 else LATENT_CELL
    scale = size / math.sqrt(window.width * window.height)
    height = max(step, round(window.height * scale / step) * step)
    width = max(step, round(window.width * scale / step) * step)
    return (size, size) if window.width == window.height else (height, width)


def crop(image: Tensor, window: Window, height: int, width: int) -> Tensor:
    """Cut a window out of one IMAGE ``[H, W, 3]`` and resize it to ``[height, width, 3]``."""
    return resize(image[window.rows, window.columns], height, width)


def crop_mask(mask: Tensor, window: Window, height: int, width: int) -> Tensor:
    """Cut a window out of one MASK ``[H, W]`` and resize it to ``[height, width]``."""
    return resize_mask(mask[window.rows, window.columns], height, width)


def stitch_one(source: Tensor, mask: Tensor, window: Window, result: Tensor) -> Tensor:
    """Put one crop back into its photo.

    Args:
        source: ``[H, W, 3]``, the untouched photo.
        mask: ``[H, W]``, 0..1, the denoise mask that blends; where it is 0 the photo stays as it is, bit for bit.
        window: where the crop was taken.
        result: ``[h, w, 3]``, the crop after sampling, of any size.

    Returns:
        ``[H, W, 3]``.
    """
    out = source.clone()
    weight = mask[window.rows, window.columns, None].to(source)
    box = bounding_box((weight[..., 0] > 0).cpu().numpy())
    if box is None:
        return out
    # Only where the mask is: the window of a large photo is many times as large.
    part = (slice(box[0], box[2]), slice(box[1], box[3]))
    before, weight = source[window.rows, window.columns][part], weight[part]
    after = resize(result.to(source), window.height, window.width)[part]
    # `where`, not only the blend: before * 1 + after * 0 is not exact for an infinite or NaN pixel of a bad decode.
    out[window.rows, window.columns][part] = torch.where(weight > 0, before + (after - before) * weight, before)
    return out


def pairing(photos: int, results: int) -> int:
    """How many pictures come of so many photos and so many sampled crops.

    Raises:
        ValueError: the numbers do not go together.
    """
    if photos != results and 1 not in (photos, results):
        raise ValueError(
            f"{results} pictures came back for {photos} crops; expected the same number, one photo for all results, "
            "or one result for all photos."
        )
    return max(photos, results)


def stitch(put_back: Stitch, result: Tensor) -> Tensor:
    """Put a batch of crops back; one photo may take many results, and one result may go into many photos.

    Raises:
        ValueError: the numbers of photos and results do not go together.
    """
    photos, results = put_back.image.shape[0], result.shape[0]
    count = pairing(photos, results)
    return as_batch(
        [
            stitch_one(
                put_back.image[i % photos], put_back.mask[i % photos], put_back.windows[i % photos], result[i % results]
            )
            for i in range(count)
        ]
    )
