"""Defects of any type on any part: where they may be, how they lie, and drawing them there. Never a clipped sliver.

The search for a place works on maps of at most 192 px; only the defect's own box is drawn and checked at full size.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..frame import NoPlaceError, PartFrame, separate_parts
from ..prior import MaskPrior
from . import AS_TYPE, EDGE, INSIDE, ORIENTATIONS, TYPES
from .edges import at_edge, cut_off_at
from .ground import ROUNDING, Bools, Found, Ground, ground_of, kept
from .inside import inside

#: The same for real shapes that reached their own part's edge.
_EDGE_LOSS = 0.4

#: Free distance around a defect, in radii of a disc of its area; and at least in px.
_GAP, _LEAST_GAP = 0.35, 3

#: A defect of fewer px is none.
_LEAST_AREA = 6.0

#: The prior's own shape instead of a drawn one.
REAL_SHAPES = "as the real ones"


@dataclass(frozen=True)
class PlaceSettings:
    """What to place.

    Attributes:
        type: one of `TYPES`, or `REAL_SHAPES` with a prior.
        count: number of defects on the part; 0 draws the number from the prior.
        min_size: least area of one, as a share of the part; 0: the prior's, or the type's own.
        max_size: greatest area, likewise.
        orientation: one of `ORIENTATIONS`.
        tries: places tried for one defect before giving up.
    """

    type: str = "hole"
    count: int = 1
    min_size: float = 0.0
    max_size: float = 0.0
    orientation: str = AS_TYPE
    tries: int = 64

    def __post_init__(self) -> None:
        if self.type not in TYPES and self.type != REAL_SHAPES:
            raise ValueError(f"defect type {self.type!r} is unknown; expected one of {', '.join(TYPES)}")
        if self.orientation not in ORIENTATIONS:
            raise ValueError(f"orientation {self.orientation!r} is unknown; expected one of {', '.join(ORIENTATIONS)}")
        if self.count < 0 or self.tries < 1:
            raise ValueError(f"expected count >= 0 and at least one try, got {self.count} and {self.tries}")
        if not 0.0 <= self.min_size <= 0.9 or not 0.0 <= self.max_size <= 0.9:
            raise ValueError(f"size: expected shares of the part, 0 to 0.9, got {self.min_size:g} to {self.max_size:g}")
        low, high = self.sizes or (0.0, 1.0)
        if low > high:
            raise ValueError(
                f"size: the smallest ({low:g}) is above the largest ({high:g}); 0 stands for the type's own limit"
            )

    @property
    def sizes(self) -> tuple[float, float] | None:
        """The limits that hold, the type's own where none is set; None: the prior decides."""
        if self.min_size == 0 and self.max_size == 0 and self.type == REAL_SHAPES:
            return None
        low, high = TYPES[self.type].size if self.type in TYPES else (1e-5, 0.9)
        if self.min_size and not self.max_size:
            high = max(high, self.min_size)
        if self.max_size and not self.min_size:
            low = min(low, self.max_size)
        return (self.min_size or low, self.max_size or high)


@dataclass(frozen=True)
class Placed:
    """One defect that was placed: (y, x) of its middle in px, its area in px, its direction in rad (x towards y)."""

    centre: tuple[float, float]
    area: int
    direction: float


@dataclass(frozen=True)
class DefectPlacement:
    """The label mask ``[H, W]`` of all defects, and the defects."""

    label: Bools
    defects: tuple[Placed, ...]


