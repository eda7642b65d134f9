"""The generated nuts: same seed, same nut; masks where the defect is; holes of real sizes."""

from __future__ import annotations

import numpy as np
import pytest
from defectforge.runner.nuts import (
    ALL_KINDS,
    View,
    dataset,
    draw_defect,
    draw_nut,
    draw_pair,
    drawn_once,
    write_dataset,
)
from defectforge.runner.nuts.photo import Nut
from defectforge.runner.nuts.shape import look
from scipy import ndimage

SEEDS = range(12)


@pytest.fixture(scope="module")
def holes():
    """Mask and nut silhouette at 256 pixels of a dozen nuts with a hole."""
    return [(draw_defect(seed, "hole", 256)[1] > 0, look(Nut(seed).shape, View(), 256).alpha > 0.5) for seed in SEEDS]


def test_a_seed_means_one_picture():
    assert np.array_equal(draw_nut(3, 96), draw_nut(3, 96))
    assert not np.array_equal(draw_nut(3, 96), draw_nut(4, 96))


def test_the_same_nut_at_every_size():
    small, large = draw_nut(5, 64).astype(float), draw_nut(5, 256).astype(float)
    shrunk = large.reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(ndimage.gaussian_filter(small - shrunk, (2, 2, 0))).max() < 12


def test_nut_covers_what_real_nuts_cover():
    shares = [(look(Nut(seed).shape, View(), 96).alpha).mean() for seed in SEEDS]
    assert min(shares) > 0.28 and max(shares) < 0.43


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_only_the_defect_changes_and_its_mask_lies_on_the_nut(kind):
    sound, broken, mask = draw_pair(7, kind, 256)
    nut = look(Nut(7).shape, View(), 256).alpha > 0
    changed = np.abs(sound.astype(int) - broken).max(2) > 24
    assert set(np.unique(mask)) == {0, 255}
    assert not (mask > 0)[~nut].any()
    near = ndimage.binary_dilation(mask > 0, iterations=6)
    assert changed.any() and changed[~near].mean() < 0.0005


def test_hole_sizes_follow_the_real_ones(holes):
    of_nut = [mask.sum() / nut.sum() for mask, nut in holes]
    assert min(of_nut) > 0.015 and max(of_nut) < 0.085
    assert 0.028 < np.median(of_nut) < 0.058


def test_holes_keep_away_from_rim_and_centre(holes):
    for mask, nut in holes:
        offset = np.subtract(ndimage.center_of_mass(mask), ndimage.center_of_mass(nut))
        assert 0.12 < np.hypot(*offset) / np.sqrt(nut.sum() / np.pi) < 0.72


def test_a_hole_has_a_dark_core_and_a_light_rim():
    for seed in SEEDS:
        picture, mask = draw_defect(seed, "hole", 192)
        grey = picture.mean(2)
        assert 0.1 < (grey[mask > 0] < 60).mean() < 0.65
        assert np.percentile(grey[mask > 0], 90) > np.percentile(grey[mask == 0], 97)


def test_other_defects_on_the_same_nut():
    first, second = (draw_defect(9, "hole", 128, defect_seed=seed)[1] for seed in (1, 2))
    assert not np.array_equal(first, second)


def test_unknown_kind_names_the_known_ones():
    with pytest.raises(ValueError, match="hole, crack, cut, print"):
        draw_defect(0, "dent", 64)


def test_a_dataset_of_mvtec_shape(tmp_path):
    folder = write_dataset(tmp_path, n_good=2, n_defect=1, size=64, seed=50, kinds=("hole", "cut"), n_test_good=1)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    assert files == [
        "ground_truth/cut/000_mask.png",
        "ground_truth/hole/000_mask.png",
        "test/cut/000.png",
        "test/good/000.png",
        "test/hole/000.png",
        "train/good/000.png",
        "train/good/001.png",
    ]


def test_an_interrupted_drawing_is_no_dataset(tmp_path, monkeypatch):
    """The next command would go on with the few photos that are there."""
    asked = {"n_good": 2, "n_defect": 1, "size": 64, "seed": 50, "say": lambda text: None}
    real, calls = dataset.draw_nut, iter(range(1, 9))

    def stopped(number, size):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return real(number, size)

    monkeypatch.setattr(dataset, "draw_nut", stopped)
    with pytest.raises(KeyboardInterrupt):
        drawn_once(tmp_path / "nuts", **asked)
    assert not (tmp_path / "nuts").exists()
    monkeypatch.undo()
    drawn_once(tmp_path / "nuts", **asked)
    assert len(list((tmp_path / "nuts").rglob("*.png"))) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["nuts"]
