"""What real masks say about new ones: how large, how many, where on the part, how they lie, and their shapes.

A kernel density with shrinkage: a value is drawn at a real one and moved by a little noise, then everything is
drawn towards the mean so that the spread stays that of the real ones. With few masks the noise leans on a default
spread; from a single mask come masks like it, not copies. Shapes are the real ones with an elastic jitter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .frame import PartFrame, Turn, part_frame, separate_parts, turns
from .moving import Motion, landing_box, moved_mask

Bools = NDArray[np.bool_]

#: Default standard deviations, of the logarithm of the area and of the distance from the centre (of the outline's),
#: and how many masks their weight is.
_AREA_SPREAD, _PLACE_SPREAD, _DEFAULT_WEIGHT = 0.35, 0.12, 2.0

#: Masks of up to the first share of their part vary in size freely, of the second and above not at all.
_LARGE, _WHOLE = 0.05, 0.3

#: Spread of the direction around the part's centre and of the mask's own, rad.
_POLAR_SPREAD, _TURN_SPREAD = 0.12, 0.12

#: Elastic jitter of a shape, as a share of its size.
_JITTER = 0.04

#: Pieces of a mask nearer than this, in square roots of its area, are one defect (a print, a cracked rim).
_TOGETHER = 0.25

#: A piece under this share of its mask is dust beside the defect.
_LEAST_SHARE = 0.03


@dataclass(frozen=True)
class RealMask:
    """One real defect: its crop ``[h, w]``, its part's frame, and where it was on it.

    `away` is the distance of its middle from the part's centre as a share of the outline's there, `polar` the
    direction, `at_edge` whether it reaches the part's edge. Then the outline is taken over all directions that it
    reaches into, `within` so many rad on both sides.
    """

    crop: Bools
    frame: PartFrame
    away: float
    polar: float
    share: float
    at_edge: bool
    within: float = 0.0


@dataclass(frozen=True)
class MaskSample:
    """One draw: where its middle goes (y, x), its area as a share of the part, and the shape that may be placed."""

    real: RealMask
    centre: tuple[float, float]
    share: float
    turn: Turn

    @property
    def area(self) -> int:
        """Of the real shape, px of its own photo."""
        return int(np.count_nonzero(self.real.crop))

    @property
    def at_edge(self) -> bool:
        """Whether it may be cut by the part's edge, as the real one was."""
        return self.real.at_edge

    def place(self, rng: np.random.Generator, scale: float) -> tuple[Bools, int, int, float]:
        """The real shape, jittered, at its place: box, first row and column (may be negative), direction in rad."""
        rows, columns = np.nonzero(self.real.crop)
        middle = (float(rows.mean()), float(columns.mean()))
        angle = self.turn.angle + rng.normal(0.0, _TURN_SPREAD)
        warp = rng.normal(0.0, 1.0, (2, 5, 5)) * _JITTER * math.sqrt(self.area)
        reach = 1.3 * max(self.real.crop.shape) / 2 + 2.0
        motion = Motion(middle, self.centre, angle, self.turn.mirrored, scale, warp, reach)
        top, left, bottom, right = landing_box(motion, self.real.crop)
        inner = replace(motion, target=(self.centre[0] - top, self.centre[1] - left))
        size = (bottom - top, right - left)
        return moved_mask(self.real.crop, inner.back, size, (0, 0, *size)), top, left, angle


@dataclass(frozen=True)
class MaskPrior:
    """Real defects, and how many each photo showed."""

    masks: tuple[RealMask, ...]
    numbers: tuple[int, ...]

    def draw_number(self, rng: np.random.Generator) -> int:
        """How many defects, as on one of the real photos."""
        return int(self.numbers[int(rng.integers(len(self.numbers)))])

    def draw(self, rng: np.random.Generator, frame: PartFrame) -> MaskSample:
        """Draw a defect for a part."""
        chosen = int(rng.integers(len(self.masks)))
        real = self.masks[chosen]
        noise = rng.normal(0.0, 1.0, 3)
        spread = noise[0] * _room(real.share)
        share = math.exp(_smoothed([math.log(m.share) for m in self.masks], chosen, spread, _AREA_SPREAD))
        ways = turns(real.frame, frame)
        turn = ways[int(rng.integers(len(ways)))]
        where = rng.uniform(0.0, 1.0, 2)
        if frame.whole:
            # A texture is alike everywhere; the shape stays clear of the picture's border when it is placed.
            height, width = 2 * frame.centre[0], 2 * frame.centre[1]
            return MaskSample(real, (float(where[0] * height), float(where[1] * width)), share, turn)
        most = max(0.95, real.away)
        if real.at_edge:
            # What reaches the edge still does when it is drawn smaller or larger.
            away = max(0.0, 1.0 - (1.0 - real.away) * math.sqrt(share / real.share))
        else:
            away = _smoothed([m.away for m in self.masks], chosen, noise[1], _PLACE_SPREAD)
        polar = real.polar if not turn.mirrored else math.pi - real.polar
        polar += turn.angle + noise[2] * _POLAR_SPREAD
        distance = min(abs(away), most) * frame.rim(polar, real.within)
        centre = (frame.centre[0] + math.sin(polar) * distance, frame.centre[1] + math.cos(polar) * distance)
        return MaskSample(real, centre, share, turn)


