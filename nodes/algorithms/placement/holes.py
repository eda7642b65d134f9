"""Holes on a part, one after the other: seeded, object-aware, never a clipped sliver.

Position, size and shape follow statistics of real label masks (hazelnut, type hole): the mask covers 3.3-7.8 % of the
part (median 4.1 %). The search for a place works on small maps (`hole_places`); only the hole's own box is drawn and
checked at full size (`hole_shapes`).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .directions import line_direction
from .frame import NoPlaceError
from .hole_places import PartMap, depth_of, measure, preference
from .hole_shapes import HoleShape, draw_core, draw_cracks, draw_within, trim_cracks

#: Least share of the label that is core: more cracks than that are shortened.
_LEAST_CORE = 0.65

#: Free distance around a hole, in radii of its core.
_GAP = 0.25

#: A core of fewer px across is no hole.
_LEAST_CORE_DIAMETER = 3.0

#: Longest side of a photo, in px, above which the holes of a strip are kept within one crop. Smaller photos keep the
#: places that earlier versions gave them.
_LARGE = 2048

#: Arrangements that are tried before holes count as too many: on an oblong part the first hole may lie in the way.
_ARRANGEMENTS = 8

_TOO_SMALL = f"the hole would be under {_LEAST_CORE_DIAMETER:g} px across"
_TOO_LARGE = "nowhere is as far from the edge, the keep-out mask and other holes as size and rim ask"


@dataclass(frozen=True)
class HoleSettings:
    """What kind of holes to place.

    Attributes:
        count: number of holes.
        min_size: least area of one hole, as a share of the part.
        max_size: largest area of one hole, as a share of the part.
        max_cracks: each hole gets 0 to this many cracks.
        rim: least distance from the part's edge to the core's *edge*, in radii of the core.
        tries: places tried for one hole before giving up.
        crack_length: 1: the cracks of a hole are 0.17 to 0.65 of the part's diameter long together; 2: twice as long.
            Never more than a third of the label.
    """

    count: int = 1
    min_size: float = 0.033
    max_size: float = 0.078
    max_cracks: int = 3
    rim: float = 0.3
    tries: int = 64
    crack_length: float = 1.0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count: at least one hole is needed, got {self.count}")
        if not 0.0 < self.min_size <= self.max_size <= 0.5:
            raise ValueError(
                f"hole size: expected 0 < smallest <= largest <= 0.5 (shares of the part), "
                f"got {self.min_size:g} to {self.max_size:g}"
            )
        if self.max_cracks < 0 or self.rim < 0 or self.tries < 1:
            raise ValueError(
                "cracks and rim cannot be negative and at least one try is needed; "
                f"got cracks {self.max_cracks}, rim {self.rim:g}, tries {self.tries}"
            )
        if not 0.0 < self.crack_length <= 3.0:
            raise ValueError(f"crack_length: expected more than 0 and at most 3, got {self.crack_length:g}")


@dataclass(frozen=True)
class PlacedHole:
    """One hole that was placed: centre of its core (y, x) and core radius in px, area in px, number of cracks."""

    centre: tuple[float, float]
    core_radius: float
    area: int
    cracks: int


@dataclass(frozen=True)
class Placement:
    """The label mask ``[H, W]`` of all holes, and the holes."""

    label: NDArray[np.bool_]
    holes: tuple[PlacedHole, ...]


def place_holes(
    part: NDArray[np.bool_],
    seed: int,
    index: int = 0,
    settings: HoleSettings | None = None,
    keep_out: NDArray[np.bool_] | None = None,
    photo: NDArray[np.uint8] | None = None,
) -> Placement:
    """Place holes on a part.

    Args:
        part: ``[H, W]``, the object mask.
        seed: with `index` the only source of randomness: the same pair gives the same mask.
        index: number of the picture in its batch.
        settings: what kind of holes.
        keep_out: ``[H, W]``, where no hole may be, e.g. the rough base of a nut.
        photo: ``[H, W, 3]`` uint8, or a reduced copy of it. Its ribs set the direction of the cracks (without, or where
            it is smooth, they run along the part's longer axis), and places off its usual surface, such as the base of
            a nut, are unlikely.

    Raises:
        NoPlaceError: an empty part, or no place after `settings.tries` tries, with how many holes do fit; never a
            clipped hole, nor one that is smaller than asked for.
    """
    settings = settings or HoleSettings()
    measured = measure(part, photo)
    if keep_out is not None and keep_out.shape != part.shape:
        raise ValueError(f"keep-out mask is {keep_out.shape[::-1]} px, the object mask {part.shape[::-1]} px")
    free = part if keep_out is None else part & ~keep_out
    errors: list[NoPlaceError] = []
    for again in range(_ARRANGEMENTS):
        # The first one decides nearly always; the others draw from the smaller half of the range, then from less.
        rng, wanted = np.random.default_rng([seed, index, again] if again else [seed, index]), settings
        if again:
            range_ = settings.max_size / settings.min_size
            wanted = replace(settings, max_size=settings.min_size * range_ ** (1.0 - again / (_ARRANGEMENTS - 1)))
        try:
            return _arrange(rng, measured, free, wanted, photo)
        except NoPlaceError as error:
            errors.append(error)
    best = max(errors, key=lambda error: error.fitted)
    message = _no_place(best.reasons, best.fitted, measured, free, settings)
    raise NoPlaceError(message, best.fitted, best.reasons)


def _arrange(
    rng: np.random.Generator,
    measured: PartMap,
    free: NDArray[np.bool_],
    settings: HoleSettings,
    photo: NDArray[np.uint8] | None,
) -> Placement:
    """All holes, one after the other; the places of the first ones may leave none for the last."""
    part = free
    label = np.zeros(free.shape, bool)
    holes: list[PlacedHole] = []
    for number in range(settings.count):
        box, top, left, hole = _place_one(rng, measured, free, settings, photo, number)
        rows, columns = slice(top, top + box.shape[0]), slice(left, left + box.shape[1])
        label[rows, columns] |= box
        holes.append(hole)
        if number + 1 < settings.count:
            # Two holes keep some part between them, so that they stay two.
            free = free.copy() if free is part else free
            gap = max(2, round(_GAP * hole.core_radius))
            wide = (slice(max(0, top - gap), rows.stop + gap), slice(max(0, left - gap), columns.stop + gap))
            free[wide] &= ndimage.distance_transform_edt(~label[wide]) > gap
            if number == 0 and max(free.shape) > _LARGE:
                _keep_together(free, hole.centre)
    return Placement(label, tuple(holes))


def _keep_together(free: NDArray[np.bool_], centre: tuple[float, float]) -> None:
    """On a long strip, leave free only what one square crop can hold together with the first hole."""
    for axis, middle in enumerate(centre):
        reach = 0.45 * min(free.shape)
        along = np.moveaxis(free, axis, 0)
        along[: max(0, math.ceil(middle - reach))] = False
        along[math.floor(middle + reach) + 1 :] = False


def _place_one(
    rng: np.random.Generator,
    part: PartMap,
    free: NDArray[np.bool_],
    settings: HoleSettings,
    photo: NDArray[np.uint8] | None,
    fitted: int,
) -> tuple[NDArray[np.bool_], int, int, PlacedHole]:
    # Padded, so that the picture's own border is a rim too.
    depth = depth_of(part, free)
    failures: Counter[str] = Counter()
    for _ in range(settings.tries):
        # Squared: small holes are more frequent than large ones (median 4.1 % in a range of 3.3 to 7.8 %).
        share = settings.min_size * (settings.max_size / settings.min_size) ** (rng.uniform() ** 2)
        area = share * part.area
        crack_count = int(rng.integers(settings.max_cracks + 1))
        core_area = area * (0.94 if crack_count == 0 else rng.uniform(0.72, 0.92))
        radius = math.sqrt(core_area / math.pi)
        if 2 * radius < _LEAST_CORE_DIAMETER:
            failures[_TOO_SMALL] += 1
            continue
        weights = np.where(depth >= radius * (1.0 + settings.rim), preference(part, radius), 0.0)
        total = float(weights.sum())
        if total == 0.0:
            failures[_TOO_LARGE] += 1
            continue
        cell = int(np.searchsorted(np.cumsum(weights.ravel()), rng.uniform() * total, side="right"))
        cell = min(cell, weights.size - 1)
        row, column = divmod(cell, weights.shape[1])
        jitter = rng.uniform(-0.5, 0.5, 2)
        centre = (float((row + 0.5 + jitter[0]) * part.cell - 0.5), float((column + 0.5 + jitter[1]) * part.cell - 0.5))
        # The photo may be a reduced copy: large ones are not turned into 8 bits for the sake of their ribs.
        scale = 1.0 if photo is None else photo.shape[0] / part.mask.shape[0]
        direction = line_direction(photo, (centre[0] * scale, centre[1] * scale), radius * scale, part.axis)
        cracks = (crack_count, radius, part.diameter, direction, settings.crack_length)
        shape = HoleShape(draw_core(rng, core_area), draw_cracks(rng, *cracks))
        shape = trim_cracks(shape, centre, free, area * (1.0 - _LEAST_CORE))
        result = draw_within(shape, centre, area, part.mask, free)
        if isinstance(result, str):
            failures[result] += 1
            continue
        box, top, left, core_scale = result
        placed = int(np.count_nonzero(box))
        if not settings.min_size * 0.98 <= placed / part.area <= settings.max_size * 1.02:
            failures["its area came out of the size range"] += 1
            continue
        return box, top, left, PlacedHole(centre, radius * core_scale, placed, len(shape.cracks))
    raise NoPlaceError("no place", fitted, failures)


def _no_place(
    failures: Counter[str], fitted: int, part: PartMap, free: NDArray[np.bool_], settings: HoleSettings
) -> str:
    """Why the holes find no place, and what would really help."""
    reasons = "; ".join(f"{reason} ({times} times)" for reason, times in failures.most_common())
    count = settings.count
    text = f"No place for hole {fitted + 1} of {count} after {settings.tries} tries: {reasons}."
    if fitted:
        text = f"Only {fitted} of {count} holes fit, in {_ARRANGEMENTS} arrangements. {text}"
    if failures.most_common(1)[0][0] == _TOO_SMALL:
        least = math.pi / 4 * _LEAST_CORE_DIAMETER**2 / 0.72 / part.area
        return (
            f"{text} The part has only {part.area} px, and a hole of {settings.min_size:g} to {settings.max_size:g} of "
            f"it is too small to be drawn: raise the sizes to {least:.2g} at least, or take photos on which the part "
            "is larger. The working crop and its size enlarge what is there, but cannot make a hole of 2 px one of 3."
        )
    mend = f"take a count of {fitted}" if fitted else "make the holes smaller"
    widest = float(depth_of(part, free).max()) / (1.0 + settings.rim)
    share = math.pi * widest**2 / part.area
    return (
        f"{text} To mend it, {mend}: a hole of more than about {share:.2g} of the part fits nowhere (asked for: "
        f"{settings.min_size:g} to {settings.max_size:g} of {part.area} px); or lower the distance to the rim "
        f"({settings.rim:g}), or shrink the keep-out mask."
    )
