"""Masks as tensors: bring any form to ``[B, H, W]``, grow, feather, binarise.

Three masks are never mixed up in this project: the *label* mask (hard, what a detector learns), the *denoise* mask
(grown and feathered, what is repainted) and the *reference* mask (where the defect is on a reference photo).
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

#: ComfyUI's LoadImage gives this size when a picture has no alpha channel.
_EMPTY_MASK_SIZE = (64, 64)

#: Pixels above which a mask's memory is worth a thought: 130 MB.
_LARGE = 1 << 25


def as_mask_batch(mask: Tensor, batch: int, height: int, width: int, name: str = "mask") -> Tensor:
    """Bring a mask to ``[batch, height, width]``, float32, 0..1.

    Args:
        mask: ``[H, W]``, ``[B, H, W]`` or ``[B, 1, H, W]``; one mask serves every picture of the batch.
        batch: number of pictures.
        height: height of the pictures in px.
        width: width of the pictures in px.
        name: how an error calls this mask.

    Raises:
        ValueError: a mask of another size, of another count, or ComfyUI's empty 64x64 stand-in.
    """
    if mask.ndim == 4 and mask.shape[1] == 1:
        mask = mask[:, 0]
    elif mask.ndim == 2:
        mask = mask[None]
    if mask.ndim != 3:
        raise ValueError(f"{name}: expected [H, W], [B, H, W] or [B, 1, H, W], got shape {list(mask.shape)}")
    found = (mask.shape[1], mask.shape[2])
    if found != (height, width):
        if found == _EMPTY_MASK_SIZE and not mask.any():
            raise ValueError(
                f"{name}: this is the empty 64x64 mask that ComfyUI gives for a picture without an alpha channel. "
                f"Draw a mask on the picture, or connect a mask of {width}x{height} px."
            )
        raise ValueError(
            f"{name}: the mask is {found[1]}x{found[0]} px but the picture is {width}x{height} px. "
            "Connect the mask that belongs to this picture, or resize one of the two first."
        )
    if mask.shape[0] not in (1, batch):
        raise ValueError(f"{name}: {mask.shape[0]} masks for {batch} pictures; expected one mask, or one for each.")
    mask = mask.to(torch.float32)
    low, high = torch.aminmax(mask)
    # A mask that is in range already is not copied: that of a photo of 100 MP has 400 MB.
    if not (low >= 0.0 and high <= 1.0):
        mask = mask.clamp(0.0, 1.0)
    return mask.expand(batch, height, width)


def masks_for(image: Tensor, mask: Tensor, name: str) -> Tensor:
    """`as_mask_batch` for the pictures of an IMAGE ``[B, H, W, 3]``."""
    return as_mask_batch(mask, image.shape[0], image.shape[1], image.shape[2], name)


def binarise(mask: Tensor, threshold: float = 0.5) -> Tensor:
    """1.0 where the mask reaches `threshold`, else 0.0. Masks that look white are often 0.98."""
    return _as_floats((mask >= threshold).cpu().numpy()).to(mask.device)


def bounding_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Smallest box ``(y0, x0, y1, x1)``, ends exclusive, around the set pixels of ``[H, W]``; None when none is set."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def grow_and_feather(label: NDArray[np.bool_], grow: float, feather: float) -> NDArray[np.float32]:
    """Make the denoise mask of a label mask.

    The mask is 1 up to `grow` px outside the label and falls smoothly (cubic) to exactly 0 at ``grow + feather`` px.
    The support is bounded, unlike a Gaussian's, so that "outside the feather" has a meaning that can be tested.

    Args:
        label: ``[H, W]`` bool.
        grow: px by which the full-strength part reaches beyond the label.
        feather: px over which it fades out; 0 gives a hard edge.

    Returns:
        ``[H, W]`` float32 in 0..1; all zero for an empty label.
    """
    if grow < 0 or feather < 0:
        raise ValueError(f"grow and feather are distances in px and cannot be negative; got {grow} and {feather}")
    out = zeros(label.shape)
    box = bounding_box(label)
    if box is None:
        return out
    # Only the surroundings of the label are touched: a hole covers a few percent of a photo.
    margin = int(np.ceil(grow + feather)) + 1
    window = (
        slice(max(0, box[0] - margin), box[2] + margin),
        slice(max(0, box[1] - margin), box[3] + margin),
    )
    inside = label[window]
    distance = np.asarray(ndimage.distance_transform_edt(~inside), np.float32)
    if feather > 0:
        fade = np.clip((grow + feather - distance) / feather, 0.0, 1.0)
        fade = fade * fade * (3.0 - 2.0 * fade)
    else:
        fade = (distance <= grow).astype(np.float32)
    out[window] = np.where(inside, np.float32(1.0), fade)
    return out


def to_array(mask: Tensor) -> NDArray[np.bool_]:
    """One mask ``[H, W]`` as a boolean array, set from one half upwards."""
    return np.asarray((mask >= 0.5).cpu().numpy(), bool)


def to_tensor(masks: list[NDArray[np.bool_]] | list[NDArray[np.float32]]) -> Tensor:
    """Arrays ``[H, W]`` as one MASK batch ``[B, H, W]``, float32."""
    return as_batch([_as_floats(mask) for mask in masks])


def as_batch(pictures: Sequence[Tensor]) -> Tensor:
    """Pictures or masks of one size as a batch; a single one is not copied."""
    return pictures[0][None] if len(pictures) == 1 else torch.stack(list(pictures))


def _as_floats(area: NDArray[np.bool_] | NDArray[np.float32]) -> Tensor:
    """1.0 where an area is set."""
    if area.dtype != np.bool_:
        return torch.from_numpy(np.asarray(area, np.float32))
    out = zeros(area.shape)
    np.copyto(out, 1.0, where=np.asarray(area, bool))
    return torch.from_numpy(out)


def zeros(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Zeros of which those that are never written to take no memory; most of a photo has no defect.

    numpy asks for pages of 2 MB, of which a few rows of a mask touch nearly all.
    """
    count = math.prod(shape)
    if count < _LARGE or not hasattr(mmap, "MAP_PRIVATE"):  # Windows has no such flag, and hands out memory lazily
        return np.zeros(shape, np.float32)
    memory = mmap.mmap(-1, 4 * count, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(memory, np.float32).reshape(shape)
