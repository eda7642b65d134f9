"""The client is light: what talks to servers loads no torch, and a bare installation says what is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

PREPARE = """
import importlib, pkgutil, sys
import defectforge.runner as runner
for module in pkgutil.iter_modules(runner.__path__):
    if module.name not in ("embedded", "__main__"):
        importlib.import_module(f"defectforge.runner.{module.name}")
heavy = {"torch", "diffusers", "transformers", "aiohttp", "comfy_api"} & set(sys.modules)
assert not heavy, heavy
ours = {name for name in sys.modules if name.startswith("defectforge.nodes.")}
assert all(name.startswith("defectforge.nodes.datasets") for name in ours), ours
"""

WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None
from defectforge.runner.__main__ import main
main(sys.argv[2:])
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_no_module_of_the_client_loads_torch_or_a_node() -> None:
    done = python(PREPARE)
    assert done.returncode == 0, done.stderr


def test_a_missing_extra_is_named() -> None:
    done = python(WITHOUT, "click", "models")
    assert done.returncode == 1
    assert "pip install 'defectforge[runner]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("module", "package", "extra", "command"),
    [
        ("sklearn", "scikit-learn", "benefit", "benefit --drawn"),
        ("peft", "peft", "lora", "lora --data . --type hole --out hole.safetensors"),
        ("prometheus_client", "prometheus-client", "runner", "run inpaint --data . --metrics metrics.prom"),
    ],
)
def test_a_command_names_the_extra_that_it_lacks(module: str, package: str, extra: str, command: str) -> None:
    done = python(WITHOUT, module, *command.split())
    assert done.returncode == 2, done.stderr
    assert f"needs one more package: {package}" in done.stderr
    assert f"pip install 'defectforge[{extra}]'" in done.stderr
