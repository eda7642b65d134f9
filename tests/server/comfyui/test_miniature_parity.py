"""The shipped miniature: ComfyUI loads it unchanged and draws what the embedded server draws, in every workflow."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from defectforge.runner.nuts import write_dataset
from skimage.io import imread
from skimage.metrics import peak_signal_noise_ratio
from small_runs import in_both, with_miniature

pytestmark = [pytest.mark.comfyui, pytest.mark.slow, pytest.mark.usefixtures("miniatures")]

#: Of 255: what the finished pictures may differ by after the workflow's own number of steps.
AGREEMENT = 1
#: What is promised of a LoRA, in decibels over the whole photo.
PROMISED = 45.0


def picture_of(out: Path) -> np.ndarray:
    (path,) = [*(out / "hazelnut" / "test").rglob("*.png"), *(out / "hazelnut" / "unlabelled").rglob("*.png")]
    return imread(path).astype(int)


@pytest.mark.parametrize("name", in_both())
def test_the_miniature_gives_the_same_picture_in_comfyui(run_headless, tmp_path, record_property, name):
    found = {}
    for where in ("comfyui", "embedded"):
        out = tmp_path / where
        embedded = where == "embedded"
        (line,) = run_headless(name, out, *with_miniature(name, embedded), embedded=embedded)
        assert line["server"]["kind"] == where
        found[where] = picture_of(out)
    theirs, ours = found["comfyui"], found["embedded"]
    largest = int(abs(theirs - ours).max())
    record_property("psnr", float("inf") if largest == 0 else peak_signal_noise_ratio(theirs, ours, data_range=255))
    record_property("largest", largest)
    assert largest <= AGREEMENT


@pytest.fixture(scope="module")
def trained_lora(checkpoints, tmp_path_factory):
    """A file of `defectforge lora`, trained short and hard: enough to change what is drawn."""
    pytest.importorskip("peft", reason="the extra `lora` is not installed")
    data, out = tmp_path_factory.mktemp("stains"), checkpoints / "loras" / "parity-stain.safetensors"
    write_dataset(data, n_good=2, n_defect=2, size=128, seed=60, kinds=("stain",))
    out.unlink(missing_ok=True)
    shutil.rmtree(out.with_name(out.name + ".training"), ignore_errors=True)
    model = checkpoints / "checkpoints" / "miniature.safetensors"
    line = [sys.executable, "-m", "defectforge.runner", "lora", "--data", data, "--type", "stain", "--model", model]
    line += ["--out", out, "--steps", 8, "--batch", 1, "--learning-rate", 0.02, "--threads", 1, "--device", "cpu"]
    done = subprocess.run([str(part) for part in line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("name", ["lora_inpaint", "lora_reference_local"])
def test_a_trained_lora_gives_the_same_picture_in_comfyui(
    run_headless, comfyui, trained_lora, tmp_path, record_property, name
):
    results = {}
    for where, strength in (("comfyui", 1), ("embedded", 1), ("embedded", 0)):
        out = tmp_path / f"{where}-{strength}"
        options = ["--model", "miniature", "--type", "hole", "--lora", trained_lora.name]
        options += ["--set", f"LoRA.strength_model={strength}", "--set", "Keep best.thresholds="]
        (line,) = run_headless(name, out, *options, embedded=where == "embedded")
        assert next(m for m in line["models"] if m["folder"] == "loras")["trained_on"]["photos"]
        (picture,) = (out / "hazelnut" / "test").rglob("*.png")
        results[where, strength] = imread(picture)
    theirs, ours = results["comfyui", 1], results["embedded", 1]
    psnr = float("inf") if (theirs == ours).all() else peak_signal_noise_ratio(theirs, ours)
    record_property("psnr", psnr)
    assert psnr >= PROMISED
    assert peak_signal_noise_ratio(results["embedded", 0], ours) < PROMISED, "it changes what is drawn"
