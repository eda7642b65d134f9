"""The shipped miniature: ComfyUI loads it unchanged and draws what the embedded server draws."""

from __future__ import annotations

import hashlib

import pytest
from defectforge.runner.checkpoints import miniature
from skimage.io import imread
from skimage.metrics import peak_signal_noise_ratio

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

#: Twenty steps of a trained network, in decibels over the whole photo.
AGREEMENT = 40.0

WORKFLOWS = ["inpaint_latent_noise", "img2img", "reference_only", "instruct_pix2pix"]


@pytest.fixture(scope="module", autouse=True)
def miniatures(checkpoints):
    """The rebuilt files, in the models folder that both servers use."""
    for name, entry in miniature.table().items():
        path = checkpoints / "checkpoints" / f"{name}.safetensors"
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            miniature.write_checkpoint(name, path)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_miniature_gives_the_same_picture_in_comfyui(run_headless, tmp_path, record_property, name):
    results = {}
    for where in ("comfyui", "embedded"):
        out = tmp_path / where
        (line,) = run_headless(name, out, "--model", "miniature", "--type", "hole", embedded=where == "embedded")
        assert line["server"]["kind"] == where
        (picture,) = (out / "hazelnut" / "test").rglob("*.png")
        results[where] = imread(picture)
    theirs, ours = results["comfyui"], results["embedded"]
    psnr = float("inf") if (theirs == ours).all() else peak_signal_noise_ratio(theirs, ours)
    record_property("psnr", psnr)
    assert psnr >= AGREEMENT