def place_defects(
    part: Bools,
    seed: int,
    index: int = 0,
    settings: PlaceSettings | None = None,
    keep_out: Bools | None = None,
    photo: NDArray[np.uint8] | None = None,
    prior: MaskPrior | None = None,
) -> DefectPlacement:
    """Place defects on a part.

    Args:
        part: ``[H, W]``, the object mask; all set for a texture. Of several parts each defect takes one, by area.
        seed: with `index` the only source of randomness: the same pair gives the same mask.
        index: number of the picture in its batch.
        settings: what to place.
        keep_out: ``[H, W]``, where no defect may be.
        photo: ``[H, W, 3]`` uint8: its lines set directions, places off its usual surface are rare.
        prior: sizes, places and number as those of real masks, and their shapes with `REAL_SHAPES`.

    Returns:
        A label that lies on the part entirely.

    Raises:
        NoPlaceError: an empty part, or no place after `settings.tries` tries.
        ValueError: sizes that differ, or settings that need a prior without one.
    """
    settings = settings or PlaceSettings()
    if prior is None and (settings.type == REAL_SHAPES or settings.count == 0):
        what = f"type '{REAL_SHAPES}'" if settings.type == REAL_SHAPES else "count 0"
        raise ValueError(f"{what} needs the prior of real masks: connect Mask Prior, or choose a type and a count.")
    for other, what in ((keep_out, "keep-out mask"), (photo, "photo")):
        if other is not None and other.shape[:2] != part.shape:
            raise ValueError(
                f"the {what} is {other.shape[1]}x{other.shape[0]} px, "
                f"the object mask {part.shape[1]}x{part.shape[0]} px: expected the same size"
            )
    rng = np.random.default_rng([seed, index])
    grounds = [ground_of(piece, keep_out, photo) for piece in separate_parts(part)]
    count = settings.count if settings.count or prior is None else prior.draw_number(rng)
    chances = np.array([ground.frame.area for ground in grounds], float)
    label, placed = np.zeros(part.shape, bool), []
    for number in range(count):
        ground = grounds[int(rng.choice(len(grounds), p=chances / chances.sum()))]
        box, top, left, defect = _place_one(rng, ground, settings, prior, f"{number + 1} of {count}")
        rows, columns = slice(top, top + box.shape[0]), slice(left, left + box.shape[1])
        label[rows, columns] |= box
        placed.append(defect)
        if number + 1 < count:
            # Two defects keep some part between them, so that they stay two.
            gap = max(_LEAST_GAP, round(_GAP * math.sqrt(defect.area / math.pi)))
            wide = (slice(max(0, top - gap), rows.stop + gap), slice(max(0, left - gap), columns.stop + gap))
            barred = ndimage.distance_transform_edt(~label[wide]) <= gap
            ground.free = ground.free.copy()
            ground.free[wide] &= ~barred
            ground.refresh()
    return DefectPlacement(label, tuple(placed))


def _place_one(
    rng: np.random.Generator, ground: Ground, settings: PlaceSettings, prior: MaskPrior | None, which: str
) -> tuple[Bools, int, int, Placed]:
    kind = TYPES.get(settings.type)
    if kind is not None and kind.where != INSIDE and ground.frame.whole:
        raise NoPlaceError(
            f"a {settings.type} needs the part's edge, but the part fills its picture. Connect a mask of the part, or "
            "choose another type."
        )
    failures: Counter[str] = Counter()
    area = 0.0
    for _ in range(settings.tries):
        sample = prior.draw(rng, ground.frame) if prior is not None else None
        area = _area(rng, settings, sample.share if sample is not None else None, ground.frame) * ground.frame.area
        if area < _LEAST_AREA:
            failures[f"it would be under {_LEAST_AREA:g} px"] += 1
            continue
        if kind is None:
            assert sample is not None
            found = sample.place(rng, math.sqrt(area / sample.area))
            result: Found | str = kept(found, ground, _EDGE_LOSS if sample.at_edge else ROUNDING)
        elif kind.where == INSIDE:
            goal = sample.centre if sample is not None and not ground.frame.whole else None
            result = inside(rng, ground, settings.orientation, kind, area, goal)
        elif kind.where == EDGE:
            result = at_edge(rng, ground, kind, area)
        else:
            result = cut_off_at(rng, ground, area)
        if isinstance(result, str):
            failures[result] += 1
            continue
        box, top, left, direction = result
        rows, columns = np.nonzero(box)
        centre = (float(rows.mean()) + top, float(columns.mean()) + left)
        return box, top, left, Placed(centre, int(rows.size), direction)
    reasons = "; ".join(f"{reason} ({times} times)" for reason, times in failures.most_common())
    raise NoPlaceError(
        f"no place for {settings.type} {which} after {settings.tries} tries: {reasons}. Make it smaller (last "
        f"about {area:.0f} px on a part of {ground.frame.area} px) or fewer, or shrink the keep-out mask."
    )


def _area(rng: np.random.Generator, settings: PlaceSettings, real: float | None, frame: PartFrame) -> float:
    """Share of the part."""
    chance = rng.uniform()
    own = settings.min_size == 0 and settings.max_size == 0
    limits = settings.sizes
    if real is not None:
        return real if own or limits is None else float(np.clip(real, *limits))
    assert limits is not None
    low, high = limits
    # Squared: small defects are more frequent than large ones.
    share = float(low * (high / low) ** (chance * chance))
    return share * TYPES[settings.type].on_texture if own and frame.whole else share
