"""The embedded server with a few nodes more, by which tests can look into an execution and hold it up."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.pop(0)
spec = importlib.util.spec_from_file_location(
    "defectforge", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
)
sys.modules["defectforge"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["defectforge"])

import torch  # noqa: E402
from defectforge.nodes import host  # noqa: E402
from defectforge.runner.embedded.execution import memory  # noqa: E402
from defectforge.runner.embedded.execution.registry import NodeResult, core_node  # noqa: E402
from defectforge.runner.embedded.protocol import app  # noqa: E402
from PIL import Image  # noqa: E402

runs: dict[str, int] = {}
unloads = [0]


@memory.on_unload
def count_unload() -> None:
    unloads[0] += 1


def counted(name: str) -> int:
    runs[name] = runs.get(name, 0) + 1
    return runs[name]


@core_node(
    "ProbeValue",
    category="probe",
    inputs={"required": {"name": ("STRING", {"default": "a"}), "value": ("INT", {"default": 0, "min": 0, "max": 9})}},
    outputs=[("INT", "INT"), ("INT", "runs")],
)
def probe_value(name, value):
    return value, counted(name)


@core_node(
    "ProbeShow",
    category="probe",
    output_node=True,
    inputs={"required": {"value": ("INT", {})}, "optional": {"other": ("INT", {})}},
    outputs=[("INT", "INT")],
)
def probe_show(value, other=None):
    return NodeResult((value,), {"value": [value], "other": [other], "unloads": [unloads[0]]})


@core_node(
    "ProbeLoop",
    category="probe",
    inputs={
        "required": {
            "gate": ("STRING", {"tooltip": "runs until this file exists"}),
            "listens": ("BOOLEAN", {"default": True, "tooltip": "whether it can be interrupted"}),
        },
        "optional": {"value": ("INT", {"default": 0})},
    },
    outputs=[("INT", "INT")],
)
def probe_loop(gate, listens, value=0):
    bar = host.current().progress(100)
    pause = threading.Event()
    bar.update_absolute(1, preview=Image.new("RGB", (640, 320), (255, 0, 0)))
    while not Path(gate).exists():
        if listens:
            bar.update_absolute(2)
        pause.wait(0.02)
    return (value,)


@core_node(
    "ProbeSteps",
    category="probe",
    inputs={"required": {"steps": ("INT", {"default": 3})}},
    outputs=[("INT", "INT")],
)
def probe_steps(steps):
    bar = host.current().progress(steps)
    for _ in range(steps):
        bar.update()
    return (steps,)


@core_node(
    "ProbeLazy",
    category="probe",
    inputs={
        "required": {
            "which": (["left", "right"],),
            "left": ("INT", {"lazy": True}),
            "right": ("INT", {"lazy": True}),
        }
    },
    outputs=[("INT", "INT")],
    check_lazy_status=lambda which, left, right: [which] if {"left": left, "right": right}[which] is None else [],
)
def probe_lazy(which, left, right):
    return ({"left": left, "right": right}[which],)


@core_node(
    "ProbeFile",
    category="probe",
    inputs={"required": {"path": ("STRING", {})}},
    outputs=[("INT", "INT")],
    is_changed=lambda path: Path(path).read_text(),
    validate=lambda path: True if Path(path).is_file() else f"no such file: {path}",
)
def probe_file(path):
    return (int(Path(path).read_text()),)


@core_node(
    "ProbeFail",
    category="probe",
    inputs={"required": {"how": (["error", "memory", "exit"],), "value": ("INT", {"default": 7})}},
    outputs=[("INT", "INT")],
)
def probe_fail(how, value):
    if how == "error":
        raise ValueError("the probe fails as asked")
    if how == "memory":
        raise torch.OutOfMemoryError("no memory left on the probe")
    os._exit(137)


@core_node(
    "ProbeBadValidation",
    category="probe",
    inputs={"required": {"value": ("INT", {})}},
    outputs=[("INT", "INT")],
    validate=lambda value: 1 // 0 > 0,
)
def probe_bad_validation(value):
    return (value,)


if __name__ == "__main__":
    app.leave(app.main())
