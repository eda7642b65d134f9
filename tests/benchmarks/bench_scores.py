"""What the scores of one 1024 px pair cost on one core: `python tests/benchmarks/bench_scores.py`.

Not a test: a slow machine would fail it. In ms of processor time, so that other programs do not count. Goal: 30 ms.
"""

from __future__ import annotations

import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from bench_placement import SIDE, part, report
from defectforge.nodes.algorithms.placement.holes import HoleSettings, place_holes
from defectforge.nodes.algorithms.scores.measures import score_defect
from defectforge.nodes.algorithms.scores.references import look_of

SEEDS = 60


def main() -> None:
    mask = part()
    rng = np.random.default_rng(0)
    photo = np.where(mask[..., None], [0.6, 0.3, 0.2], [0.1, 0.1, 0.1]) + rng.normal(0, 0.012, (SIDE, SIDE, 3))
    photo = np.clip(photo, 0, 1).astype(np.float32)
    for name, settings, references in (
        ("a hole with cracks", HoleSettings(), 0),
        ("a hole with cracks, six references", HoleSettings(), 6),
        ("four holes all over the part", HoleSettings(count=4), 0),
    ):
        spent = []
        looks = []
        for seed in range(SEEDS):
            label = place_holes(mask, seed, settings=settings).label
            result = np.where(label[..., None], photo * np.float32(0.25), photo)
            if len(looks) < references:
                looks.append(look_of(result, label))
            start = time.process_time()
            score_defect(photo, result, label, label, looks)
            spent.append(time.process_time() - start)
        report(name, spent)


if __name__ == "__main__":
    main()
