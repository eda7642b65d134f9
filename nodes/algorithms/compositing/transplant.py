"""A real defect, its pixels, set into the photo of another part so that no seam shows.

Four things give a transplant away: another light and colour around it, a hard edge, a soft patch in a grainy photo, and
the other part's shading carried along. So the surroundings of the defect on its own photo are compared with those on
the new one, ring against ring: their ratio, as a plane or as the solution of Poisson's equation inside, is what the
pixels are multiplied with (a ratio, so that what is black stays black); the edge fades over a few pixels without
losing grain; and grain that resampling took is given back from the photo itself.

Poisson image editing: Perez, Gangnet, Blake 2003, here on the logarithm and with a smoothed boundary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..masks import bounding_box
from ..placement.moving import Back, depth_at, inside, sampled
from .etch import etched, joined
from .fields import membrane, plane
from .visible import DRAWN_SMOOTH, VisibleRule, colour_distance, rule_for_drawn, visible_change

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FEATHERED, POISSON = "feathered", "poisson"
BLENDS = (FEATHERED, POISSON)

#: Width of the rings that are compared, as a share of the defect's diameter, and its limits in px.
_RING, _RING_LEAST, _RING_MOST = 0.25, 6.0, 32.0

#: Pixels next to the mask that no ring takes: masks are drawn tightly.
_GAP = 1.5

#: Added before the logarithm (of 0..1), so that black does not count more than it is seen.
_FLOOR = 0.04

#: Largest change of light, as a factor; and of a colour beside light, beyond what the two parts differ by as a whole: a
#: ring on other material (the base of a nut) would dye what is moved there.
_MOST_GAIN, _MOST_CAST = 2.0, 1.08

#: Scale that parts grain from structure, px.
_GRAIN_SCALE = 1.2

#: Fewer ring pixels teach nothing.
_LEAST_RING = 24

#: A line is drawn and labelled within so many of its half widths of where it is seen, and at least so many px: people
#: mark a crack in its whole width and through its faint pieces.
_CRACK_NEAR, _CRACK_NEAR_LEAST = 2.0, 2.0

#: Px around defect and cracks that are looked at: the colour around a line, and what its roughness may displace.
_CRACK_SURROUNDINGS = 32


@dataclass(frozen=True)
class BlendSettings:
    """How a moved defect is set into the photo.

    Attributes:
        blend: `FEATHERED` fits a plane of light and colour to the ring, `POISSON` follows it all around.
        match: share of the difference in light and colour that is taken away, 0..1.
        feather: px of the target over which the pixels around the mask fade into the photo.
        grain: share of the missing grain that is given back, 0..1.
    """

    blend: str = FEATHERED
    match: float = 1.0
    feather: float = 3.0
    grain: float = 1.0

    def __post_init__(self) -> None:
        if self.blend not in BLENDS:
            raise ValueError(f"blend: {self.blend!r} is unknown; expected one of {', '.join(map(repr, BLENDS))}")
        if not (0 <= self.match <= 1 and 0 <= self.grain <= 1 and 0 <= self.feather <= 64):
            raise ValueError(
                "expected match and grain 0 to 1 and feather 0 to 64 px; got match "
                f"{self.match:g}, grain {self.grain:g}, feather {self.feather:g}"
            )


@dataclass(frozen=True)
class Transplant:
    """The photo ``[H, W, 3]`` float in 0..1 with the defect, its label ``[H, W]``, and the `changed` pixels."""

    image: NDArray[np.float32]
    label: Bools
    changed: Bools


def transplant(
    target: NDArray[np.floating],
    target_part: Bools,
    source: NDArray[np.floating],
    source_part: Bools,
    mask: Bools,
    back: Back,
    box: tuple[int, int, int, int],
    scale: float,
    settings: BlendSettings | None = None,
) -> Transplant:
    """Move the pixels under a mask from one photo into another.

    Args:
        target: ``[H, W, 3]`` in 0..1, the photo that receives the defect.
        target_part: ``[H, W]``, where its part is.
        source: ``[h, w, 3]`` in 0..1, the photo of the real defect.
        source_part: ``[h, w]``, where that part is.
        mask: ``[h, w]``, the defect.
        back: from places on the target to places on the source.
        box: (y0, x0, y1, x1) on the target that holds the moved mask, ends exclusive; may stick out.
        scale: target px for one source px.
        settings: how it is set in.

    Returns:
        Outside `changed` the target's pixels bit for bit; the label is the moved mask.

    Raises:
        ValueError: pictures and masks of different sizes, or a mask of which nothing arrives.
    """
    settings = settings or BlendSettings()
    _check(target, target_part, "the target photo")
    _check(source, source_part, "the defect's photo")
    _check(source, mask, "the defect's photo")
    if not mask.any():
        raise ValueError("the defect's mask is empty: there is nothing to move")
    height, width = target_part.shape
    diameter = 2.0 * scale * float(np.sqrt(np.count_nonzero(mask) / np.pi))
    ring = float(np.clip(_RING * diameter, _RING_LEAST, _RING_MOST))
    margin = int(np.ceil(ring + settings.feather + _GAP)) + 3
    rows = slice(max(0, box[0] - margin), min(height, box[2] + margin))
    columns = slice(max(0, box[1] - margin), min(width, box[3] + margin))
    y, x = np.mgrid[rows, columns].astype(np.float64)
    at = np.stack(back(y, x))
    depth = depth_at(mask, at, (ring + settings.feather + _GAP) / scale) * scale
    label = (depth > 0) & inside(at, mask.shape)
    if not label.any():
        raise ValueError("nothing of the defect arrives on the photo: it would be smaller than a pixel, or outside")
    here, there = target_part[rows, columns], sampled(source_part.astype(np.float64), at) > 0.5
    old = np.asarray(target[rows, columns], np.float64)
    moved = np.stack([sampled(_for_size(source[..., c], at, scale), at, 3) for c in range(3)], axis=-1).clip(0.0, 1.0)

    around = (depth < -_GAP) & (depth > -_GAP - ring) & here & there & inside(at, mask.shape)
    if settings.match > 0 and np.count_nonzero(around) >= _LEAST_RING:
        gain = np.log(old + _FLOOR) - np.log(moved + _FLOOR)
        usual = _usual_colour(target, target_part) - _usual_colour(source, source_part)
        field = plane(gain, around, label) if settings.blend == FEATHERED else membrane(gain, around, label)
        moved = ((moved + _FLOOR) * np.exp(settings.match * _limited(field, usual)) - _FLOOR).clip(0.0, 1.0)
    if settings.grain > 0 and np.count_nonzero(around) >= _LEAST_RING:
        moved = _regrain(moved, old, around, settings.grain)

    weight = np.where(label, 1.0, 0.0)
    if settings.feather > 0:
        fade = np.clip(1.0 + depth / settings.feather, 0.0, 1.0)
        # Around the mask only surface may come along: no background, and nothing onto the background.
        weight = np.where(label, 1.0, fade * fade * (3.0 - 2.0 * fade) * (here & there & inside(at, mask.shape)))
    mixed = _mix(moved, old, weight)
    image = np.array(target, np.float32)
    touched = weight > 0
    image[rows, columns][touched] = mixed[touched].clip(0.0, 1.0)
    full, changed = np.zeros((height, width), bool), np.zeros((height, width), bool)
    full[rows, columns], changed[rows, columns] = label, touched
    return Transplant(image, full, changed)


def _usual_colour(picture: NDArray[np.floating], part: Bools) -> Floats:
    """The logarithm of a part's median colour, ``[3]``; of the picture's, where the part is smaller than the grid."""
    step = max(1, max(part.shape) // 256)
    colours, on = np.asarray(picture[::step, ::step], np.float64), part[::step, ::step]
    return np.asarray(np.log(np.median(colours[on] if on.any() else colours.reshape(-1, 3), axis=0) + _FLOOR))


def _limited(gain: Floats, usual: Floats) -> Floats:
    """A gain (logarithm, ``[H, W, 3]``) whose light and whose colour are no greater than they may be.

    `usual` is the gain from part to part, ``[3]``: one lamp or one batch against another.
    """
    light, cast = np.log(_MOST_GAIN), np.log(_MOST_CAST)
    grey, dye = gain.mean(axis=-1, keepdims=True), usual - usual.mean()
    return np.asarray(grey.clip(-light, light) + (gain - grey).clip(dye - cast, dye + cast))


def cracked(done: Transplant, lines: Bools, seed: int) -> Transplant:
    """Etch cracks into the part around a moved defect.

    Args:
        done: the photo with the defect.
        lines: ``[H, W]``, where cracks run, beside the defect; they are lengthened to it.
        seed: of their roughness.

    Returns:
        The photo with the cracks that can be seen, which the label now holds as wide as people mark them; a piece that
        nobody would see is not drawn. `done` itself without lines.
    """
    if not lines.any():
        return done
    here = _around(lines | done.label, _CRACK_SURROUNDINGS)
    photo, label = done.image[here], done.label[here]
    lines = joined(lines[here], label)
    drawn, touched = etched(photo, lines, 1.0, seed)
    touched &= ~label
    drawn = np.where(touched[..., None], drawn, photo)
    rule = rule_for_drawn(VisibleRule())
    seen = visible_change(colour_distance(photo, drawn, DRAWN_SMOOTH * rule.smooth), touched, rule)
    reach = max(_CRACK_NEAR_LEAST, _CRACK_NEAR * float(ndimage.distance_transform_edt(lines).max()))
    near = ndimage.distance_transform_edt(~seen) <= reach
    touched &= near
    image, full, changed = done.image.copy(), done.label.copy(), done.changed.copy()
    image[here][touched] = drawn[touched]
    full[here] |= seen | (lines & near)
    changed[here] |= touched
    return Transplant(image, full, changed)


def _around(mask: Bools, margin: int) -> tuple[slice, slice]:
    """The box of a mask that is not empty and so many px around it, inside the picture."""
    box = bounding_box(mask)
    assert box is not None
    top, left, bottom, right = box
    return slice(max(0, top - margin), bottom + margin), slice(max(0, left - margin), right + margin)


def _check(picture: NDArray[np.floating], mask: Bools, what: str) -> None:
    if picture.ndim != 3 or picture.shape[-1] != 3 or picture.shape[:2] != mask.shape:
        raise ValueError(
            f"{what} is {picture.shape[1]}x{picture.shape[0]} px and its mask {mask.shape[1]}x{mask.shape[0]} px: "
            "expected a picture [height, width, 3] and a mask of the same size"
        )


def _for_size(channel: NDArray[np.floating], at: Floats, scale: float) -> NDArray[np.floating]:
    """The picture, softened where its defect gets smaller: what is finer than the target's pixels would alias."""
    if scale >= 0.9:
        return channel
    rows, columns = (slice(max(0, int(axis.min()) - 16), int(axis.max()) + 17) for axis in at)
    out = np.array(channel, np.float64)
    out[rows, columns] = ndimage.gaussian_filter(out[rows, columns], 0.45 * np.sqrt(1.0 / scale**2 - 1.0))
    return out


