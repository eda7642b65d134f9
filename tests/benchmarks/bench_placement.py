"""How long mask placement takes at 1024x1024 on one core: `python tests/benchmarks/bench_placement.py`.

Not a test: a slow machine would fail it. Prints the median and the worst of many seeds, in ms of processor time, so
that other programs on the machine do not count.
"""

from __future__ import annotations

import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from defectforge.nodes.algorithms.masks import grow_and_feather
from defectforge.nodes.algorithms.placement.foreground import find_object
from defectforge.nodes.algorithms.placement.holes import HoleSettings, place_holes

SIDE = 1024
SEEDS = 100


def part() -> np.ndarray:
    """An egg-shaped part of a hazelnut's size (a third of the picture)."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    return (x / 350) ** 2 + (y / (320 - 0.15 * x)) ** 2 <= 1


def report(name: str, seconds: list[float]) -> None:
    ms = np.array(seconds) * 1000
    print(f"{name:<44} median {np.median(ms):6.1f} ms   worst {ms.max():6.1f} ms")


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    mask = part()
    rng = np.random.default_rng(0)
    photo = np.where(mask[..., None], [150, 80, 50], [30, 30, 32]) + rng.normal(0, 3, (SIDE, SIDE, 3))
    photo = np.clip(photo, 0, 255).astype(np.uint8)
    place_holes(mask, 0, photo=photo)  # the first call of a process loads a library: 40 ms that no later one pays
    for name, settings in (
        ("one hole", HoleSettings()),
        ("four small holes", HoleSettings(count=4, min_size=0.015, max_size=0.03)),
    ):
        placing, both = [], []
        for seed in range(SEEDS):
            start = time.process_time()
            label = place_holes(mask, seed, settings=settings, photo=photo).label
            placing.append(time.process_time() - start)
            grow_and_feather(label, 6, 8)
            both.append(time.process_time() - start)
        report(f"place {name}", placing)
        report(f"place {name}, grow and feather", both)
    finding = []
    for _ in range(10):
        start = time.process_time()
        find_object(photo)
        finding.append(time.process_time() - start)
    report("object mask", finding)


if __name__ == "__main__":
    main()
