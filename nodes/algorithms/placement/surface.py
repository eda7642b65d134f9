"""The usual surface of a part: where its colour is that of most of it.

Real holes are in the shell of a hazelnut and never in its rough base (6 of 6 measured masks). The base differs from the
shell in saturation, as the bore of a metal nut or the label of a bottle differ from what surrounds them. So: two
classes of saturation; the smaller one is unusual, if the two are well apart and it is clear which is the smaller.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: Least share of the variance that two classes explain (Otsu's criterion); one even colour reaches about 0.64.
_LEAST_SEPARATION = 0.70

#: Largest share of the part that may be called unusual.
_LARGEST_SHARE = 0.42

#: As shares of the picture's longer side: the part's rim, left out when the classes are learnt because shade and
#: background bleed into it; the blur that levels grain; half the size of the specks that are texture.
_RIM, _BLUR, _SPECK = 6 / 256, 3 / 256, 4 / 256


def usual_surface(photo: NDArray[np.uint8], part: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the usual surface of a part.

    Args:
        photo: ``[h, w, 3]`` uint8 RGB, 100 to 300 px a side (details and grain only disturb).
        part: ``[h, w]``, the object mask.

    Returns:
        ``[h, w]``: the part without its unusual areas; the part itself where there are none to be told.
    """
    side = max(part.shape)
    inner = ndimage.binary_erosion(part, iterations=max(1, round(_RIM * side)))
    if np.count_nonzero(inner) < 100:
        return part
    from skimage import color, filters  # here: loading it costs the host's start 0.1 s

    lab = color.rgb2lab(photo)
    saturation = np.hypot(lab[..., 1], lab[..., 2]) / np.maximum(lab[..., 0], 5.0)
    saturation = ndimage.gaussian_filter(saturation, _BLUR * side)
    values = saturation[inner]
    if np.ptp(values) < 1e-3:
        return part
    threshold = float(filters.threshold_otsu(values))
    high = values > threshold
    share = float(high.mean())
    between = share * (1.0 - share) * (values[high].mean() - values[~high].mean()) ** 2
    if between < _LEAST_SEPARATION * values.var() or min(share, 1.0 - share) > _LARGEST_SHARE:
        return part
    unusual = (saturation > threshold) if share < 0.5 else (saturation <= threshold)
    return part & ~ndimage.binary_opening(unusual & part, iterations=max(1, round(_SPECK * side)))
