"""The labels that a whole run writes, against a measure of the visible change that the nodes do not know."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from defectforge.runner.errors import OK, SOME_JOBS_FAILED
from defectforge.runner.nuts import write_dataset

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def truth() -> ModuleType:
    spec = importlib.util.spec_from_file_location("label_truth", TOOLS / "label_truth.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_shipped_defaults_label_what_is_visible(cli: Any, tmp_path: Path, truth: ModuleType) -> None:
    """Six drawn nuts of 512 px; the table of docs/labels.md has more (tests/benchmarks/bench_labels.py)."""
    write_dataset(tmp_path / "nuts", n_good=6, n_defect=0, size=512, seed=1000)
    line = ["inpaint_latent_noise", "--model", "miniature", "--data", tmp_path / "nuts", "--count", 6, "--seed", 1]
    done = cli("run", *line, "--out", tmp_path / "out")
    assert done.returncode in (OK, SOME_JOBS_FAILED), done.stderr
    truths = truth.run_truth(tmp_path / "out", tmp_path / "nuts")
    assert len(truths) >= 4, "a job that shows nothing is no pair, but most show something"
    found = truth.summary(truths)
    assert found["iou"] >= 0.85 and found["worst"] >= 0.6, truths
    assert found["seen"] >= 0.9, "the goal, 0.95, is for the medians of the docs; six pairs scatter around it"
    assert found["outside"] <= 0.08
    assert found["stray"] == 0, "outside denoise area and label the photo is untouched, bit for bit"


def test_the_measure_finds_a_wrong_label(truth: ModuleType) -> None:
    """The judge itself: a shifted label, a change that is left out, a touched pixel far away."""
    source = np.full((64, 64, 3), 140, np.uint8)
    result, place = source.copy(), np.zeros((64, 64), bool)
    place[20:40, 20:40] = True
    result[place] = 30
    right = truth.pair_truth(0, source, result, place, place)
    assert right.iou > 0.8 and right.seen > 0.95 and right.stray == 0
    shifted = truth.pair_truth(0, source, result, np.roll(place, 10, 1), place)
    assert shifted.iou < 0.5 and shifted.seen < 0.6 and shifted.outside > 0.4
    result[2, 2] = 137
    assert truth.pair_truth(0, source, result, place, place).stray == 3
    assert not truth.visible(source, source).any()
