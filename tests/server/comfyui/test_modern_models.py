"""SDXL and FLUX.2 klein through the shipped workflows, on tiny random weights in a real ComfyUI.

What this shows: the files load, the graphs run, nothing outside the mask changes, a reference is looked at, and what
does not fit is refused in words. It says nothing of how pictures look.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import comfyui_hosts
import numpy as np
import pytest
from comfyui_hosts import ComfyUI
from defectforge.nodes.algorithms import run_length
from defectforge.nodes.algorithms.compositing.denoise import paintable
from defectforge.runner.graphs.export import api_path
from defectforge.runner.graphs.graph import by_title
from PIL import Image

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

TOOLS = Path(__file__).resolve().parents[2] / "tools"
ROOT = TOOLS.parents[1]
#: The first core that is tried with them; older ones lack nodes, and options that the stand-ins need.
FIRST = (0, 28, 1)
SIZE = 128
WORKFLOWS = ("sdxl_inpaint", "sdxl_inpaint_unet", "sdxl_reference_local", "klein_defect_local")
FILES = {
    "Checkpoint.ckpt_name": "tiny-sdxl.safetensors",
    "Inpainting UNet.unet_name": "tiny-sdxl-inpaint.safetensors",
    "Diffusion model.unet_name": "tiny-klein.safetensors",
    "Text encoder.clip_name": "tiny-qwen.safetensors",
    "VAE.vae_name": "tiny-flux2-vae.safetensors",
}
#: Random weights paint no defect that scores would pass, and a random decoder smears what it paints: so much room that
#: the smear, too, lies inside. Without etched lines, which are drawn where no model paints.
ASIDE = {
    "Keep best.thresholds": "",
    "Blend defect.etch": 0,
    "Denoise mask.grow": 0,
    "Denoise mask.feather": 32,
    "Denoise mask.thinnest": 0,
}
SMALL = {"Working crop.size": SIZE, "Denoise mask.size": SIZE, "Reference crop.size": SIZE}
FAST = {"Steps.width": SIZE, "Steps.height": SIZE, "Steps.steps": 4, "Sampler.steps": 2}

Settings = dict[str, Any]


def graph_of(name: str) -> dict[str, Any]:
    graph: dict[str, Any] = json.loads(api_path(name).read_text(encoding="utf-8"))
    return graph


def settings(name: str, **changes: Any) -> Settings:
    """Those of the settings whose nodes the workflow has."""
    inputs = {(node["_meta"]["title"], key) for node in graph_of(name).values() for key in node["inputs"]}
    wanted = {**FILES, **ASIDE, **SMALL, **FAST}
    return {key: value for key, value in wanted.items() if tuple(key.rsplit(".", 1)) in inputs} | changes


@pytest.fixture(scope="module")
def modern(comfyui: ComfyUI) -> ComfyUI:
    """A ComfyUI with the stand-ins among its models."""
    if comfyui_hosts.numbers(comfyui.version) < FIRST:
        pytest.skip(f"ComfyUI {comfyui.version} is older than {'.'.join(map(str, FIRST))}")
    host = comfyui.cell.host
    command = [str(host.python), "-B", str(TOOLS / "tiny_models.py"), str(host.path), str(comfyui.models)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=host.path)
    assert done.returncode == 0, done.stderr[-3000:]
    return comfyui


def defectforge(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "defectforge.runner", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=900, check=False)


def attempted(name: str, server: str, data: Path, out: Path, changes: Settings, *options: str) -> Any:
    sets = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    place = ["--data", str(data), "--category", "hazelnut", "--count", "1", "--seed", "5", "--out", str(out)]
    return defectforge("run", name, "--server", server, *place, *sets, *options)


def made(name: str, server: str, data: Path, out: Path, changes: Settings, *options: str) -> list[dict[str, Any]]:
    done = attempted(name, server, data, out, changes, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def repainted(record: dict[str, Any], changes: Settings) -> np.ndarray:
    """Where the model was let paint: the denoise mask with its feather, from the recorded request."""
    requested = run_length.decode(record["requested"])
    grow, feather = changes["Denoise mask.grow"], changes["Denoise mask.feather"]
    return paintable(requested, SIZE, 0.0, grow, feather, changes["Denoise mask.thinnest"]).denoise > 0


@pytest.fixture(scope="session")
def odd_nuts(nuts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same photos with odd sides."""
    root = tmp_path_factory.mktemp("data") / "odd"
    for path in nuts.rglob("*.png"):
        target = root / path.relative_to(nuts)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).crop((3, 2, 254, 235)).save(target)
    return root


