"""The client is light: what talks to servers loads no torch, and a bare installation says what is missing."""

from __future__ import annotations

import subprocess
import sys

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

WITHOUT_CLICK = """
import sys
sys.modules["click"] = None
from defectforge.runner.__main__ import main
main(["models"])
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


def test_no_module_of_the_client_loads_torch_or_a_node() -> None:
    done = python(PREPARE)
    assert done.returncode == 0, done.stderr


def test_a_missing_extra_is_named() -> None:
    done = python(WITHOUT_CLICK)
    assert done.returncode == 1
    assert "pip install 'defectforge[runner]'" in done.stderr
    assert "Traceback" not in done.stderr
