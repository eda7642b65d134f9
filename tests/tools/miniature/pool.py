"""Draw the training pool: for each nut two working crops (the whole photo and a zoom), each sound and with a defect.

    python tests/tools/miniature/pool.py --out DIR --nuts 4000 [--first 0]

Shards of 50 nuts, ``pool-<first seed>.npz``; a shard that exists is skipped, so the command resumes.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from defectforge.runner.nuts import KINDS
from defectforge.runner.nuts.photo import Nut
from numpy.typing import NDArray
from PIL import Image

SIDE = 128
PHOTO = 384  # three times the side, so that the closest zooms are sharp
SHARD = 50
SEEDS = 10_000_000  # training seeds start here; the demo's, the tests' and the held-out nuts are below


def windows(rng: np.random.Generator, mask: NDArray[np.uint8]) -> list[tuple[float, float, float]]:
    """A whole view and a zoom of 1.3x to 3.5x; half of the zooms are centred near the defect, as a working crop is."""
    whole = rng.uniform(0.94, 1.0) if rng.random() < 0.5 else 1.0
    result = [(*(rng.uniform(whole / 2, 1 - whole / 2, 2)), whole)]
    zoom = 1.0 / rng.uniform(1.3, 3.5)
    rows, columns = np.nonzero(mask)
    if rng.random() < 0.65 and len(rows):
        centre = np.array([columns.min() + columns.max(), rows.min() + rows.max()]) / 2.0 / PHOTO
        centre = centre + rng.normal(0.0, 0.10, 2) * zoom
    else:
        centre = 0.5 + rng.uniform(-0.36, 0.36, 2)
    x, y = np.clip(centre, zoom / 2, 1 - zoom / 2)
    return [*result, (x, y, zoom)]


def crop(picture: NDArray[np.uint8], window: tuple[float, float, float]) -> NDArray[np.uint8]:
    x, y, side = window
    box = tuple(PHOTO * value for value in (x - side / 2, y - side / 2, x + side / 2, y + side / 2))
    box = (max(box[0], 0), max(box[1], 0), min(box[2], PHOTO), min(box[3], PHOTO))
    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box))


def shard(first: int) -> dict[str, NDArray]:
    pictures = np.zeros((SHARD, 2, 2, SIDE, SIDE, 3), np.uint8)
    masks = np.zeros((SHARD, 2, SIDE, SIDE), np.uint8)
    kinds = np.zeros(SHARD, np.uint8)
    views = np.zeros((SHARD, 2, 3), np.float32)
    for i in range(SHARD):
        rng = np.random.default_rng([first + i, 77])
        kinds[i] = rng.choice(len(KINDS), p=[0.7, 0.1, 0.1, 0.1])
        number = first + i
        while True:
            try:
                nut = Nut(number)
                (sound, _), (broken, mask) = nut.photos(PHOTO, [None, nut.defect(KINDS[kinds[i]])])
                break
            except ValueError:  # this pose has no room for the defect: take another nut
                number += SEEDS
        for j, window in enumerate(windows(rng, mask)):
            views[i, j] = window
            pictures[i, j] = crop(sound, window), crop(broken, window)
            masks[i, j] = (crop(mask, window) > 127) * 255
    return {"pictures": pictures, "masks": masks, "kinds": kinds, "views": views}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--nuts", type=int, default=4000)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for first in range(options.first, options.nuts, SHARD):
        path = options.out / f"pool-{first:06d}.npz"
        if path.exists():
            continue
        part = path.with_suffix(f".{os.getpid()}.part")
        with part.open("wb") as file:
            np.savez(file, **shard(SEEDS + first))
        part.rename(path)
        print(path.name, flush=True)


if __name__ == "__main__":
    main()