CASES = {
    "one": ({}, ()),
    "two-of-odd-size": ({}, ("--draws", "2", "--keep", "2")),
    # A hole of some ten pixels in a photo of 256.
    "small-mask": ({"Hole mask.min_size": 0.0005, "Hole mask.max_size": 0.0006, "Hole mask.max_cracks": 0}, ()),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", WORKFLOWS)
def test_nothing_outside_the_feather_changes(modern, nuts, odd_nuts, tmp_path, name, case):
    changes, options = CASES[case]
    changes = settings(name, **changes)
    data = odd_nuts if "odd" in case else nuts
    records = made(name, modern.url, data, tmp_path / "out", changes, *options)
    assert len(records) == (2 if options else 1)
    for record in records:
        before = picture(data / record["source"]["path"])
        after = picture(tmp_path / "out" / record["image"]["path"])
        label = np.asarray(Image.open(tmp_path / "out" / record["mask"]["path"])) > 0
        area = repainted(record, changes)
        assert after.shape == before.shape
        assert np.abs(after - before)[~area].max() == 0
        assert label.any() and not (label & ~area).any()
        assert np.abs(after - before)[label].max() > 16
    assert len({record["image"]["sha256"] for record in records}) == len(records)


@pytest.mark.parametrize("name", ["sdxl_reference_local", "klein_defect_local"])
def test_the_same_seed_gives_the_same_pixels_and_another_reference_others(modern, nuts, tmp_path, name):
    other = tmp_path / "other"
    for path in nuts.rglob("*.png"):
        target = other / path.relative_to(nuts)
        target.parent.mkdir(parents=True, exist_ok=True)
        shown = Image.open(path)
        defective = "test" in target.parts and "ground_truth" not in target.parts
        (shown.convert("RGB").point(lambda value: 255 - value) if defective else shown).save(target)
    shown = []
    for number, data in enumerate((nuts, nuts, other)):
        out = tmp_path / f"out{number}"
        (record,) = made(name, modern.url, data, out, settings(name))
        shown.append((record["source"]["sha256"], picture(out / record["image"]["path"])))
    (source, first), (_, again), (same_source, differing) = shown
    assert source == same_source
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - differing).max() > 0


@pytest.mark.parametrize("name", WORKFLOWS)
def test_check_finds_nothing_wrong_but_the_files_that_are_not_there(modern, name):
    done = defectforge("check", name, "--server", modern.url)
    assert done.returncode == 2
    problems = re.findall(r"^(?:error: |\d+\. )(?!\d+ problems)(.*)$", done.stderr, re.MULTILINE)
    assert problems and all("the server has no" in line and " file '" in line for line in problems), done.stderr
    # Each with its folder and its hash.
    for node in graph_of(name).values():
        for key, value in node["inputs"].items():
            if key in ("ckpt_name", "unet_name", "clip_name", "vae_name"):
                assert value in done.stderr
    assert done.stderr.count("sha256 ") >= 1 and "https://huggingface.co/" in done.stderr


def test_check_names_what_an_older_core_lacks(comfyui):
    if comfyui_hosts.numbers(comfyui.version) >= FIRST:
        pytest.skip(f"ComfyUI {comfyui.version} has the nodes")
    done = defectforge("check", "klein_defect_local", "--server", comfyui.url)
    assert done.returncode == 2
    assert "'Flux2Scheduler'" in done.stderr and "ComfyUI itself 0.28.1" in done.stderr


UNFIT = {
    "a size that FLUX.2's cells do not divide": (
        "klein_defect_local",
        {"Working crop.size": 136, "Denoise mask.size": 136},
        "latent cells of 16 px",
    ),
    "reference-only on FLUX.2": ("sdxl_reference_local", {}, "reference-only needs the UNet of Stable Diffusion"),
    "the VAE of another family": ("sdxl_inpaint", {}, "its latents have 128 channels, but the model samples 4"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_does_not_fit_is_refused_in_words(modern, nuts, tmp_path, case):
    name, changes, words = UNFIT[case]
    graph = graph_of(name)
    if "reference-only" in words:
        graph["90"] = {"class_type": "UNETLoader", "inputs": {"unet_name": FILES["Diffusion model.unet_name"],
                       "weight_dtype": "default"}, "_meta": {"title": "Other model"}}  # fmt: skip
        graph[by_title(graph, "Reference-only")]["inputs"]["model"] = ["90", 0]
    if "channels" in words:
        graph["90"] = {"class_type": "VAELoader", "inputs": {"vae_name": FILES["VAE.vae_name"]},
                       "_meta": {"title": "Other VAE"}}  # fmt: skip
        graph[by_title(graph, "Masked content")]["inputs"]["vae"] = ["90", 0]
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps(graph), encoding="utf-8")
    done = attempted(str(path), modern.url, nuts, tmp_path / "out", settings(name, **changes))
    assert done.returncode == 1, done.stdout + done.stderr
    assert words in done.stdout + done.stderr


def test_a_dataset_without_defects_has_no_reference(modern, nuts, tmp_path):
    data = tmp_path / "good-only"
    for path in (nuts / "hazelnut" / "train").rglob("*.png"):
        target = data / path.relative_to(nuts)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, target)
    done = attempted("klein_defect_local", modern.url, data, tmp_path / "out", settings("klein_defect_local"))
    assert done.returncode == 2
    assert "defect" in done.stderr and "Traceback" not in done.stderr
