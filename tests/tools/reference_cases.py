"""What must hold of reference-only in every host; each case is a function that asserts.

Run by ``tests/server/test_reference_hosts.py``: in this interpreter for the embedded server and, through the command
line below, in ComfyUI's own interpreter for ComfyUI (one JSON object {case: "ok" or what went wrong} as last line).
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from by_location import ROOT, load
from reference_harness import Harness
from reference_setup import CASES, COMFYUI_ONLY, Setup

__all__ = ["CASES", "COMFYUI_ONLY", "Setup", "run"]

SUBJECTS = (
    "parity",
    "architectures",
    "guidance",
    "neutral",
    "cache",
    "runs",
    "local",
    "comfyui",
    "extensions",
    "machinery",
)
for subject in SUBJECTS:
    importlib.import_module(f"reference_cases_{subject}")  # registers its cases


def run(harness: Harness, names: list[str] | None = None) -> dict[str, str]:
    """Run cases; "ok" or the traceback of each."""
    torch.set_num_threads(1)
    setup = Setup(harness)
    results = {}
    for name in names or CASES:
        try:
            CASES[name](setup)
            results[name] = "ok"
        except Exception:
            results[name] = traceback.format_exc()
    return results


def main() -> None:
    """``reference_cases.py COMFYUI_FOLDER [case...]`` in ComfyUI's interpreter."""
    folder, *names = sys.argv[1:]
    sys.path.insert(0, folder)
    sys.argv = [sys.argv[0], "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.model_management
    import folder_paths  # noqa: F401  (its presence tells the nodes that ComfyUI is the host)
    from reference_comfyui import ComfyUI

    load("defectforge", ROOT / "__init__.py", package=True)
    with torch.inference_mode():
        print(json.dumps(run(ComfyUI(), names)))


if __name__ == "__main__":
    main()
