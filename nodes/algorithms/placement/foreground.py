"""Where the part is: a colour model of the picture's border, and a threshold on the distance from it.

Naive Otsu on grey loses the dark lower shell of a hazelnut and takes the whole frame on a bottle before white. Here
the background is learnt from a 2 % frame: a smooth surface of Lab colour (a median would mistake a vignette or the
shade beside a capsule for the part) and the spread around it (MAD). Otsu then works on the *distance* from that
background. On which scale it should work differs: the logarithm keeps dark shells, the plain distance ignores soft
shadows. So both are tried, and the outline that runs along the sharpest edge of the distance map wins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

#: Longest side of the picture on which the model works; a 1024 px photo keeps its outline to about 1 px.
_WORKING_SIDE = 512

#: Width of the border frame as a share of the picture's shorter side.
_FRAME = 0.02

#: Least spread of the background, in Lab units (about the smallest difference an eye sees).
_LEAST_SPREAD = 1.0

#: Opening radius at `_WORKING_SIDE`: removes hairs and dust that touch the part.
_OPENING = 3

#: Share of the picture that a part may cover.
_AREA_LIMITS = (0.05, 0.90)


#: Confidence from which a mask is taken without a person's look.
_SURE = 0.5

#: Blocks along a side in which a texture is compared with itself, and how far (Lab) its border may differ.
_BLOCKS, _ALIKE = 8, 8.0

#: Share of a texture's blocks that look alike; the rest may be a large defect.
_MOST_BLOCKS = 0.85


@dataclass(frozen=True)
class Foreground:
    """A part found in a picture.

    Attributes:
        mask: ``[H, W]`` bool.
        confidence: 0..1; below about 0.5 the mask deserves a look.
        problems: what the sanity gate objects to; empty when the mask is plausible.
    """

    mask: NDArray[np.bool_]
    confidence: float
    problems: tuple[str, ...]


def find_object(
    image: NDArray[np.uint8],
    sensitivity: float = 1.0,
    largest_opening: float = 1.0,
    size: tuple[int, int] | None = None,
) -> Foreground:
    """Find the one part in a picture of a part before a plain background.

    Args:
        image: ``[H, W, 3]`` uint8 RGB.
        sensitivity: above 1 takes fainter differences for the part, below 1 only strong ones.
        largest_opening: holes in the part up to this share of its area are filled; 1 fills all of them, 0.05 leaves
            the bore of a metal nut open.
        size: height and width of the mask, where `image` is a reduced copy of a larger photo.

    Returns:
        The mask with its confidence; `problems` lists why it should not be trusted, and the mask is then empty only
        when the picture holds nothing that differs from its border.
    """
    if sensitivity <= 0:
        raise ValueError(f"sensitivity must be above 0 (1 is neutral), got {sensitivity}")
    from skimage import filters  # here: loading it costs the host's start 0.1 s

    height, width = size or image.shape[:2]
    small = _shrink(image)
    distance = background_distance(small)
    if float(distance.max() - distance.min()) < 1e-6:
        return Foreground(np.zeros((height, width), bool), 0.0, ("the picture is one flat colour",))
    steepness = ndimage.gaussian_gradient_magnitude(np.log1p(distance), 1.0)
    candidates = [
        _largest_part(distance > threshold / sensitivity, largest_opening)
        for threshold in (
            float(filters.threshold_otsu(distance)),
            float(np.square(filters.threshold_otsu(np.sqrt(distance)))),
            float(np.expm1(filters.threshold_otsu(np.log1p(distance)))),
        )
    ]
    edges = [_mean_on_outline(steepness, part) for part, _ in candidates]
    best = int(np.argmax(edges))
    part, rest = candidates[best]
    problems = _gate(part, rest)
    confidence = _confidence(distance, part) * (0.5 if problems else 1.0)
    return Foreground(_enlarge(part, height, width), confidence, problems)


def find_part(image: NDArray[np.uint8], largest_opening: float = 1.0) -> NDArray[np.bool_]:
    """The part in a photo, without a person's help: one before a plain background, or a texture that fills the photo.

    Args:
        image: ``[H, W, 3]`` uint8 RGB.
        largest_opening: as `find_object` takes it.

    Raises:
        ValueError: neither; a mask that might be wrong is not given.
    """
    # A coarse pattern has lines of its own that stand out clearly: the texture is asked about first.
    if fills_picture(image):
        return np.ones(image.shape[:2], bool)
    found = find_object(image, largest_opening=largest_opening)
    if found.confidence >= _SURE and not found.problems:
        return found.mask
    problems = "; ".join((*found.problems, f"confidence {found.confidence:.2f} of {_SURE:g} needed"))
    raise ValueError(
        f"no part found that can be trusted: {problems}. It is neither one part before a plain background nor a "
        "texture that fills the photo: connect a mask of the part (part_mask), e.g. from Object Mask with other "
        "settings."
    )


def fills_picture(image: NDArray[np.uint8]) -> bool:
    """Whether one texture fills the photo: its border looks like its middle, block by block."""
    from skimage import color

    lab = color.rgb2lab(_shrink(image))
    rows, columns = (size // _BLOCKS for size in lab.shape[:2])
    if min(rows, columns) < 4:
        return False
    blocks = lab[: rows * _BLOCKS, : columns * _BLOCKS].reshape(_BLOCKS, rows, _BLOCKS, columns, 3)
    looks = np.concatenate([blocks.mean(axis=(1, 3)), blocks.std(axis=(1, 3))], axis=-1)
    middle = np.zeros((_BLOCKS, _BLOCKS), bool)
    middle[2:-2, 2:-2] = True
    border = ~middle
    border[1:-1, 1:-1] = False
    apart = np.abs(np.median(looks[middle], axis=0) - np.median(looks[border], axis=0))
    # A part that is larger than the photo leaves its corners free: then too many blocks are unlike the others.
    unlike = np.sqrt(np.square(looks - np.median(looks, axis=(0, 1))).sum(axis=-1))
    return bool(np.sqrt(np.square(apart).sum()) < _ALIKE and np.quantile(unlike, _MOST_BLOCKS) < 2 * _ALIKE)


def background_distance(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Distance of each pixel from the background's colour there, in units of the background's own spread.

    Args:
        image: ``[H, W, 3]`` uint8 RGB.

    Returns:
        ``[H, W]``; about 1 on the background, 10 and more on a part.
    """
    from skimage import color

    lab = color.rgb2lab(image)
    height, width = lab.shape[:2]
    frame = np.ones((height, width), bool)
    rim = max(1, round(_FRAME * min(height, width)))
    frame[rim : height - rim, rim : width - rim] = False
    surface, spread = _fit_surface(lab, frame)
    return np.sqrt(np.square((lab - surface) / spread).sum(axis=-1))


