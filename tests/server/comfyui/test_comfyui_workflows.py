"""Every shipped workflow in real ComfyUI, twice, through the runner, and against the embedded server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectforge.runner.graphs.export import api_path, core_nodes
from defectforge.runner.graphs.graph import shipped_workflows
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

#: The others need files of their own (test_modern_models.py).
NAMES = [
    name
    for name in shipped_workflows()
    if not any(node["class_type"] in core_nodes() for node in json.loads(api_path(name).read_text("utf-8")).values())
]
#: Same checkpoint, workflow and seed: what the two programs may differ by (rounding of other kernels).
AGREEMENT = 45.0

Run = Callable[..., list[dict[str, Any]]]


#: A few steps say as much about agreement as the study's twenty or hundred.
FEW_STEPS = {
    "KSampler": {"Sampler.steps": 2},
    "KSamplerAdvanced": {"Sampler.steps": 4, "Sampler.start_at_step": 1},
    "SamplerCustomAdvanced": {"Steps.steps": 3},
}


def options_of(name: str) -> list[str]:
    """Small checkpoints of the kind that the workflow needs (the runner finds it), few steps."""
    graph = json.loads(api_path(name).read_text(encoding="utf-8"))
    options = ["--model", "random-sd15", "--type", "hole"]
    for node in graph.values():
        for target, value in FEW_STEPS.get(node["class_type"], {}).items():
            if node["inputs"].get("start_at_step") == 0 and target.endswith("start_at_step"):
                value = 0
            options += ["--set", f"{target}={value}"]
    return options


def pair(out: Path) -> tuple[np.ndarray, np.ndarray]:
    (image,) = (out / "hazelnut" / "test").rglob("*.png")
    (mask,) = (out / "hazelnut" / "ground_truth").rglob("*_mask.png")
    return np.asarray(Image.open(image).convert("RGB")), np.asarray(Image.open(mask))


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
    assert image.shape[:2] == mask.shape
    assert set(np.unique(mask)) <= {0, 255}
    np.testing.assert_array_equal(mask, mask_again)
    np.testing.assert_array_equal(image, again)


@pytest.mark.parametrize("name", NAMES)
def test_the_embedded_server_gives_comfyuis_picture(results, name, record_property):
    ours, our_mask = pair(results(name, "embedded"))
    theirs, their_mask = pair(results(name, "comfyui"))
    np.testing.assert_array_equal(our_mask, their_mask)
    psnr = float("inf") if np.array_equal(ours, theirs) else peak_signal_noise_ratio(theirs, ours)
    record_property("psnr", psnr)
    assert psnr >= AGREEMENT
