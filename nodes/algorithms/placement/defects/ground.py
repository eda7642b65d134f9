"""A part, ready to be searched for a place: its frame, how deep inside each place lies, what is still free."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from ..frame import PartFrame, part_frame
from ..hole_shapes import inside_picture
from ..surface import usual_surface

Bools = NDArray[np.bool_]
#: A drawn defect: its box, the row and column of the box's first pixel, its direction (rad, x towards y).
Found = tuple[Bools, int, int, float]

#: Longest side of the maps in which places are looked for.
MAP_SIDE = 192

#: What a box may lose at the part's edge through pixel rounding, as a share of the defect.
ROUNDING = 0.004

#: Deviation of a placed area from the one that was drawn, as a share of it.
AREA_TOLERANCE = 0.06


@dataclass
class Ground:
    """One part, ready to be searched. `free` shrinks with every defect; maps have one cell for `step` px."""

    part: Bools
    free: Bools
    frame: PartFrame
    step: int
    small: Bools
    usual: Bools
    photo: NDArray[np.uint8] | None
    depth: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.refresh()

    def refresh(self) -> None:
        """Measure again how far each cell is from what is not free."""
        height, width = self.small.shape
        # Every second row of a cell counts: one barred pixel bars its cell.
        rows, columns = np.arange(height) * self.step, np.arange(width) * self.step
        free = self.free[rows][:, columns] & self.small
        # Padded, so that the picture's own border is a rim too.
        self.depth = ndimage.distance_transform_edt(np.pad(free, 1))[1:-1, 1:-1] * self.step


def ground_of(part: Bools, keep_out: Bools | None, photo: NDArray[np.uint8] | None) -> Ground:
    frame = part_frame(part)
    step = max(1, -(-max(part.shape) // MAP_SIDE))
    small = part[::step, ::step]
    usual = small
    if photo is not None and not frame.whole and small.any():
        reduced = np.asarray(Image.fromarray(photo).resize(small.shape[::-1], Image.Resampling.BOX))
        usual = usual_surface(reduced, small)
    return Ground(part, part if keep_out is None else part & ~keep_out, frame, step, small, usual, photo)


def kept(found: Found, ground: Ground, loss: float = ROUNDING) -> Found | str:
    """The box inside the picture, checked at full size: what sticks out up to `loss` is cut, more is refused."""
    box, top, left, direction = found
    whole = int(np.count_nonzero(box))
    box, top, left = inside_picture(box, top, left, ground.free.shape)
    left_over = box & ground.free[top : top + box.shape[0], left : left + box.shape[1]]
    if np.count_nonzero(left_over) < (1.0 - loss) * whole or not left_over.any():
        return "it would reach off the part, into the keep-out mask or into another defect"
    return left_over, top, left, direction
