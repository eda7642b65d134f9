"""Every shipped workflow in real ComfyUI, twice, through the runner, and against the embedded server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectforge.runner.graphs.export import api_path
from defectforge.runner.graphs.graph import shipped_workflows
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

NAMES = shipped_workflows()
#: Same checkpoint, workflow and seed: what the two programs may differ by (rounding of other kernels).
AGREEMENT = 45.0

Run = Callable[..., list[dict[str, Any]]]


#: Small and short says as much about agreement as the study's sizes and steps; with random weights what is painted may
#: be anything, and is saved whatever it is.
SMALL = {
    "KSampler": {"steps": 2},
    "KSamplerAdvanced": {"steps": 4, "start_at_step": 1},
    "BasicScheduler": {"steps": 3},
    "DefectForgeCropForDefect": {"size": 128},
    "DefectForgeDenoiseMask": {"size": 128},
    "ImageScale": {"width": 128, "height": 128},
    "DefectForgeKeepBest": {"thresholds": ""},
    "DefectForgeSaveDefectPair": {"label": "visible or none"},
}


def options_of(name: str) -> list[str]:
    """Random checkpoints of the kind that the workflow needs (the runner finds it), small pictures, few steps."""
    graph = json.loads(api_path(name).read_text(encoding="utf-8"))
    options = ["--model", "random-sd15", "--type", "hole"]
    for node in graph.values():
        for target, value in SMALL.get(node["class_type"], {}).items():
            now = node["inputs"].get(target)
            # A workflow that starts at noise, or that has no label, is one.
            if now != "none" and not (target == "start_at_step" and now == 0):
                options += ["--set", f"{node['_meta']['title']}.{target}={value}"]
    return options


def pair(out: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The picture and its label; a picture in which nothing is visible has none."""
    category = out / "hazelnut"
    (image,) = [*(category / "test").rglob("*.png"), *(category / "unlabelled").rglob("*.png")]
    masks = [np.asarray(Image.open(path)) for path in (category / "ground_truth").rglob("*_mask.png")]
    assert len(masks) == ("test" in image.relative_to(category).parts)
    return np.asarray(Image.open(image).convert("RGB")), masks[0] if masks else None


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


@pytest.mark.parametrize("name", NAMES)
def test_the_embedded_server_gives_comfyuis_picture(results, name, record_property):
    ours, our_mask = pair(results(name, "embedded"))
    theirs, their_mask = pair(results(name, "comfyui"))
    psnr = float("inf") if np.array_equal(ours, theirs) else peak_signal_noise_ratio(theirs, ours)
    record_property("psnr", psnr)
    np.testing.assert_array_equal(our_mask, their_mask)
    assert psnr >= AGREEMENT
