"""Every shipped workflow in real ComfyUI, twice, through the runner: the same pixels.

The shipped miniature paints: a pair is kept only where a defect is visible, and random weights paint none. That the
embedded server gives the same picture is test_miniature_parity.py's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from small_runs import in_both, pair, with_miniature

pytestmark = [pytest.mark.comfyui, pytest.mark.slow, pytest.mark.usefixtures("miniatures")]

Run = Callable[..., list[dict[str, Any]]]


@pytest.mark.parametrize("name", in_both())
def test_it_gives_its_pair_twice_with_the_same_pixels(run_headless: Run, comfyui: Any, tmp_path: Path, name: str):
    options = with_miniature(name, embedded=False)
    pairs = []
    for out in (tmp_path / "once", tmp_path / "again"):
        # What a run before has left in the server's cache would come out equal by itself.
        requests.post(f"{comfyui.url}/free", json={"free_memory": True}, timeout=60).raise_for_status()
        run_headless(name, out, *options)
        pairs.append(pair(out))
    (image, mask), (again, mask_again) = pairs
    np.testing.assert_array_equal(image, again)
    assert (mask is None) == (mask_again is None)
    if mask is not None:
        assert image.shape[:2] == mask.shape
        assert set(np.unique(mask)) == {0, 255}
        np.testing.assert_array_equal(mask, mask_again)
