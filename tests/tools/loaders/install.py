"""Make the environments in which exports are loaded back: one a target, outside the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(os.environ.get("DEFECTFORGE_LOADERS", Path.home() / ".cache" / "defectforge-loaders"))
TORCH = "torch==2.13.0"

#: pip's arguments, one call after the other.
PACKAGES: dict[str, list[list[str]]] = {
    "pycocotools": [["pycocotools", "numpy"]],
    "supervision": [["supervision", "numpy", "pillow"]],
    "datumaro": [["datumaro==1.13.12"]],
    "fiftyone": [["fiftyone"]],
    "anomalib": [
        [TORCH],
        ["--no-deps", "torchvision==0.28.0", "anomalib==2.7.0", "timm", "freia", "kornia"],
        [
            TORCH,
            *[
                "docstring-parser",
                "einops",
                "imagecodecs",
                "jsonargparse[signatures]<4.47",
                "lightning>=2.6.4",
                "matplotlib",
                "omegaconf",
            ],
            *[
                "opencv-python-headless",
                "pandas",
                "platformdirs",
                "rich-argparse",
                "scikit-image",
                "scikit-learn",
                "tifffile",
            ],
            *["torchmetrics", "huggingface_hub", "safetensors", "pyyaml", "kornia_rs"],
        ],
    ],
}

OPERATORS = '''"""torchvision's Python half beside a CPU build of torch misses two operator schemas at import."""
import sys


class _BeforeTorchvision:
    done = False

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision" and not self.done:
            _BeforeTorchvision.done = True
            from torch import library

            self.operators = library.Library("torchvision", "DEF")
            sys.modules["_torchvision_operators"] = self
            for operator in ("nms", "qnms"):
                self.operators.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return None


sys.meta_path.insert(0, _BeforeTorchvision())
'''


def python_of(name: str) -> Path:
    return FOLDER / name / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install(name: str) -> None:
    if not python_of(name).exists():
        venv.create(FOLDER / name, with_pip=True)
    for packages in PACKAGES[name]:
        subprocess.run([python_of(name), "-m", "pip", "install", "--quiet", *packages], check=True)
    if name == "anomalib":
        where = "import site; print(site.getsitepackages()[0])"
        site = subprocess.run([python_of(name), "-c", where], capture_output=True, text=True, check=True).stdout.strip()
        (Path(site) / "sitecustomize.py").write_text(OPERATORS)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or PACKAGES:
        install(wanted)
        print(f"{wanted}: {python_of(wanted)}")
