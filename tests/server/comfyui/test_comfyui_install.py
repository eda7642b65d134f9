"""Installed as ComfyUI-Manager does it: the folder, then `pip install -r requirements.txt` in the host's Python."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
from pathlib import Path

import comfyui_hosts
import pytest
from defectforge.runner.graphs.graph import SHIPPED

pytestmark = pytest.mark.comfyui

ROOT = SHIPPED.parent
#: Seconds of the processor that the pack may add to the host's start.
START = 0.1

IMPORT = """
import sys
sys.path.insert(0, ".")
sys.argv = ["main.py", "--cpu"]
import comfy.options
comfy.options.enable_args_parsing()
import asyncio, importlib.util, time
import nodes, server, comfy_api.latest, scipy.ndimage
root = {root!r}
start = time.process_time()
spec = importlib.util.spec_from_file_location("pack", root + "/__init__.py", submodule_search_locations=[root])
pack = importlib.util.module_from_spec(spec)
sys.modules["pack"] = pack
spec.loader.exec_module(pack)
async def load():
    for node in await (await pack.comfy_entrypoint()).get_node_list():
        node.GET_SCHEMA()
asyncio.run(load())
print("seconds", time.process_time() - start)
"""


def installed(host: comfyui_hosts.Host) -> str:
    """`pip freeze` of the host's environment."""
    command = [str(host.python), "-m", "pip", "freeze", "--disable-pip-version-check"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


def test_its_requirements_replace_no_package_of_the_host(comfyui):
    host = comfyui.cell.host
    if not os.access(host.path, os.W_OK):
        pytest.skip("the host's environment cannot be written to")
    before = dict(line.split("==") for line in installed(host).splitlines() if "==" in line)
    command = [str(host.python), "-m", "pip", "install", "--dry-run", "-r", str(ROOT / "requirements.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    would = re.search(r"^Would install (.*)$", done.stdout, re.MULTILINE)
    names = {} if would is None else dict(entry.rsplit("-", 1) for entry in would.group(1).split())
    replaced = {
        name: (before[name], version) for name, version in names.items() if before.get(name, version) != version
    }
    assert replaced == {}, "packages of the host would be replaced"


def shipped_files() -> dict[Path, int]:
    """The pack's files and when they were written."""
    folders = ("nodes", "workflows", "runner", "locales", "subgraphs")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    return {p: p.stat().st_mtime_ns for p in found if p.is_file() and "__pycache__" not in p.parts}


@pytest.mark.slow
def test_it_adds_little_to_the_host_s_start(comfyui):
    """Time of the processor, not of the clock: other programs may be running."""
    host = comfyui.cell.host
    command = [str(host.python), "-c", IMPORT.format(root=str(ROOT))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    seconds = []
    for _ in range(3):
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=600, cwd=host.path, env=environment
        )
        assert done.returncode == 0, done.stderr[-2000:]
        seconds.append(float(done.stdout.split("seconds ")[-1]))
    assert min(seconds) <= START, f"median {statistics.median(seconds):.2f} s"


def test_nothing_is_written_outside_the_host_s_folders(comfyui, tmp_path, checkpoints):
    """The pack's folder cannot be written to, and home is empty: the host starts and stays so."""
    home = tmp_path / "home"
    home.mkdir()
    before = shipped_files()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        # No proxy answers: whatever would be downloaded fails.
        patch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        patch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        with comfyui_hosts.running(comfyui.cell, tmp_path / "base", checkpoints) as server:
            assert "DefectForgeLoadMVTec" in server.object_info()
    assert shipped_files() == before
    assert [path for path in home.rglob("*") if path.is_file() and "defectforge" in str(path).lower()] == []


def test_its_log_of_imports_names_it_once(comfyui):
    log = Path(comfyui.log).read_text(encoding="utf-8", errors="replace")
    assert len(re.findall(r"seconds.*custom_nodes/defectforge", log)) == 1