def _room(share: float) -> float:
    """How much a mask's size may vary, 0..1: one that takes a large piece of its part fits it in that size only."""
    return min(1.0, max(0.0, 1.0 - (share - _LARGE) / (_WHOLE - _LARGE)))


def _smoothed(values: Sequence[float], chosen: int, noise: float, default: float) -> float:
    """A value at the chosen one, with noise, drawn towards the mean so that the spread does not grow."""
    n = len(values)
    mean = float(np.mean(values))
    variance = (n * float(np.var(values)) + _DEFAULT_WEIGHT * default**2) / (n + _DEFAULT_WEIGHT)
    # Silverman's rule for the width of the kernel; a single mask gets the default's.
    width = math.sqrt(variance) * 0.9 * n**-0.2
    spread = float(np.var(values)) + width**2
    shrink = math.sqrt(min(1.0, variance / spread)) if spread > 0 else 1.0
    return mean + shrink * (values[chosen] - mean + noise * width)


def fit_prior(masks: Sequence[Bools], parts: Sequence[Bools]) -> MaskPrior:
    """Fit a prior.

    Args:
        masks: ``[H, W]`` each, ground truth of one photo; empty ones are left out.
        parts: ``[H, W]`` each, the object mask of the same photo.

    Raises:
        ValueError: no mask holds a defect, or a mask and its part differ in size or number.
    """
    if len(masks) != len(parts):
        raise ValueError(f"{len(masks)} masks for {len(parts)} parts: expected one object mask for each mask")
    found: list[RealMask] = []
    numbers: list[int] = []
    for number, (mask, part) in enumerate(zip(masks, parts, strict=True)):
        if mask.shape != part.shape:
            raise ValueError(
                f"mask {number} is {mask.shape[1]}x{mask.shape[0]} px, its part {part.shape[1]}x{part.shape[0]} px: "
                "expected the same size"
            )
        pieces = _defects(mask)
        if not pieces:
            continue
        # The part that each is on, where a photo shows several.
        grounds = separate_parts(part)
        owners = [int(np.argmax([np.count_nonzero(ground & piece) for ground in grounds])) for piece in pieces]
        kept = []
        for owner in dict.fromkeys(owners):
            own = [piece for piece, its in zip(pieces, owners, strict=True) if its == owner]
            # What is gone was the part's, too: its frame is that of the sound part.
            frame = part_frame(np.logical_or.reduce([grounds[owner], *own]))
            kept += [_measured(piece, grounds[owner], frame) for piece in own]
        found += kept
        numbers.append(len(kept))
    if not found:
        raise ValueError(
            f"no real defect to learn from: all of the {len(masks)} masks are empty. Give the ground truth of photos "
            "with the defect."
        )
    return MaskPrior(tuple(found), tuple(numbers))


def _defects(mask: Bools) -> list[Bools]:
    """The defects of a mask: near pieces together, dust left out."""
    total = int(np.count_nonzero(mask))
    if total == 0:
        return []
    near = ndimage.distance_transform_edt(~mask) <= 0.5 * _TOGETHER * math.sqrt(total)
    labels, count = ndimage.label(near)
    pieces = [mask & (labels == number) for number in range(1, count + 1)]
    return [piece for piece in pieces if np.count_nonzero(piece) >= _LEAST_SHARE * total]


def _measured(piece: Bools, part: Bools, frame: PartFrame) -> RealMask:
    rows, columns = np.nonzero(piece)
    dy, dx = float(rows.mean()) - frame.centre[0], float(columns.mean()) - frame.centre[1]
    polar = math.atan2(dy, dx)
    crop = piece[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    off = 1.0 - float(part[piece].mean())
    inner = ndimage.binary_erosion(part, iterations=2, border_value=1)
    at_edge = off > 0.005 or bool((piece & ~inner).any())
    within = 0.0
    if at_edge:
        aside = np.arctan2(rows - frame.centre[0], columns - frame.centre[1]) - polar
        within = float(np.abs((aside + math.pi) % (2 * math.pi) - math.pi).max())
    away = math.hypot(dy, dx) / frame.rim(polar, within)
    return RealMask(crop, frame, away, polar, rows.size / frame.area, at_edge, within)
