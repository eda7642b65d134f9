"""Every shipped workflow with random weights: the embedded server gives the picture and the label of ComfyUI."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio
from small_runs import in_both, options_of, pair

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

NAMES = in_both()
#: Same checkpoint, workflow and seed: what the two programs may differ by (rounding of other kernels).
AGREEMENT = 45.0

Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def results(run_headless: Run, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """results(name, where) runs a workflow once for each place and keeps the folder."""
    folder = tmp_path_factory.mktemp("workflows")

    def result(name: str, where: str) -> Path:
        out = folder / f"{name}-{where}"
        if not out.exists():
            run_headless(name, out, *options_of(name), embedded=where.startswith("embedded"))
        return out

    return result


@pytest.mark.parametrize("name", NAMES)
def test_the_embedded_server_gives_comfyuis_picture(results, name, record_property):
    ours, our_mask = pair(results(name, "embedded"))
    theirs, their_mask = pair(results(name, "comfyui"))
    psnr = float("inf") if np.array_equal(ours, theirs) else peak_signal_noise_ratio(theirs, ours)
    record_property("psnr", psnr)
    np.testing.assert_array_equal(our_mask, their_mask)
    assert psnr >= AGREEMENT
