"""Shared set-up of the runner's unit tests: a tiny dataset, a small graph, and the schema of its nodes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
from made import loader, saver, titled

SEED = ["INT", {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}]
TEXT = ["STRING", {"default": ""}]

OBJECT_INFO: dict[str, Any] = {
    "DefectForgeLoadMVTec": {
        "input": {
            "required": {
                "root": TEXT,
                "category": TEXT,
                "split": ["COMBO", {"options": ["train", "test"]}],
                "type": TEXT,
                "index": ["INT", {"min": 0, "max": 1000000}],
            }
        },
        "output": ["IMAGE", "MASK", "STRING", "INT"],
        "display_name": "Load MVTec Photo",
    },
    "DefectForgePlaceHoleMask": {
        "input": {
            "required": {
                "image": ["IMAGE", {}],
                "seed": SEED,
                "count": ["INT", {"default": 1, "min": 1, "max": 20}],
                "rim": ["FLOAT", {"default": 0.3, "min": 0.0, "max": 1.0}],
                "mode": [["round", "ragged"], {"default": "round"}],
                "cracks": ["BOOLEAN", {"default": True}],
            },
            "optional": {"keep_out": ["MASK", {}]},
        },
        "output": ["MASK", "MASK", "IMAGE"],
        "display_name": "Place Hole Mask",
    },
    "CheckpointLoaderSimple": {
        "input": {"required": {"ckpt_name": [["miniature.safetensors", "random-sd15.safetensors"], {}]}},
        "output": ["MODEL", "CLIP", "VAE"],
        "display_name": "Load Checkpoint",
    },
    "DefectForgeCropForDefect": {
        "input": {"required": {"image": ["IMAGE", {}], "size": ["INT", {"min": 64, "max": 2048}]}},
        "output": ["IMAGE"],
        "display_name": "Working Crop",
    },
    "DefectForgeSaveDefectPair": {
        "input": {
            "required": {
                "image": ["IMAGE", {}],
                "mask": ["MASK", {}],
                "filename_prefix": TEXT,
                "category": TEXT,
                "type": TEXT,
            }
        },
        "output": [],
        "output_node": True,
        "display_name": "Save Defect Pair",
    },
}


@pytest.fixture
def object_info() -> dict[str, Any]:
    return OBJECT_INFO


@pytest.fixture
def graph() -> dict[str, Any]:
    """Good photo -> hole mask -> saved pair."""
    return {
        "1": loader("Good photo"),
        "3": titled(
            "DefectForgePlaceHoleMask", "Hole mask", image=["1", 0], seed=0, count=1, rim=0.3, mode="round", cracks=True
        ),
        "4": saver(),
    }


@pytest.fixture
def with_reference(graph: dict[str, Any]) -> dict[str, Any]:
    """The same graph with a second loader that reads defect photos."""
    return {**graph, "5": loader("Reference defect", "hole", "test")}


@pytest.fixture
def with_checkpoint(graph: dict[str, Any]) -> dict[str, Any]:
    """The same graph with a checkpoint that nobody has and a working crop."""
    return {
        **graph,
        "6": titled("CheckpointLoaderSimple", "Checkpoint", ckpt_name="v1-5-pruned-emaonly-fp16.safetensors"),
        "7": titled("DefectForgeCropForDefect", "Working crop", image=["1", 0], size=512),
    }


def write_photo(path: Path, colour: int, size: tuple[int, int] = (24, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), colour, np.uint8)).save(path)


def write_mask(path: Path, size: tuple[int, int] = (24, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((size[1], size[0]), np.uint8)
    mask[4:9, 4:9] = 255
    Image.fromarray(mask).save(path)


MakePhotos = Callable[..., Path]


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    """A dataset with one category: three good photos, two holes with masks, one hole without, one crack."""
    root = tmp_path / "data"
    category = root / "hazelnut"
    for n in range(3):
        write_photo(category / "train" / "good" / f"{n:03d}.png", 40 + n)
    for n in range(3):
        write_photo(category / "test" / "hole" / f"{n:03d}.png", 80 + n)
    for n in range(2):
        write_mask(category / "ground_truth" / "hole" / f"{n:03d}_mask.png")
    write_photo(category / "test" / "crack" / "000.png", 99)
    return root
