"""Shipped workflows that an older core cannot run: `check` names what it lacks (test_modern_models.py)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from comfyui_hosts import numbers
from defectforge.runner.graphs.graph import SHIPPED

#: Nodes that came after the oldest core that tests run on, and the first that has them here.
NEWER = {"Flux2Scheduler"}
FIRST = (0, 28)


def skip_if_newer(name: str, comfyui: Any) -> None:
    """Skip, saying which nodes this core does not have."""
    graph = json.loads((SHIPPED / f"{name}.json").read_text(encoding="utf-8"))
    if {node["type"] for node in graph["nodes"]} & NEWER and numbers(comfyui.version) < FIRST:
        pytest.skip(f"ComfyUI {comfyui.version} lacks {', '.join(NEWER)}")
