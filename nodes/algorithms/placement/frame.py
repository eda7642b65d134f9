"""A part's own frame: its centre, its size, how its outline runs, and by which turns one part lies on another.

A defect that is moved from one part to another keeps its place only if "place" means the part's own: so many radii from
its centre, at such an angle to its outline. The longer axis alone does not give that angle: a metal nut has none, a
bottle seen from above has all of them. So the whole outline decides: every turn (and mirroring) under which the one
outline lies on the other about as well as under the best is as good as any. For a capsule these are four, for a nut
with six sides twelve, for a disc all.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: Directions in which the outline is measured.
_DIRECTIONS = 180

#: A part that covers more of its picture than that has no outline of its own: a texture.
_WHOLE = 0.97

#: A turn is admissible when the outlines differ (root mean square, in mean radii) by at most this more than at best.
_TOLERANCE = 0.02

#: Outlines that differ by more than that even at best are not of the same shape: one of them is damaged (a bent arm, a
#: broken end). Then only this share of the directions counts, those in which they differ least, and a turn is
#: admissible when they differ by at most this factor of what they do at best.
_DAMAGED, _SOUND, _DAMAGED_FACTOR = 0.05, 0.8, 1.2


class NoPlaceError(ValueError):
    """No defect of the wanted kind fits on the part; the message says why.

    Attributes:
        fitted: how many found a place before that.
        reasons: why places would not do, and how often.
    """

    def __init__(self, message: str, fitted: int = 0, reasons: Counter[str] | None = None) -> None:
        super().__init__(message)
        self.fitted, self.reasons = fitted, reasons if reasons is not None else Counter()


@dataclass(frozen=True)
class Turn:
    """A way to lay one part on another: mirrored first (or not), then turned by `angle` rad from x towards y."""

    angle: float
    mirrored: bool


@dataclass(frozen=True)
class PartFrame:
    """A part in its own terms.

    Attributes:
        centre: (y, x) of its centroid, px.
        radius: of the disc of the same area, px.
        axis: direction of its longer axis, rad, from x towards y, in -pi/2..pi/2.
        elongation: longer over shorter axis, from the spread of its pixels; 1 for a disc.
        outline: ``[180]``, from the centre to the farthest pixel in each direction, in units of `reach`.
        reach: mean of that distance, px.
        whole: it fills the picture (a texture, or a part larger than the photo).
        area: px.
    """

    centre: tuple[float, float]
    radius: float
    axis: float
    elongation: float
    outline: NDArray[np.float64]
    reach: float
    whole: bool
    area: int

    def rim(self, direction: float, within: float = 0.0) -> float:
        """Distance from the centre to the outline in a direction (rad, x towards y), px.

        `within` so many rad to both sides of it the outline's greatest distance counts: beside the notch of a nut its
        arms.
        """
        middle, reach = int(direction / (2 * math.pi) % 1.0 * _DIRECTIONS), int(within / (2 * math.pi) * _DIRECTIONS)
        return float(self.outline[np.arange(middle - reach, middle + reach + 1) % _DIRECTIONS].max()) * self.reach


def part_frame(part: NDArray[np.bool_]) -> PartFrame:
    """Measure a part.

    Args:
        part: ``[H, W]``, the object mask; all set for a texture.

    Raises:
        NoPlaceError: the mask is empty.
    """
    area = int(np.count_nonzero(part))
    if area == 0:
        raise NoPlaceError("The object mask is empty, so nothing can be placed on it. Check the object mask's preview.")
    height, width = part.shape
    step = max(1, max(height, width) // 256)
    reduced = part[::step, ::step]
    rows, columns = np.nonzero(reduced if reduced.any() else part)
    points = np.stack([rows, columns], axis=-1) * float(step if reduced.any() else 1)
    centre = points.mean(axis=0)
    spread = np.cov((points - centre).T) if len(points) > 2 else np.eye(2)
    values, vectors = np.linalg.eigh(np.atleast_2d(spread))
    axis = math.atan2(vectors[0, 1], vectors[1, 1])
    axis = (axis + math.pi / 2) % math.pi - math.pi / 2
    outline, reach = _outline(points - centre)
    elongation = math.sqrt(float(max(values[1], 1e-9) / max(values[0], 1e-9)))
    return PartFrame(
        (float(centre[0]), float(centre[1])),
        math.sqrt(area / math.pi),
        axis,
        elongation,
        outline,
        reach,
        area >= _WHOLE * part.size,
        area,
    )


def _outline(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    distance = np.hypot(points[:, 0], points[:, 1])
    direction = np.floor((np.arctan2(points[:, 0], points[:, 1]) / (2 * math.pi) % 1.0) * _DIRECTIONS)
    reach = np.zeros(_DIRECTIONS)
    np.maximum.at(reach, direction.astype(int) % _DIRECTIONS, distance)
    known = np.flatnonzero(reach > 0)
    if known.size == 0:
        return np.ones(_DIRECTIONS), 1.0
    reach = np.interp(np.arange(_DIRECTIONS), known, reach[known], period=_DIRECTIONS)
    return reach / reach.mean(), float(reach.mean())


def turns(source: PartFrame, target: PartFrame, mirror: bool = True) -> list[Turn]:
    """Every admissible way to lay the source part on the target, at least one.

    Two textures, or a part and a texture, have no outline to compare: they are laid on each other upright, turned by
    half a revolution, and mirrored, which keeps the direction of weave and grain.
    """
    sides = (False, True) if mirror else (False,)
    if source.whole or target.whole:
        # Mirrored about the vertical axis, or mirrored and turned by half: about the horizontal one.
        return [Turn(angle, mirrored) for angle in (0.0, math.pi) for mirrored in sides]
    found: list[Turn] = []
    differ: list[NDArray[np.float64]] = []
    for mirrored in sides:
        # Mirroring at the vertical axis takes direction a to pi - a.
        outline = np.roll(source.outline[::-1], _DIRECTIONS // 2) if mirrored else source.outline
        for step in range(_DIRECTIONS):
            found.append(Turn(2 * math.pi * step / _DIRECTIONS, mirrored))
            differ.append(np.square(np.roll(outline, step) - target.outline))
    errors = np.sqrt(np.mean(differ, axis=1))
    most = errors.min() + _TOLERANCE
    if errors.min() > _DAMAGED:
        errors = np.sqrt(np.mean(np.sort(differ, axis=1)[:, : round(_SOUND * _DIRECTIONS)], axis=1))
        most = _DAMAGED_FACTOR * errors.min()
    return [turn for turn, error in zip(found, errors, strict=True) if error <= most]


def separate_parts(part: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The parts of a mask that holds several, largest first; what is under a tenth of the largest is left out.

    A mask in one piece comes back as it is. Pieces are told apart at 256 px, so hairlines do not part them.
    """
    step = max(1, max(part.shape) // 256)
    small = part[::step, ::step]
    labels, count = ndimage.label(small, structure=np.ones((3, 3)))
    if count <= 1:
        return [part]
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    areas[0] = 0
    large = [int(n) for n in np.argsort(-areas) if areas[n] >= 0.1 * areas.max()]
    if len(large) <= 1:
        return [part]
    # Each pixel goes with its nearest piece; only the mask's own pixels count.
    nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    owner = labels[tuple(nearest)]
    full = np.repeat(np.repeat(owner, step, axis=0), step, axis=1)[: part.shape[0], : part.shape[1]]
    return [part & (full == number) for number in large]
