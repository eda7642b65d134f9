"""Every shipped workflow in real ComfyUI and in the embedded server, twice, through the runner: the same pixels.

The shipped miniature paints: a pair is kept only where a defect is visible, and random weights paint none.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import in_both, pair

pytestmark = [pytest.mark.comfyui, pytest.mark.slow, pytest.mark.usefixtures("miniatures")]

NAMES = in_both()

Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def results(run_headless: Run, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """results(name, where) runs a workflow once for each place and keeps the folder."""
    folder = tmp_path_factory.mktemp("workflows")

    def result(name: str, where: str) -> Path:
        out = folder / f"{name}-{where}"
        if not out.exists():
            run_headless(name, out, "--model", "miniature", "--type", "hole", embedded=where.startswith("embedded"))
        return out

    return result


@pytest.mark.parametrize("where", ["comfyui", "embedded"])
@pytest.mark.parametrize("name", NAMES)
def test_it_gives_its_pair_twice_with_the_same_pixels(results, name, where):
    image, mask = pair(results(name, where))
    again, mask_again = pair(results(name, where + "-again"))
    np.testing.assert_array_equal(image, again)
    assert (mask is None) == (mask_again is None)
    if mask is not None:
        assert image.shape[:2] == mask.shape
        assert set(np.unique(mask)) == {0, 255}
        np.testing.assert_array_equal(mask, mask_again)
