"""Drawing how a defect moves from its own part to another.

The map is a similarity (turn, mirroring, size) in the parts' own frames, with an elastic jitter. Mask and pixels go
through the same map, so a moved mask is the label of the moved pixels, exactly.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .frame import NoPlaceError, PartFrame, part_frame, separate_parts, turns
from .light import inner_shading, keeps_light
from .moving import Motion

#: Longest side of the maps in which places are looked for.
_MAP_SIDE = 192

#: Least share of the moved defect that lies on the part, where all of it lay on its own part.
_LEAST_ON_PART = 0.995

#: Cells of the elastic jitter's grid along the defect's longer side.
_GRID = 4

SAME_PLACE, ANYWHERE = "its own place", "anywhere on the part"
PLACES = (SAME_PLACE, ANYWHERE)


@dataclass(frozen=True)
class MotionSettings:
    """How far a defect may move.

    Attributes:
        place: `SAME_PLACE` keeps its place in the part's frame, `ANYWHERE` looks for any place that it fits on.
        shift: at `SAME_PLACE`, standard deviation of its place, in radii of the part.
        turn: most degrees by which it is turned beside what lays the parts on each other; 180 is any angle.
        smallest: least factor on its size, beside the ratio of the parts' sizes.
        largest: greatest factor.
        mirror: whether it may be mirrored.
        jitter: standard deviation of the elastic jitter, as a share of the defect's size.
        keep_light: refuse turns that would take its lit side away from the light.
        tries: motions tried before giving up.
        stretch: most by which it is drawn out in a random direction, as a ratio of length to width; 1 is not at all.
    """

    place: str = ANYWHERE
    shift: float = 0.1
    turn: float = 180.0
    smallest: float = 0.8
    largest: float = 1.25
    mirror: bool = True
    jitter: float = 0.04
    keep_light: bool = True
    tries: int = 64
    stretch: float = 1.0

    def __post_init__(self) -> None:
        if self.place not in PLACES:
            raise ValueError(f"place: {self.place!r} is unknown; expected one of {', '.join(map(repr, PLACES))}")
        if not 0 < self.smallest <= self.largest <= 10:
            raise ValueError(
                f"size: expected 0 < smallest <= largest <= 10 (factors), got {self.smallest:g} to {self.largest:g}"
            )
        if not 1.0 <= self.stretch <= 10.0:
            raise ValueError(f"stretch: expected 1 to 10 (length over width), got {self.stretch:g}")
        if not (0 <= self.turn <= 180 and 0 <= self.jitter <= 0.3 and 0 <= self.shift <= 2 and self.tries >= 1):
            raise ValueError(
                "expected turn 0 to 180 (degrees), jitter 0 to 0.3, shift 0 to 2 and at least one try; got turn "
                f"{self.turn:g}, jitter {self.jitter:g}, shift {self.shift:g}, tries {self.tries}"
            )


@dataclass(frozen=True)
class Defect:
    """A real defect: its mask, the part it is on, and, for its shading, the photo.

    Attributes:
        mask: ``[H, W]``.
        part: ``[H, W]``, the object mask of the same photo.
        photo: ``[H, W, 3]`` uint8 or None.
    """

    mask: NDArray[np.bool_]
    part: NDArray[np.bool_]
    photo: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        if self.mask.shape != self.part.shape:
            raise ValueError(
                f"the defect's mask is {self.mask.shape[1]}x{self.mask.shape[0]} px but the mask of its part "
                f"{self.part.shape[1]}x{self.part.shape[0]} px: both belong to the same photo"
            )
        if not self.mask.any():
            raise ValueError(
                "the defect's mask is empty: there is nothing to move. Give a photo of a real defect with its mask, "
                "e.g. from Load MVTec Photo with split 'test' and the defect's type."
            )


def draw_motion(
    defect: Defect,
    target: NDArray[np.bool_],
    rng: np.random.Generator,
    settings: MotionSettings | None = None,
    keep_out: NDArray[np.bool_] | None = None,
    usual: NDArray[np.float64] | None = None,
) -> Motion:
    """Draw a motion that takes a defect onto another part.

    Args:
        defect: what moves.
        target: ``[H, W]``, the object mask of the part it moves to.
        rng: source of all randomness.
        settings: how far it may move.
        keep_out: ``[H, W]``, where it may not lie.
        usual: ``[h, w]`` weights of places (any size, spans the picture), for `ANYWHERE`; None: all alike.

    Raises:
        NoPlaceError: no motion after `settings.tries` tries; never a clipped defect.
    """
    settings = settings or MotionSettings()
    # Of several parts in a photo: the one that the defect is on, and one to move it to, by size.
    own = max(separate_parts(defect.part), key=lambda piece: np.count_nonzero(piece & defect.mask))
    pieces = separate_parts(target)
    chances = np.array([np.count_nonzero(piece) for piece in pieces], np.float64)
    target = pieces[int(rng.choice(len(pieces), p=chances / chances.sum()))] if len(pieces) > 1 else target
    here, there = part_frame(own), part_frame(target)
    if keep_out is not None and keep_out.shape != target.shape:
        raise ValueError(
            f"keep-out mask is {keep_out.shape[1]}x{keep_out.shape[0]} px, "
            f"the object mask {target.shape[1]}x{target.shape[0]} px"
        )
    points = np.argwhere(defect.mask).astype(np.float64)
    centre = points.mean(axis=0)
    ratio = _size_ratio(here, there, defect.mask.shape, target.shape)
    # A defect at the rim lies partly off its own part, and may on the other one.
    off = 1.0 - float(own[defect.mask].mean())
    if off > 0.9:
        raise NoPlaceError(
            f"{off:.0%} of the defect lies off its own part: check the object mask of the defect's photo, or connect "
            "a mask of the part of your own."
        )
    area = len(points) * (ratio * settings.smallest) ** 2
    if area > 0.9 * there.area:
        raise NoPlaceError(
            f"the defect is larger than the part: moved at its smallest it covers {area:.0f} px, the part "
            f"{there.area} px. Give another defect, or allow smaller sizes."
        )
    least = _LEAST_ON_PART if off < 0.005 else max(0.0, 1.0 - off - 0.1)
    sample = points[:: max(1, len(points) // 1500)]
    free = target if keep_out is None else target & ~keep_out
    ways = turns(here, there, settings.mirror)
    shading = inner_shading(defect.mask, defect.photo) if settings.keep_light else None
    places = _Places(free, off, usual) if settings.place == ANYWHERE else None
    clearance = _clearance(own, centre, math.sqrt(len(points) / math.pi))
    reach = 1.3 * float(np.abs(points - centre).max()) + 2.0
    size = math.sqrt(len(points))
    failures: Counter[str] = Counter()
    for _ in range(settings.tries):
        way = ways[int(rng.integers(len(ways)))]
        factor = settings.smallest * (settings.largest / settings.smallest) ** rng.uniform()
        extra = math.radians(settings.turn) * rng.uniform(-1.0, 1.0)
        scale = ratio * factor
        warp = _warp(rng, settings.jitter * size)
        shift = rng.normal(0.0, 1.0, 2) * settings.shift * there.radius
        cell = rng.uniform(0.0, 1.0, 3)
        # Squared: most keep about their proportions, a few become gashes.
        drawn_out = (settings.stretch ** (rng.uniform() ** 2), rng.uniform(0.0, math.pi))
        if shading is not None and not keeps_light(shading, way.angle + extra, way.mirrored):
            failures["its lit side would turn away from the light"] += 1
            continue
        if places is None:
            back_home = Motion(here.centre, there.centre, way.angle, way.mirrored, ratio, warp, reach)
            goal = back_home.forth(centre[None])[0] + shift
        else:
            place = places.draw(cell, scale * clearance)
            if place is None:
                failures["nowhere on the part is there room for it"] += 1
                continue
            goal = place
        motion = Motion(
            (float(centre[0]), float(centre[1])),
            (float(goal[0]), float(goal[1])),
            way.angle + extra,
            way.mirrored,
            scale,
            warp,
            reach,
            drawn_out,
        )
        on = _share_on(motion.forth(sample), target)
        if on < least:
            failures["less of it would lie on the part than on its own"] += 1
        elif keep_out is not None and _share_on(motion.forth(sample), free) < least:
            failures["it would reach into the keep-out mask"] += 1
        else:
            return motion
    reason, count = failures.most_common(1)[0]
    raise NoPlaceError(
        f"no place for the defect after {settings.tries} tries, {count} times because {reason}. Allow smaller sizes, "
        "more tries or another place, or give another defect."
    )


def _size_ratio(here: PartFrame, there: PartFrame, source: tuple[int, ...], target: tuple[int, ...]) -> float:
    """Parts are compared by their radius; where one fills its picture, only the pictures' sizes can be compared."""
    if here.whole or there.whole:
        return max(target) / max(source)
    return there.radius / here.radius


