"""Put a painted crop back so that only the defect is new, and say where it is.

`crops.stitch_one` keeps all that was painted under the denoise mask, the shell around the hole as well: softened by
the autoencoder, a shade off, without the photo's grain. Here only what *visibly* changed is taken, in the photo's
colours and with its grain; every other pixel is the photo's, bit for bit, and the label is measured on the finished
picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .crops import Window
from .etch import etched, joined
from .fields import membrane
from .grain import sharpened, with_grain
from .visible import (
    DRAWN_SMOOTH,
    VisibleRule,
    colour_distance,
    noise_floor,
    rule_for_drawn,
    visible_change,
    without_crumbs,
)

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

#: Width of the ring that sets the example for colour and grain, as a share of the crop's side; and its least, in px.
_RING_SHARE, _RING_LEAST = 0.1, 6

#: Gap between a defect and the ring, px: its own halo is no example.
_RING_GAP = 3

#: A fine line is labelled from this many times the rule's edge on: a hole's rim is part of it, a line's blur is not.
_LINE_FROM = 1.125

#: How far in px a line's soft edge reaches beyond its label.
_LINE_EDGE = 2.0

#: Least feather in px of the photo: below it an edge looks cut out.
_LEAST_FEATHER = 1.5


@dataclass(frozen=True)
class BlendSettings:
    """How a painted crop goes into its photo.

    Attributes:
        feather: px of the *working crop* over which the defect fades into the photo.
        grain: 1 gives the defect the grain of its surroundings, 0 none.
        etch: strength of fine lines, 0 to 1.
        match_colour: take the autoencoder's shift of colour, as seen around the mask, out of the crop.
        poisson: as a membrane that follows the shift all around the mask, instead of its median.
        rule: what counts as visible.
    """

    feather: float = 2.0
    grain: float = 1.0
    etch: float = 1.0
    match_colour: bool = True
    rule: VisibleRule = field(default_factory=VisibleRule)
    poisson: bool = False


@dataclass(frozen=True)
class Blended:
    """The finished photo ``[H, W, 3]`` float32, where the defect is visible ``[H, W]``, and the noise floor (CIE76)."""

    image: NDArray[np.float32]
    label: Bools
    floor: float


def blend_defect(
    photo: NDArray[np.float32],
    painted: NDArray[np.float32],
    window: Window,
    denoise: NDArray[np.float32],
    enlarged: float,
    settings: BlendSettings | None = None,
    fine: Bools | Floats | None = None,
    seed: int = 0,
) -> Blended:
    """Blend one crop into its photo.

    Args:
        photo: ``[H, W, 3]``, 0..1.
        painted: ``[window.height, window.width, 3]``, 0..1: the sampled crop at the photo's scale.
        window: where the crop was taken.
        denoise: ``[H, W]``, 0..1: what was repainted; nothing outside its support changes, but for `fine`.
        enlarged: photo px for each px of the crop.
        settings: see `BlendSettings`.
        fine: ``[H, W]``, lines to etch beside the painted defect; set from one half upwards.
        seed: of grain and lines.

    Returns:
        `Blended`; the untouched photo and an empty label where nothing visible was painted.
    """
    here = _region(photo.shape[:2], window, fine)
    found = _in_region(photo, painted, window, denoise, enlarged, settings or BlendSettings(), fine, seed, here)
    # Copied only now: of a photo of 100 MP nothing else of its size is held meanwhile.
    image, whole = photo.copy(), np.zeros(photo.shape[:2], bool)
    image[here], whole[here] = found.image, found.label
    return Blended(image, whole, found.floor)


def _in_region(
    photo: NDArray[np.float32],
    painted: NDArray[np.float32],
    window: Window,
    denoise: NDArray[np.float32],
    enlarged: float,
    settings: BlendSettings,
    fine: Bools | Floats | None,
    seed: int,
    here: tuple[slice, slice],
) -> Blended:
    """`blend_defect`, of a part of the photo only."""
    rows, columns = here
    before = photo[here]
    inside = (
        slice(window.y - rows.start, window.y - rows.start + window.height),
        slice(window.x - columns.start, window.x - columns.start + window.width),
    )
    area = np.zeros(before.shape[:2], bool)
    area[inside] = denoise[window.rows, window.columns] > 0
    quiet = np.zeros_like(area)
    quiet[inside] = ~area[inside]
    after = before.copy()
    after[inside] = painted
    reach = max(_RING_LEAST, round(_RING_SHARE * max(window.width, window.height)))
    if settings.match_colour:
        near = quiet & (ndimage.distance_transform_edt(~area) <= reach)
        if near.any():
            shift = before - after
            field = membrane(shift, near, area)[inside] if settings.poisson else np.median(shift[near], axis=0)
            after[inside] = np.clip(painted + field, 0.0, 1.0)
    distance = colour_distance(before, after, max(settings.rule.smooth, 0.5 * enlarged))
    floor = noise_floor(distance, quiet)
    place = visible_change(distance, area, settings.rule, floor, max(2.0, enlarged))
    empty = Blended(before, np.zeros(before.shape[:2], bool), floor)
    if not place.any():
        return empty
    away = ndimage.distance_transform_edt(~place)
    ring = (away > _RING_GAP) & (away <= _RING_GAP + reach) & (quiet | area)
    after = with_grain(sharpened(after, enlarged), before, place, ring, settings.grain, seed)
    feather = max(_LEAST_FEATHER, settings.feather * enlarged)
    alpha = np.clip(1.0 - away / feather, 0.0, 1.0)
    alpha = np.where(area, alpha * alpha * (3.0 - 2.0 * alpha), 0.0).astype(np.float32)[..., None]
    touched = alpha[..., 0] > 0
    out = np.where(touched[..., None], before + alpha * (after - before), before)
    lines = np.zeros_like(touched)
    if fine is not None:
        out, lines = etched(out, joined(np.asarray(fine[here] >= 0.5), place), settings.etch, seed)
        lines &= ~touched
        touched |= lines
    # Measured on what is kept.
    rule = rule_for_drawn(settings.rule)
    distance = colour_distance(before, out, DRAWN_SMOOTH * rule.smooth)
    label = visible_change(distance, touched, rule)
    label = without_crumbs(label & (~lines | (distance >= _LINE_FROM * rule.edge)), rule)
    if not label.any():
        return empty
    # A piece of a line that nobody sees (over dark shell, say) is taken back: what is not labelled is not drawn.
    touched &= ~lines | (ndimage.distance_transform_edt(~label) <= _LINE_EDGE)
    return Blended(np.where(touched[..., None], out, before), label, floor)


def _region(shape: tuple[int, int], window: Window, fine: Bools | Floats | None) -> tuple[slice, slice]:
    """The window and all fine lines, with a little room."""
    low, high = [window.y, window.x], [window.y + window.height, window.x + window.width]
    if fine is not None and fine.any():
        for axis in (0, 1):
            set_at = np.flatnonzero(fine.any(axis=1 - axis))
            low[axis] = min(low[axis], max(0, int(set_at[0]) - 4))
            high[axis] = max(high[axis], min(shape[axis], int(set_at[-1]) + 5))
    return slice(low[0], high[0]), slice(low[1], high[1])
