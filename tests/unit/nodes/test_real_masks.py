"""The project's masks against real ones, on a machine that has the photos: statistics, places, eight kinds of parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from defectforge.nodes.algorithms.placement.defects import INSIDE, TYPES
from defectforge.nodes.algorithms.placement.defects.place import REAL_SHAPES, PlaceSettings, place_defects
from defectforge.nodes.algorithms.placement.features import FEATURES, mask_features
from defectforge.nodes.algorithms.placement.foreground import find_part
from defectforge.nodes.algorithms.placement.prior import fit_prior
from PIL import Image
from scipy.stats import ks_2samp

pytestmark = pytest.mark.realdata

CATEGORIES = ("bottle", "capsule", "carpet", "grid", "hazelnut", "metal_nut", "pill", "wood")
TEXTURES = ("carpet", "grid", "wood")
#: Real holes that the prior learns from; the others are what it is compared with.
LEARNT = ("000", "001", "005")


@pytest.fixture(scope="module")
def holes(mvtec_root: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> mask and part of the real hazelnut holes at 512 px."""
    root = mvtec_root.parent / "mvtec_512" / "hazelnut"
    if not root.is_dir():
        pytest.skip(f"no photos at {root}")
    found = {}
    for path in sorted((root / "test" / "hole").iterdir()):
        mask = np.asarray(Image.open(root / "ground_truth" / "hole" / f"{path.stem}_mask.png").convert("L")) > 127
        found[path.stem] = mask, find_part(np.asarray(Image.open(path).convert("RGB")))
    return found


@pytest.fixture(scope="module")
def good(mvtec_root: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Twelve photos of good hazelnuts and their parts."""
    paths = sorted((mvtec_root.parent / "mvtec_512" / "hazelnut" / "train" / "good").iterdir())[:12]
    photos = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    return [(photo, find_part(photo)) for photo in photos]


def test_a_prior_of_three_real_holes_draws_what_is_distributed_as_the_others(holes, good):
    prior = fit_prior(*zip(*(holes[name] for name in LEARNT), strict=True))
    made = []
    for index in range(96):
        photo, part = good[index % len(good)]
        label = place_defects(part, 7, index, PlaceSettings(REAL_SHAPES), photo=photo, prior=prior).label
        made.append(mask_features(label, part))
    real = [mask_features(*holes[name]) for name in holes if name not in LEARNT]
    p_values = {name: ks_2samp([m[name] for m in made], [r[name] for r in real]).pvalue for name in FEATURES}
    assert sum(p > 0.05 for p in p_values.values()) >= 5, p_values


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_type_is_placed_on_every_real_category(mvtec_root, category):
    path = sorted((mvtec_root / category / "test").rglob("*.png"))[-1]
    photo = np.asarray(Image.open(path).convert("RGB"))
    part = find_part(photo, 0.05)
    assert part.all() == (category in TEXTURES)
    for name, kind in TYPES.items():
        if kind.where != INSIDE and category in TEXTURES:
            continue
        label = place_defects(part, 3, settings=PlaceSettings(name), photo=photo).label
        assert label.any() and not (label & ~part).any()
