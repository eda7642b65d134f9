"""Hold generated nuts against real photos in numbers: colours, share of the photo, hole sizes.

    python tests/tools/miniature/compare_real.py --real FOLDER/hazelnut [--count 40]

Prints JSON. The real photos are only read.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from defectforge.runner.nuts.photo import Nut
from defectforge.runner.nuts.shape import View, look
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.measure import regionprops

SIDE, BINS = 512, 12


def real_nut(path: Path) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A photo at 512 px and its nut: the largest saturated region."""
    picture = np.asarray(Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)).astype(float)
    colourful = ndimage.gaussian_filter(np.ptp(picture, axis=2), 1.5) > 14
    labels, count = ndimage.label(ndimage.binary_fill_holes(ndimage.binary_opening(colourful, iterations=3)))
    largest = 1 + int(np.argmax(ndimage.sum(colourful, labels, range(1, count + 1))))
    return picture, labels == largest


def generated_nut(seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    nut = Nut(seed)
    return nut.photos(SIDE, [None])[0][0].astype(float), look(nut.shape, View(), SIDE).alpha > 0.5


def histogram(nuts: list[tuple[NDArray[np.float64], NDArray[np.bool_]]]) -> NDArray[np.float64]:
    pixels = np.concatenate([picture[mask] for picture, mask in nuts])
    return np.histogramdd(pixels, bins=(BINS,) * 3, range=((0, 256),) * 3)[0] / len(pixels)


def described(nuts: list[tuple[NDArray[np.float64], NDArray[np.bool_]]]) -> dict[str, Any]:
    pixels = np.concatenate([picture[mask] for picture, mask in nuts])
    outside = np.concatenate([picture[~ndimage.binary_dilation(mask, iterations=10)] for picture, mask in nuts])
    fine = [
        (p - ndimage.gaussian_filter(p, (4, 4, 0)))[ndimage.binary_erosion(m, iterations=30)].std() for p, m in nuts
    ]
    return {
        "nut_share_min_median_max": np.percentile([mask.mean() for _, mask in nuts], [0, 50, 100]).round(3).tolist(),
        "nut_mean_rgb": pixels.mean(0).round(1).tolist(),
        "nut_percentiles_5_50_95_rgb": np.percentile(pixels, [5, 50, 95], 0).round().tolist(),
        "background_mean_rgb": outside.mean(0).round(1).tolist(),
        "fine_texture_std": round(float(np.mean(fine)), 2),
    }


def hole_statistics(count: int) -> dict[str, list[float]]:
    """Least, median and greatest of what was measured on real hole masks (see docs/miniature.md)."""
    rows: dict[str, list[float]] = {}
    disc = np.hypot(*np.mgrid[-6:7, -6:7]) <= 6  # 25 px at 1024
    for seed in range(count):
        nut = Nut(2000 + seed)
        picture, mask = nut.photos(SIDE, [nut.defect("hole")])[0]
        shape, part = mask > 0, look(nut.shape, View(), SIDE).alpha > 0.5
        core = regionprops(ndimage.binary_opening(shape, disc).astype(int))[0]
        diameter = np.sqrt(4 * part.sum() / np.pi)
        offset = np.hypot(*np.subtract(core.centroid, ndimage.center_of_mass(part)))
        values = {
            "share_of_nut": shape.sum() / part.sum(),
            "core_diameter_of_nut": np.sqrt(4 * core.area / np.pi) / diameter,
            "centre_over_radius": 2 * offset / diameter,
            "core_solidity": core.solidity,
            "core_eccentricity": core.eccentricity,
            "core_pixels_below_60": (picture.mean(2)[core.coords[:, 0], core.coords[:, 1]] < 60).mean(),
        }
        for key, value in values.items():
            rows.setdefault(key, []).append(float(value))
    return {key: np.percentile(values, [0, 50, 100]).round(3).tolist() for key, values in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, help="a folder with train/good and test/good")
    parser.add_argument("--count", type=int, default=40)
    options = parser.parse_args()
    files = sorted([*options.real.glob("train/good/*.png"), *options.real.glob("test/good/*.png")])
    real, ours = [real_nut(file) for file in files], [generated_nut(1000 + i) for i in range(options.count)]
    distance = 0.5 * np.abs(histogram(real) - histogram(ours)).sum()
    noise = 0.5 * np.abs(histogram(real[::2]) - histogram(real[1::2])).sum()
    result = {
        "colour_histogram_distance": round(float(distance), 3),
        "the_same_between_two_halves_of_the_real_photos": round(float(noise), 3),
        "real": described(real),
        "generated": described(ours),
        "holes": hole_statistics(options.count),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
