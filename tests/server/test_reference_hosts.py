"""Reference-only in both hosts: the same cases on the embedded server's model and on ComfyUI's, tiny and in fp32.

SDXL, ControlNets and hooks exist in ComfyUI alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).resolve().parents[1] / "tools"
sys.path.insert(0, str(TOOLS))

import comfyui_hosts  # noqa: E402
import reference_cases as cases  # noqa: E402
from reference_harness import Embedded  # noqa: E402


@pytest.fixture(scope="module")
def embedded() -> Iterator[cases.Setup]:
    from defectforge.nodes import host

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny layers: a second thread only waits
    yield cases.Setup(Embedded())
    torch.set_num_threads(threads)
    host.install(None)


@pytest.mark.parametrize("name", [name for name in cases.CASES if name not in cases.COMFYUI_ONLY])
def test_in_the_embedded_server(embedded: cases.Setup, name: str) -> None:
    cases.CASES[name](embedded)


@pytest.fixture(scope="module", params=comfyui_hosts.hosts() or [None], ids=lambda host: host and host.version)
def comfyui(request: pytest.FixtureRequest) -> dict[str, str]:
    """Results of all cases in a ComfyUI's own interpreter, from one process."""
    host = request.param
    if host is None:
        pytest.skip(comfyui_hosts.absent())
    command = [str(host.python), "-B", str(TOOLS / "reference_cases.py"), str(host.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=host.path)
    assert done.returncode == 0, done.stderr[-4000:]
    results: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return results


@pytest.mark.comfyui
@pytest.mark.slow
@pytest.mark.parametrize("name", cases.CASES)
def test_in_comfyui(comfyui: dict[str, str], name: str) -> None:
    assert comfyui[name] == "ok", comfyui[name]
