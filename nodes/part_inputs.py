"""What the placing nodes share: where the part is, which real defects there are, how far they may move."""

from __future__ import annotations

from typing import Any

import numpy as np
from comfy_api.latest import io
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from .algorithms.masks import as_mask_batch, to_array
from .algorithms.pixels import to_u8
from .algorithms.placement.foreground import find_part
from .algorithms.placement.motion import ANYWHERE, PLACES, Defect
from .algorithms.placement.surface import usual_surface

#: Openings up to this share of the part belong to it; the bore of a metal nut stays open.
_OPENING = 0.05

#: Longest side of the map of the usual surface, and the weight of places off it.
_MAP_SIDE, _UNUSUAL = 192, 0.02


def part_of(
    photo: NDArray[np.uint8],
    given: Tensor | None,
    index: int,
    batch: int,
    name: str = "part_mask",
    largest_opening: float = _OPENING,
) -> NDArray[np.bool_]:
    """The mask of the part on photo `index` of a batch: the given one, else one that is found and can be trusted.

    Raises:
        ValueError: the given mask is empty or of another size, or no part is found.
    """
    height, width = photo.shape[:2]
    if given is None:
        try:
            return find_part(photo, largest_opening)
        except ValueError as error:
            raise ValueError(f"{name}, photo {index}: {error}") from error
    mask = to_array(as_mask_batch(given, batch, height, width, name)[index])
    if not mask.any():
        raise ValueError(f"{name}, photo {index}: the mask is empty, so there is no part to place anything on.")
    return mask


def usual_places(photo: NDArray[np.uint8], part: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """Weights of places: those off the part's usual surface (the base of a nut, a label) are rare. None: all alike."""
    step = max(1, -(-max(part.shape) // _MAP_SIDE))
    small = part[::step, ::step]
    if small.all() or not small.any():
        return None
    reduced = np.asarray(Image.fromarray(photo).resize(small.shape[::-1], Image.Resampling.BOX))
    return np.where(usual_surface(reduced, small) | ~small, 1.0, _UNUSUAL)


def real_defects(reference: Tensor, reference_mask: Tensor, part_mask: Tensor | None) -> list[Defect]:
    """The defects of a batch of photos with their ground truth."""
    count, height, width = reference.shape[:3]
    masks = as_mask_batch(reference_mask, count, height, width, "reference_mask")
    found = []
    for number in range(count):
        photo, mask = to_u8(reference[number, ..., :3]), to_array(masks[number])
        if not mask.any():
            raise ValueError(
                f"reference_mask, photo {number}: the mask is empty, so there is no defect to move. Give a photo of a "
                "real defect with its ground truth, e.g. Load MVTec Photo with split 'test' and the defect's type."
            )
        # The defect may look like the background: openings belong to the part, and so does the defect.
        part = part_of(photo, part_mask, number, count, "reference_part_mask", largest_opening=1.0)
        found.append(Defect(mask, part, photo))
    return found


def motion_inputs(what: str) -> list[Any]:
    """How far a defect, or its mask, may move: the inputs that both nodes have."""
    return [
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=0xFFFFFFFFFFFFFFFF,
            control_after_generate=True,
            tooltip="Decides place, turn, size and bending. Photo i of a batch is drawn with (seed, i).",
        ),
        io.Combo.Input(
            "place",
            options=list(PLACES),
            default=ANYWHERE,
            tooltip=f"'its own place' keeps the {what} where it was on its own part: right for a rim, a neck, "
            "an imprint. 'anywhere on the part' gives more variety.",
        ),
        io.Float.Input(
            "shift",
            default=0.1,
            min=0.0,
            max=2.0,
            step=0.01,
            tooltip="At 'its own place': how far it strays from there, in radii of the part (standard deviation).",
        ),
        io.Float.Input(
            "turn",
            default=180.0,
            min=0.0,
            max=180.0,
            step=1.0,
            tooltip=f"Most degrees by which the {what} is turned, beside the turn that lays its part on this "
            "one. Lower it where defects follow the part, such as scratches along a wire.",
        ),
        io.Float.Input(
            "min_scale",
            default=0.8,
            min=0.1,
            max=10.0,
            step=0.05,
            tooltip="Least size as a factor of the real one; the parts' sizes are evened out first.",
        ),
        io.Float.Input(
            "max_scale",
            default=1.25,
            min=0.1,
            max=10.0,
            step=0.05,
            tooltip="Greatest size as a factor of the real one.",
        ),
        io.Boolean.Input(
            "mirror",
            default=True,
            tooltip=f"Whether the {what} may be mirrored. Off for print and letters.",
        ),
        io.Float.Input(
            "jitter",
            default=0.04,
            min=0.0,
            max=0.3,
            step=0.01,
            tooltip=f"Elastic bending of the {what}, as a share of its size.",
        ),
        io.Float.Input(
            "stretch",
            default=1.0,
            min=1.0,
            max=10.0,
            step=0.1,
            tooltip="Most by which it is drawn out in a random direction, as a ratio of length to width; its "
            "area stays. 1 keeps the proportions.",
        ),
    ]
