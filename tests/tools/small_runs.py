"""Shipped workflows that both servers run, small and short for random weights: what two runs are compared by."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from defectforge.runner.graphs.export import api_path, core_nodes
from defectforge.runner.graphs.graph import shipped_workflows
from PIL import Image

#: Small and short says as much about agreement as the study's sizes and steps. What random weights paint is compared as
#: it is decoded: no defect stands out of it, and nothing that chooses among draws would keep one.
SMALL = {
    "KSampler": {"steps": 2},
    "KSamplerAdvanced": {"steps": 4, "start_at_step": 1},
    "BasicScheduler": {"steps": 3},
    "DefectForgeCropForDefect": {"size": 128},
    "DefectForgeDenoiseMask": {"size": 128},
    "EmptyLatentImage": {"width": 128, "height": 128},
    "ImageScale": {"width": 128, "height": 128},
}


def in_both() -> list[str]:
    """Workflows that ComfyUI and the embedded server run on the same small files.

    The others need files of their own: newer models (test_modern_models.py), a trained LoRA (test_miniature_parity.py).
    """
    found = []
    for name in shipped_workflows():
        graph = json.loads(api_path(name).read_text(encoding="utf-8"))
        kinds = {node["class_type"] for node in graph.values()}
        if not kinds & {*core_nodes(), "LoraLoader"}:
            found.append(name)
    return found


def with_miniature(name: str, embedded: bool) -> list[str]:
    """Options with which the shipped miniature paints a workflow; skips what ComfyUI has no model for."""
    kinds = {node["class_type"] for node in json.loads(api_path(name).read_text(encoding="utf-8")).values()}
    if "unCLIPCheckpointLoader" in kinds and not embedded:
        pytest.skip("ComfyUI knows no model of miniature-unclip's shape; the runner refuses it there")
    paints = kinds & {"unCLIPCheckpointLoader", "CheckpointLoaderSimple"}
    return ["--type", "hole", *(["--model", "miniature"] if paints else [])]


def pair(out: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The picture and its label; a picture in which nothing is visible has none."""
    category = out / "hazelnut"
    (image,) = [*(category / "test").rglob("*.png"), *(category / "unlabelled").rglob("*.png")]
    masks = [np.asarray(Image.open(path)) for path in (category / "ground_truth").rglob("*_mask.png")]
    assert len(masks) == ("test" in image.relative_to(category).parts)
    return np.asarray(Image.open(image).convert("RGB")), masks[0] if masks else None
