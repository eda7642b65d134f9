"""The shipped miniature: ComfyUI loads it unchanged and draws what the embedded server draws, in every workflow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from defectforge.runner.graphs.graph import shipped_workflows
from skimage.io import imread
from skimage.metrics import peak_signal_noise_ratio

pytestmark = [pytest.mark.comfyui, pytest.mark.slow, pytest.mark.usefixtures("miniatures")]

#: Of 255: what the finished pictures may differ by after the workflow's own number of steps.
AGREEMENT = 1


def picture_of(out: Path) -> np.ndarray:
    (path,) = [*(out / "hazelnut" / "test").rglob("*.png"), *(out / "hazelnut" / "unlabelled").rglob("*.png")]
    return imread(path).astype(int)


@pytest.mark.parametrize("name", shipped_workflows())
def test_the_miniature_gives_the_same_picture_in_comfyui(run_headless, tmp_path, record_property, name):
    found = {}
    for where in ("comfyui", "embedded"):
        out = tmp_path / where
        (line,) = run_headless(name, out, "--model", "miniature", "--type", "hole", embedded=where == "embedded")
        assert line["server"]["kind"] == where
        found[where] = picture_of(out)
    theirs, ours = found["comfyui"], found["embedded"]
    largest = int(abs(theirs - ours).max())
    record_property("psnr", float("inf") if largest == 0 else peak_signal_noise_ratio(theirs, ours, data_range=255))
    record_property("largest", largest)
    assert largest <= AGREEMENT
