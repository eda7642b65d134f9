"""Give a repainted place the grain and the sharpness of the photo around it.

A crop that was painted small and enlarged has lost the photo's grain, and a detector then learns to find smooth places
instead of defects. The grain is a random-phase texture: the spectrum of the surroundings' finest detail, with phases
drawn anew (Galerne, Gousseau, Morel: Random Phase Textures, 2011), so it repeats nothing and is as coarse as theirs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

#: Detail finer than this Gaussian sigma (px of the photo) is grain.
GRAIN_SIGMA = 1.5

#: Dark places have less grain than bright ones, but a sensor's noise never vanishes.
_LEAST_IN_THE_DARK, _MOST_IN_THE_LIGHT = 0.35, 1.3

#: Pixels of the surroundings below which there is no spectrum to learn.
_LEAST_RING = 64


def detail(image: Floats, sigma: float = GRAIN_SIGMA) -> NDArray[np.float32]:
    """What of ``[H, W, 3]`` is finer than `sigma` px."""
    return np.asarray(image - ndimage.gaussian_filter(image, (sigma, sigma, 0.0)), np.float32)


def random_phase(pattern: Floats, where: Bools, rng: np.random.Generator) -> NDArray[np.float32]:
    """A texture of the same size with the spectrum and the standard deviations of `pattern` under `where`.

    All channels get the same random phases, which keeps the colour of the grain.

    Args:
        pattern: ``[H, W, 3]``, mean about 0.
        where: ``[H, W]``, where the pattern counts; zero where nothing is set.
        rng: the only source of randomness.
    """
    if not where.any():
        return np.zeros(pattern.shape, np.float32)
    seen = np.where(where[..., None], pattern, 0.0)
    phase = np.exp(1j * np.angle(np.fft.rfft2(rng.standard_normal(where.shape))))
    texture = np.fft.irfft2(np.fft.rfft2(seen, axes=(0, 1)) * phase[..., None], where.shape, axes=(0, 1))
    texture -= texture.mean((0, 1))
    wanted = np.sqrt((pattern[where] ** 2).mean(0))
    return np.asarray(texture / (texture.std((0, 1)) + 1e-9) * wanted, np.float32)


def with_grain(
    painted: Floats, photo: Floats, place: Bools, ring: Bools, amount: float, seed: int
) -> NDArray[np.float32]:
    """Add the grain that `painted` lacks to be as grainy under `place` as the photo is under `ring`.

    Args:
        painted: ``[H, W, 3]``, 0..1.
        photo: the same shape: where the ring is.
        place: ``[H, W]``, what was repainted.
        ring: ``[H, W]``, the unchanged surroundings that set the example.
        amount: 1 matches the ring, 0 adds nothing.
        seed: of the texture.

    Returns:
        ``[H, W, 3]`` float32, 0..1; the input where there is too little of either to learn from.
    """
    if amount <= 0 or place.sum() < 4 or ring.sum() < _LEAST_RING:
        return np.asarray(painted, np.float32)
    texture = random_phase(detail(photo), ring, np.random.default_rng([seed & 0xFFFFFFFFFFFFFFFF, 0x6A]))
    example = np.sqrt((detail(photo)[ring] ** 2).mean(0))
    present = np.sqrt((detail(painted)[place] ** 2).mean(0))
    brightness = painted.mean(-1, keepdims=True) / max(1e-3, float(photo[ring].mean()))
    wanted = example * np.clip(brightness, _LEAST_IN_THE_DARK, _MOST_IN_THE_LIGHT)
    missing = np.sqrt(np.maximum(wanted**2 - np.minimum(present, wanted) ** 2, 0.0)) / (example + 1e-9)
    return np.clip(painted + amount * missing * texture, 0.0, 1.0).astype(np.float32)


def sharpened(painted: Floats, blur: float) -> NDArray[np.float32]:
    """Undo some of the softness of an enlargement: unsharp masking that never leaves the local range of values.

    Args:
        painted: ``[H, W, 3]``, 0..1, enlarged `blur` times.
        blur: photo px for each px of the crop; up to 1 nothing was lost and nothing is done.
    """
    if blur <= 1.0:
        return np.asarray(painted, np.float32)
    reach = 2 * int(np.ceil(blur)) + 1
    low = ndimage.minimum_filter(painted, (reach, reach, 1))
    high = ndimage.maximum_filter(painted, (reach, reach, 1))
    soft = ndimage.gaussian_filter(painted, (blur, blur, 0.0))
    return np.clip(painted + 1.5 * (painted - soft), low, high).astype(np.float32)
