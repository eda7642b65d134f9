"""Hold an edited picture's colours to those of its source, except where it was meant to change.

instruct-pix2pix shifts colours and mood of the whole picture (the study's complaint). The shift is a smooth tone curve,
the defect is not: so the curve is learnt where nothing was meant to change and undone everywhere. A1111's colour
correction (specs: inpainting C9) matches whole histograms in Lab; it has no mask, so a dark hole brightens the rest.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Method = Literal["histogram", "mean and contrast"]

#: Quantiles at which two histograms are compared: finer than 8 bits would only follow noise.
QUANTILES = 256

#: Pixels needed to learn a tone curve at all.
MINIMUM_PIXELS = 64

#: A colour difference (CIEDE2000) that a viewer notices at a glance; above it a pixel counts as changed.
NOTICEABLE = 10.0

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def lock_colours(
    image: NDArray[np.floating],
    source: NDArray[np.floating],
    changed: NDArray[np.floating] | None = None,
    method: Method = "histogram",
    strength: float = 1.0,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Undo the tone shift between `source` and `image`, learnt outside the change.

    Args:
        image: the edited picture, ``[H, W, 3]``, 0..1.
        source: the picture that it was made from, same shape.
        changed: ``[H, W]``, 0..1, where a change was meant (above 0.5); those pixels teach nothing. None: found from
            the pictures, by locking once, leaving out what still differs noticeably, and locking again.
        method: ``histogram`` maps each Lab channel's quantiles; ``mean and contrast`` only shifts and scales it.
        strength: 0 leaves the image as it is, 1 locks fully.

    Returns:
        The locked image ``[H, W, 3]`` and how much each pixel still differs from the source, ``[H, W]``: CIEDE2000
        divided by twice `NOTICEABLE`, clipped to 0..1, so that 0.5 is a noticeable change.

    Raises:
        ValueError: the shapes differ, the strength is out of range, or nothing is left to learn from.
    """
    if image.shape != source.shape or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(
            f"the image is {image.shape} and its source {source.shape}: both must be the same [height, width, 3]; "
            "put an image resize before one of them"
        )
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"strength is {strength}, expected 0 to 1")
    from skimage.color import deltaE_ciede2000, lab2rgb, rgb2lab  # here: loading it costs the host's start 0.1 s

    image_lab, source_lab = rgb2lab(image), rgb2lab(source)
    if changed is None:
        first = _match(image_lab, source_lab, np.ones(image.shape[:2], bool), "mean and contrast")
        keep = deltaE_ciede2000(first, source_lab) < NOTICEABLE
        if keep.sum() < MINIMUM_PIXELS:  # nothing alike: then the whole picture is all there is to learn from
            keep = np.ones_like(keep)
    else:
        if changed.shape != image.shape[:2]:
            raise ValueError(
                f"the mask is {changed.shape[1]}x{changed.shape[0]} and the image {image.shape[1]}x{image.shape[0]} "
                "pixels: use the mask that belongs to this image"
            )
        keep = np.asarray(changed <= 0.5)
        if keep.sum() < MINIMUM_PIXELS:
            raise ValueError(
                f"the mask leaves {int(keep.sum())} unchanged pixels, at least {MINIMUM_PIXELS} are needed to learn "
                "the colours from: make the mask smaller or unplug it"
            )
    locked = _match(image_lab, source_lab, keep, method)
    mixed = image_lab + strength * (locked - image_lab)
    difference = np.clip(deltaE_ciede2000(mixed, source_lab) / (2 * NOTICEABLE), 0.0, 1.0)
    rgb = np.clip(lab2rgb(mixed), 0.0, 1.0)
    return rgb.astype(np.float32), difference.astype(np.float32)


def _match(image: Floats, source: Floats, keep: Bools, method: Method) -> Floats:
    """Map each channel of `image` so that its pixels under `keep` are distributed as those of `source`."""
    curve = _quantile_curve if method == "histogram" else _linear_curve
    return np.stack([curve(image[..., c], image[keep][:, c], source[keep][:, c]) for c in range(3)], axis=-1)


def _linear_curve(values: Floats, have: Floats, want: Floats) -> Floats:
    gain = want.std() / have.std() if have.std() > 1e-6 else 1.0
    return (values - have.mean()) * gain + want.mean()


def _quantile_curve(values: Floats, have: Floats, want: Floats) -> Floats:
    steps = np.linspace(0.0, 1.0, QUANTILES)
    x, first = np.unique(np.quantile(have, steps), return_index=True)
    y = np.quantile(want, steps)[first]
    mapped = np.interp(values, x, y)
    # Beyond what was seen unchanged (the core of a hole is darker than any shell) values keep their distance to the
    # curve's end; clamping would flatten the very defect that is wanted.
    mapped = np.where(values < x[0], values - x[0] + y[0], mapped)
    return np.where(values > x[-1], values - x[-1] + y[-1], mapped)