def _clearance(own: NDArray[np.bool_], centre: NDArray[np.float64], radius: float) -> float:
    """How far from the part's edge the defect's middle stays, px of its own photo.

    A defect that was seen face on must not lie where the surface turns away: half the depth that it had on its own
    part, and its own radius, unless it was nearer to the edge there.
    """
    step = max(1, -(-max(own.shape) // _MAP_SIDE))
    depths = ndimage.distance_transform_edt(np.pad(own[::step, ::step], 1))[1:-1, 1:-1] * step
    row, column = (min(int(at) // step, size - 1) for at, size in zip(centre, depths.shape, strict=True))
    depth = float(depths[row, column])
    return min(depth, max(1.15 * radius, 0.5 * depth))


def _warp(rng: np.random.Generator, amount: float) -> NDArray[np.float64]:
    noise = rng.normal(0.0, 1.0, (2, _GRID + 1, _GRID + 1))
    return noise * amount


def _share_on(points: NDArray[np.float64], area: NDArray[np.bool_]) -> float:
    rows, columns = np.round(points).astype(int).T
    inside = (rows >= 0) & (rows < area.shape[0]) & (columns >= 0) & (columns < area.shape[1])
    return float(np.count_nonzero(area[rows[inside], columns[inside]])) / len(points)


class _Places:
    """Places on a part, drawn by weight, at least so far from its edge."""

    def __init__(self, free: NDArray[np.bool_], off: float, usual: NDArray[np.float64] | None) -> None:
        step = max(1, -(-max(free.shape) // _MAP_SIDE))
        small = free[::step, ::step]
        # Padded, so that the picture's own border is a rim too.
        self._depth = ndimage.distance_transform_edt(np.pad(small, 1))[1:-1, 1:-1] * step
        self._step, self._off = step, off
        self._weights = small.astype(np.float64)
        if usual is not None:
            zoom = (np.arange(small.shape[0]) * usual.shape[0] // small.shape[0])[:, None]
            self._weights *= usual[zoom, np.arange(small.shape[1]) * usual.shape[1] // small.shape[1]]

    def draw(self, chance: NDArray[np.float64], clearance: float) -> tuple[float, float] | None:
        """A place by three numbers in 0..1, or None where there is no room."""
        room = self._depth >= clearance if self._off < 0.005 else self._depth <= clearance
        cumulative = np.cumsum(np.where(room, self._weights, 0.0).ravel())
        if cumulative[-1] <= 0:
            return None
        cell = min(int(np.searchsorted(cumulative, chance[0] * cumulative[-1], side="right")), cumulative.size - 1)
        row, column = divmod(cell, self._weights.shape[1])
        return (row + chance[1]) * self._step, (column + chance[2]) * self._step