def _fine(picture: Floats) -> Floats:
    return picture - ndimage.gaussian_filter(picture, (_GRAIN_SCALE, _GRAIN_SCALE, 0))


def _deviation(values: Floats) -> float:
    """Standard deviation by the median: a scratch in the ring is no grain."""
    return 1.4826 * float(np.median(np.abs(values)))


def _regrain(moved: Floats, old: Floats, around: Bools, share: float) -> Floats:
    """Give the grain back that moving took: the photo's own at that place, as much of it as is missing.

    Too much of it (a photo of another camera) is smoothed only as far as an even surface shows it: not at all.
    """
    fine = _fine(old)
    have, want = _deviation(_fine(moved)[around]), _deviation(fine[around])
    if have >= want or want <= 0:
        return moved
    missing = np.sqrt(1.0 - np.square(have / want)) * share
    limit = 3.0 * want
    # Edges of the photo's own pattern are no grain: what stands out of it is cut.
    return moved + missing * fine.clip(-limit, limit)


def _mix(moved: Floats, old: Floats, weight: Floats) -> Floats:
    """Mix so that grain keeps its strength: the mean of two grains would be weaker than each of them."""
    w = weight[..., None]
    fine_moved, fine_old = _fine(moved), _fine(old)
    coarse = w * (moved - fine_moved) + (1.0 - w) * (old - fine_old)
    mixed: Floats = coarse + (w * fine_moved + (1.0 - w) * fine_old) / np.sqrt(np.square(w) + np.square(1.0 - w))
    return mixed
