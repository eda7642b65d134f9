"""Defects of any type on any part: where they may be, how they lie, and drawing them there. Never a clipped sliver.

The search for a place works on maps of at most 192 px; only the defect's own box is drawn and checked at full size.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from .directions import line_direction
from .frame import NoPlaceError, PartFrame, part_frame, separate_parts
from .prior import MaskPrior
from .surface import usual_surface
from .types import (
    ACROSS_LINES,
    ACROSS_PART,
    ALONG_LINES,
    ALONG_PART,
    AS_TYPE,
    CUT_OFF,
    EDGE,
    INSIDE,
    ORIENTATIONS,
    TYPES,
    DefectType,
)
from .types.cut_off import cut_off
from .types.drawing import Shape

Bools = NDArray[np.bool_]

_MAP_SIDE = 192

#: Weight of places that are possible, but not where such defects are found.
_UNUSUAL = 0.02

#: What a box may lose at the part's edge through pixel rounding, as a share of the defect.
_ROUNDING = 0.004

#: The same for real shapes that reached their own part's edge.
_EDGE_LOSS = 0.4

#: Deviation of a placed area from the one that was drawn, as a share of it.
_AREA_TOLERANCE = 0.06

#: Free distance around a defect, in radii of a disc of its area; and at least in px.
_GAP, _LEAST_GAP = 0.35, 3

#: A defect of fewer px is none.
_LEAST_AREA = 6.0

#: Factor on a type's own sizes where the part fills its picture: a photo of a texture shows a large piece of it.
_TEXTURE = 0.15

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


@dataclass
class _Ground:
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
    grounds = [_ground(piece, keep_out, photo) for piece in separate_parts(part)]
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


def _ground(part: Bools, keep_out: Bools | None, photo: NDArray[np.uint8] | None) -> _Ground:
    frame = part_frame(part)
    step = max(1, -(-max(part.shape) // _MAP_SIDE))
    small = part[::step, ::step]
    usual = small
    if photo is not None and not frame.whole and small.any():
        reduced = np.asarray(Image.fromarray(photo).resize(small.shape[::-1], Image.Resampling.BOX))
        usual = usual_surface(reduced, small)
    return _Ground(part, part if keep_out is None else part & ~keep_out, frame, step, small, usual, photo)


def _place_one(
    rng: np.random.Generator, ground: _Ground, settings: PlaceSettings, prior: MaskPrior | None, which: str
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
            found = sample.place(rng, ground.frame, math.sqrt(area / sample.area), ground.part.shape)
            result: tuple[Bools, int, int, float] | str = _kept(
                found, ground, _EDGE_LOSS if sample.at_edge else _ROUNDING
            )
        elif kind.where == INSIDE:
            goal = sample.centre if sample is not None and not ground.frame.whole else None
            result = _inside(rng, ground, settings, kind, area, goal)
        elif kind.where == EDGE:
            result = _at_edge(rng, ground, kind, area)
        else:
            result = _cut_off(rng, ground, area)
        if isinstance(result, str):
            failures[result] += 1
            continue
        box, top, left, direction = result
        rows, columns = np.nonzero(box)
        centre = (float(rows.mean()) + top, float(columns.mean()) + left)
        return box, top, left, Placed(centre, int(rows.size), direction)
    reasons = "; ".join(f"{reason} ({times} times)" for reason, times in failures.most_common())
    raise NoPlaceError(
        f"no place for {settings.type} {which} after {settings.tries} tries: {reasons}. Make it smaller (about {area:.0f}"
        f" px on a part of {ground.frame.area} px in the last try) or fewer, or shrink the keep-out mask."
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
    return share * _TEXTURE if own and frame.whole else share


def _inside(
    rng: np.random.Generator,
    ground: _Ground,
    settings: PlaceSettings,
    kind: DefectType,
    area: float,
    goal: tuple[float, float] | None,
) -> tuple[Bools, int, int, float] | str:
    assert kind.draw is not None
    shape, radius = kind.draw(rng), math.sqrt(area / math.pi)
    weights = np.where(ground.depth >= max(1.0, kind.rim * radius), 1.0, 0.0)
    rows, columns = np.indices(weights.shape)
    if goal is not None:
        # The real ones' place, as closely as the part allows.
        away = np.hypot(rows * ground.step - goal[0], columns * ground.step - goal[1])
        weights *= np.exp(-0.5 * np.square(away / (0.06 * ground.frame.radius))) + 1e-9
    elif kind.radial is not None and not ground.frame.whole:
        away = np.hypot(rows * ground.step - ground.frame.centre[0], columns * ground.step - ground.frame.centre[1])
        radial = away / ground.frame.radius
        fits = (radial >= kind.radial[0]) & (radial <= kind.radial[1])
        # Over the radius, so that each distance from the centre is as likely as the other.
        weights *= np.where(fits, 1.0, _UNUSUAL) / np.maximum(radial, 0.1)
    if kind.usual and ground.usual is not ground.small and goal is None:
        weights *= np.where(ground.usual, 1.0, _UNUSUAL)
    cumulative = np.cumsum(weights.ravel())
    if cumulative[-1] <= 0:
        return "nowhere is as far from the edge, the keep-out mask and other defects as its size asks"
    # Several places for one shape: a long crack fits in few, and drawing it again costs more than moving it.
    for _ in range(8):
        cell = min(int(np.searchsorted(cumulative, rng.uniform() * cumulative[-1], side="right")), weights.size - 1)
        row, column = divmod(cell, weights.shape[1])
        centre = ((row + rng.uniform()) * ground.step, (column + rng.uniform()) * ground.step)
        direction = _direction(rng, ground, settings, kind, centre, radius)
        placed = shape.placed(math.sqrt(area), direction, centre)
        if not _on(placed, ground):
            continue
        drawn = _drawn(placed, shape, direction, centre, ground, area)
        if not isinstance(drawn, str):
            return (*drawn, direction)
    return "it would reach off the part, into the keep-out mask or into another defect"


def _direction(
    rng: np.random.Generator,
    ground: _Ground,
    settings: PlaceSettings,
    kind: DefectType,
    centre: tuple[float, float],
    radius: float,
) -> float:
    wish, spread = kind.lies if settings.orientation == AS_TYPE else (settings.orientation, 0.08)
    noise, any_way = rng.normal(0.0, 1.0) * spread, rng.uniform(-math.pi, math.pi)
    # Both ends are alike.
    half = math.pi if any_way > 0 else 0.0
    if wish == ALONG_PART or wish == ACROSS_PART:
        return ground.frame.axis + (math.pi / 2 if wish == ACROSS_PART else 0.0) + noise + half
    if wish == ALONG_LINES or wish == ACROSS_LINES:
        line = line_direction(ground.photo, centre, max(radius, 0.05 * ground.frame.radius), ground.frame.axis)
        return line + (math.pi / 2 if wish == ACROSS_LINES else 0.0) + noise + half
    return any_way


def _on(placed: Shape, ground: _Ground) -> bool:
    """A quick look on the map whether the shape lies on what is free."""
    cells = np.round(placed.points()[::3] / ground.step).astype(int)
    height, width = ground.depth.shape
    if cells.min() < 0 or cells[:, 0].max() >= height or cells[:, 1].max() >= width:
        return False
    return bool(ground.depth[cells[:, 0], cells[:, 1]].min() > 0)


def _drawn(
    placed: Shape, shape: Shape, direction: float, centre: tuple[float, float], ground: _Ground, area: float
) -> tuple[Bools, int, int] | str:
    scale = math.sqrt(area)
    box, top, left = placed.raster()
    for _ in range(4):
        drawn = int(np.count_nonzero(box))
        if abs(drawn - area) <= _AREA_TOLERANCE / 2 * area:
            break
        # Overlapping parts and the least width of a line: the size makes up for them.
        scale *= float(np.clip(math.sqrt(area / max(drawn, 1)), 0.5, 2.0))
        box, top, left = shape.placed(scale, direction, centre).raster()
    kept = _kept((box, top, left, direction), ground)
    return kept if isinstance(kept, str) else kept[:3]


def _kept(
    found: tuple[Bools, int, int, float], ground: _Ground, loss: float = _ROUNDING
) -> tuple[Bools, int, int, float] | str:
    """The box inside the picture, checked at full size: what sticks out up to `loss` is cut, more is refused."""
    box, top, left, direction = found
    height, width = ground.free.shape
    whole = int(np.count_nonzero(box))
    cut_top, cut_left = max(0, -top), max(0, -left)
    box = box[cut_top : max(cut_top, height - top), cut_left : max(cut_left, width - left)]
    top, left = max(0, top), max(0, left)
    kept = box & ground.free[top : top + box.shape[0], left : left + box.shape[1]]
    if np.count_nonzero(kept) < (1.0 - loss) * whole or not kept.any():
        return "it would reach off the part, into the keep-out mask or into another defect"
    return kept, top, left, direction


def _at_edge(
    rng: np.random.Generator, ground: _Ground, kind: DefectType, area: float
) -> tuple[Bools, int, int, float] | str:
    """On the rim, its long side along it; what lies off the part is air, so the size is that of the rest."""
    assert kind.draw is not None
    shape = kind.draw(rng)
    found = _rim_place(rng, ground)
    if found is None:
        return "no edge of the part lies inside the picture"
    centre, inwards = found
    direction = inwards + math.pi / 2
    scale = math.sqrt(2.0 * area)
    for _ in range(6):
        box, top, left = shape.placed(scale, direction, centre).raster()
        height, width = ground.free.shape
        cut_top, cut_left = max(0, -top), max(0, -left)
        box = box[cut_top : max(cut_top, height - top), cut_left : max(cut_left, width - left)]
        top, left = max(0, top), max(0, left)
        window = (slice(top, top + box.shape[0]), slice(left, left + box.shape[1]))
        on = box & ground.part[window]
        drawn = int(np.count_nonzero(on))
        if drawn and abs(drawn - area) <= _AREA_TOLERANCE * area:
            break
        scale *= float(np.clip(math.sqrt(area / max(drawn, 1)), 0.5, 2.0))
    else:
        return "its area cannot be reached at that edge"
    labels, count = ndimage.label(on, structure=np.ones((3, 3)))
    if count > 1:
        on = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    if np.count_nonzero(on & ground.free[window]) < np.count_nonzero(on):
        return "it would reach into the keep-out mask or into another defect"
    if np.count_nonzero(on) < (1 - 2 * _AREA_TOLERANCE) * area:
        return "the edge would cut it into pieces"
    return on, top, left, direction


def _rim_place(rng: np.random.Generator, ground: _Ground) -> tuple[tuple[float, float], float] | None:
    """A place on the part's edge, px, and the direction into the part, rad (x towards y)."""
    small = ground.small
    rim = small & ~ndimage.binary_erosion(small, border_value=1)
    # Where the photo cuts the part there is no edge to be chipped.
    rim[0] = rim[-1] = False
    rim[:, 0] = rim[:, -1] = False
    rows, columns = np.nonzero(rim)
    if rows.size == 0:
        return None
    chosen = int(rng.integers(rows.size))
    row, column = int(rows[chosen]), int(columns[chosen])
    height, width = small.shape
    reach = 6
    window = small[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
    y, x = np.nonzero(window)
    inwards = math.atan2(y.mean() - min(row, reach), x.mean() - min(column, reach))
    return (row * ground.step + rng.uniform(), column * ground.step + rng.uniform()), inwards


def _cut_off(rng: np.random.Generator, ground: _Ground, area: float) -> tuple[Bools, int, int, float] | str:
    found = _rim_place(rng, ground)
    if found is None:
        return "no edge of the part lies inside the picture"
    centre, inwards = found
    rows, columns = (np.flatnonzero(ground.part.any(axis=axis)) for axis in (1, 0))
    top, left = int(rows[0]), int(columns[0])
    window = (slice(top, int(rows[-1]) + 1), slice(left, int(columns[-1]) + 1))
    piece = cut_off(rng, ground.part[window], (centre[0] - top, centre[1] - left), inwards, area)
    if piece is None:
        return "the part would fall into pieces there"
    if np.count_nonzero(piece & ground.free[window]) < np.count_nonzero(piece):
        return "it would reach into the keep-out mask or into another defect"
    rows, columns = (np.flatnonzero(piece.any(axis=axis)) for axis in (1, 0))
    inner = piece[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return inner, top + int(rows[0]), left + int(columns[0]), inwards + math.pi / 2


__all__ = ["CUT_OFF", "REAL_SHAPES", "DefectPlacement", "NoPlaceError", "PlaceSettings", "Placed", "place_defects"]