def _fit_surface(lab: NDArray[np.float64], frame: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit a quadratic surface of colour to the frame, robustly: a part that touches the border must not bend it."""
    height, width = lab.shape[:2]
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    known, colours = terms[frame], lab[frame]
    # The median is the start: with up to half of the frame covered it is still the background's colour.
    surface = np.broadcast_to(np.median(colours, axis=0), colours.shape)
    coefficients = np.zeros((terms.shape[-1], 3))
    spread = np.ones(3)
    for _ in range(5):
        residual = colours - surface
        spread = np.maximum(1.4826 * np.median(np.abs(residual), axis=0), _LEAST_SPREAD)
        outlying = np.sqrt(np.square(residual / spread).sum(axis=-1)) / 2.5
        weight = (1.0 / np.maximum(1.0, outlying))[:, None]
        coefficients = np.linalg.lstsq(known * weight, colours * weight, rcond=None)[0]
        surface = known @ coefficients
    return terms @ coefficients, spread


def _largest_part(foreground: NDArray[np.bool_], largest_opening: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Fill, open and keep the largest component; also gives what was left out."""
    from skimage import morphology

    filled = ndimage.binary_fill_holes(foreground)
    radius = max(1, round(_OPENING * max(foreground.shape) / _WORKING_SIDE))
    opened = morphology.opening(filled, morphology.disk(radius))
    labels, count = ndimage.label(opened)
    if count == 0:
        return opened, opened
    part = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    rest = opened & ~part
    if largest_opening < 1.0:
        openings, count = ndimage.label(part & ~morphology.closing(foreground, morphology.disk(radius)))
        areas = np.bincount(openings.ravel(), minlength=count + 1)
        areas[0] = 0
        # Reflections in a bore are no islands of the part.
        part = part & ~ndimage.binary_fill_holes((areas > largest_opening * part.sum())[openings])
    return part, rest


def _mean_on_outline(values: NDArray[np.float64], part: NDArray[np.bool_]) -> float:
    outline = part & ~ndimage.binary_erosion(part, border_value=1)
    return float(values[outline].mean()) if outline.any() else 0.0


def _gate(part: NDArray[np.bool_], rest: NDArray[np.bool_]) -> tuple[str, ...]:
    """The sanity gate: area, border contact, one component."""
    problems = []
    share = float(part.mean())
    low, high = _AREA_LIMITS
    if not low <= share <= high:
        problems.append(f"the part covers {share:.1%} of the picture (expected {low:.0%} to {high:.0%})")
    sides = [name for name, line in zip(("top", "bottom", "left", "right"), _sides(part), strict=True) if line.any()]
    if len(sides) > 1:
        problems.append(f"the part touches {len(sides)} borders: {', '.join(sides)} (expected at most 1)")
    if rest.any():
        labels, _ = ndimage.label(rest)
        second = int(np.bincount(labels.ravel())[1:].max())
        if second > 0.2 * part.sum():
            problems.append(
                f"there is a second part of {second / part.sum():.0%} of the first one's size (expected one)"
            )
    return tuple(problems)


def _sides(part: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], ...]:
    return part[0], part[-1], part[:, 0], part[:, -1]


def _confidence(distance: NDArray[np.float64], part: NDArray[np.bool_]) -> float:
    """How clearly the part stands out: the share of its outline across which the distance rises at least twofold."""
    if not part.any() or part.all():
        return 0.0
    inwards = ndimage.distance_transform_edt(part)
    outwards = ndimage.distance_transform_edt(~part)
    smooth = ndimage.gaussian_filter(distance, 1.0)
    reach = max(2.0, 6.0 * max(part.shape) / _WORKING_SIDE)
    # Each outline pixel against the median of the background near it, not of the whole picture: shadows are local.
    near_out = (outwards > reach / 2) & (outwards <= reach)
    if not near_out.any():
        return 0.0
    nearest = ndimage.distance_transform_edt(~near_out, return_distances=False, return_indices=True)
    ring = (inwards > reach / 2) & (inwards <= reach)
    if not ring.any():
        return 0.0
    outside = smooth[tuple(nearest)][ring]
    return float(np.mean(smooth[ring] > 2.0 * np.maximum(outside, 1.0)))


def _shrink(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    factor = _WORKING_SIDE / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def _enlarge(mask: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    if mask.shape == (height, width):
        return mask
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR)) > 127
