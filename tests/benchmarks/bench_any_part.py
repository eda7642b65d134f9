"""How long a mask of each type and a transplant take at 1024x1024 on one core.

`python tests/benchmarks/bench_any_part.py` is not a test: a slow machine would fail it. Prints the median and the worst
of many seeds, in ms of processor time.
"""

from __future__ import annotations

import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from bench_placement import SIDE, part, report
from defectforge.nodes.algorithms.compositing.transplant import BLENDS, BlendSettings, cracked, transplant
from defectforge.nodes.algorithms.placement.defects import TYPES
from defectforge.nodes.algorithms.placement.defects.cracks import crack_lines
from defectforge.nodes.algorithms.placement.defects.place import REAL_SHAPES, PlaceSettings, place_defects
from defectforge.nodes.algorithms.placement.motion import Defect, draw_motion
from defectforge.nodes.algorithms.placement.moving import landing_box
from defectforge.nodes.algorithms.placement.prior import fit_prior

SEEDS = 40


def main() -> None:
    mask = part()
    rng = np.random.default_rng(0)
    noisy = np.where(mask[..., None], [150, 80, 50], [30, 30, 32]) + rng.normal(0, 3, (SIDE, SIDE, 3))
    photo = np.clip(noisy, 0, 255).astype(np.uint8)
    hole = place_defects(mask, 1, settings=PlaceSettings("hole")).label
    prior = fit_prior([hole], [mask])
    for name in (*TYPES, REAL_SHAPES):
        spent = []
        for seed in range(SEEDS):
            start = time.process_time()
            place_defects(
                mask, seed, settings=PlaceSettings(name), photo=photo, prior=prior if name == REAL_SHAPES else None
            )
            spent.append(time.process_time() - start)
        report(f"place {name}", spent)
    picture, defect = photo / np.float32(255), Defect(hole, mask, photo)
    for blend in BLENDS:
        spent, cracking = [], []
        for seed in range(SEEDS // 4):
            start = time.process_time()
            motion = draw_motion(defect, mask, np.random.default_rng(seed))
            box = landing_box(motion, hole)
            done = transplant(picture, mask, picture, mask, hole, motion.back, box, motion.scale, BlendSettings(blend))
            spent.append(time.process_time() - start)
            start = time.process_time()
            cracked(done, crack_lines(done.label, mask, photo, np.random.default_rng(seed), 3), seed)
            cracking.append(time.process_time() - start)
        report(f"transplant, {blend}", spent)
        report("up to three cracks around it", cracking)


if __name__ == "__main__":
    main()
