"""Six numbers that say what a defect's mask is like on its part; drawn masks are compared with real ones by them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: The core is what an opening with a disc of this radius leaves, as a share of the part's diameter: thin cracks go.
_CORE = 0.018

FEATURES = ("area", "core diameter", "distance", "eccentricity", "core share", "solidity")


def mask_features(mask: NDArray[np.bool_], part: NDArray[np.bool_]) -> dict[str, float]:
    """Measure one defect's mask.

    Args:
        mask: ``[H, W]``, not empty.
        part: ``[H, W]``, the object mask.

    Returns:
        ``area``: mask over part. ``core diameter``: of the disc of the core's area, over that of the part's.
        ``distance``: of the core's centre from the part's, in radii of the part. ``eccentricity`` and ``solidity``
        of the core. ``core share``: core over mask.
    """
    from skimage import measure, morphology  # here: loading it costs the host's start 0.1 s

    if not mask.any() or not part.any():
        raise ValueError("the mask or the object mask is empty: there is nothing to measure")
    area = float(np.count_nonzero(part))
    radius = math.sqrt(area / math.pi)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    pad = max(2, math.ceil(2 * _CORE * radius) + 1)
    crop = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], pad)
    opened = morphology.opening(crop, morphology.disk(max(1, round(2 * _CORE * radius))))
    labels, count = ndimage.label(opened, structure=np.ones((3, 3)))
    # Nothing but lines: then the whole mask is what there is to measure.
    core = crop if count == 0 else labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    region = measure.regionprops(core.astype(np.uint8))[0]
    y, x = region.centroid
    centre = [float(axis.mean()) for axis in np.nonzero(part)]
    away = math.hypot(y - pad + rows[0] - centre[0], x - pad + columns[0] - centre[1])
    return {
        "area": np.count_nonzero(mask) / area,
        "core diameter": math.sqrt(region.area / math.pi) / radius,
        "distance": away / radius,
        "eccentricity": float(region.eccentricity),
        "core share": float(region.area) / np.count_nonzero(mask),
        "solidity": float(region.solidity),
    }
