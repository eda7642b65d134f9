"""A value known on a ring, carried into what the ring surrounds: as a plane, or as a membrane (Poisson's equation).

What is carried is the difference, or the ratio, of light and colour between two pictures: adding it to one brings it to
the other without a seam (Poisson image editing: Perez, Gangnet, Blake 2003).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

#: Poisson's equation is solved on at most so many cells a side; its solution is smooth.
_CELLS = 96


def plane(values: Floats, known: Bools, wanted: Bools) -> NDArray[np.float64]:
    """A plane through the known values, robustly; its slope shrunk where the ring does not surround the mask.

    Args:
        values: ``[H, W, C]``; only those under `known` count.
        known: ``[H, W]``, the ring.
        wanted: ``[H, W]``, what it surrounds; at least one pixel.

    Returns:
        ``[H, W, C]``.
    """
    y, x = np.nonzero(known)
    inner = np.nonzero(wanted)
    middle = np.array([inner[0].mean(), inner[1].mean()])
    reach = max(1.0, float(np.abs(np.stack(inner) - middle[:, None]).max()))
    terms = np.stack([np.ones(y.size), (y - middle[0]) / reach, (x - middle[1]) / reach], axis=-1)
    # A weak pull of the slope towards 0, as if a twentieth as many pixels showed none.
    pull = np.sqrt(y.size / 20) * np.eye(3)[1:]
    rows, columns = np.mgrid[: values.shape[0], : values.shape[1]]
    out = np.empty(values.shape, np.float64)
    for channel in range(values.shape[-1]):
        wanted_values = values[..., channel][known]
        weight = np.ones(y.size)
        solution = np.zeros(3)
        for _ in range(4):
            left = np.concatenate([terms * weight[:, None], pull])
            right = np.concatenate([wanted_values * weight, np.zeros(2)])
            solution = np.linalg.lstsq(left, right, rcond=None)[0]
            residual = np.abs(wanted_values - terms @ solution)
            weight = np.sqrt(1.0 / np.maximum(1.0, residual / (1.5 * np.median(residual) + 1e-6)))
        out[..., channel] = (
            solution[0] + solution[1] * (rows - middle[0]) / reach + solution[2] * (columns - middle[1]) / reach
        )
    return out


def membrane(values: Floats, known: Bools, wanted: Bools) -> NDArray[np.float64]:
    """Poisson's equation with the ring's values as the boundary: harmonic where they are not known.

    Args:
        values: as for `plane`.
        known: as for `plane`.
        wanted: as for `plane`.

    Returns:
        ``[H, W, C]``.
    """
    # The ring's values are averaged along it first; grain on the boundary would be drawn into the defect as streaks.
    smooth = max(1.0, 0.25 * np.sqrt(np.count_nonzero(wanted) / np.pi))
    share = ndimage.gaussian_filter(known.astype(np.float64), smooth)
    step = max(1, -(-max(known.shape) // _CELLS))
    coarse, weight = known[::step, ::step], np.maximum(share, 1e-9)[::step, ::step]
    if not coarse.any():
        return plane(values, known, wanted)
    height, width = coarse.shape
    number = np.arange(height * width).reshape(height, width)
    ones = [np.ones(n) for n in (height * (width - 1), (height - 1) * width)]
    starts = np.concatenate([number[:, :-1].ravel(), number[:-1].ravel()])
    ends = np.concatenate([number[:, 1:].ravel(), number[1:].ravel()])
    edges = sparse.coo_matrix((np.concatenate(ones), (starts, ends)), (number.size, number.size))
    edges = edges + edges.T
    laplacian = sparse.diags(np.asarray(edges.sum(axis=1)).ravel()) - edges
    # Known cells hold on to their values so strongly that nothing else counts there.
    hold = np.where(coarse.ravel(), 1e3, 1e-9)
    matrix = (laplacian + sparse.diags(hold)).tocsc()
    out = np.empty(values.shape, np.float64)
    rows, columns = np.mgrid[: values.shape[0], : values.shape[1]] / step
    for channel in range(values.shape[-1]):
        blurred = ndimage.gaussian_filter(np.where(known, values[..., channel], 0.0), smooth)[::step, ::step] / weight
        solved = spsolve(matrix, hold * np.where(coarse, blurred, 0.0).ravel()).reshape(height, width)
        out[..., channel] = ndimage.map_coordinates(solved, [rows, columns], order=1, mode="nearest")
    return out
