"""Installed as ComfyUI-Manager does it: the folder, then `pip install -r requirements.txt` in the host's Python."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
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
import utils.install_util  # first, as in main.py: `nodes` puts another `utils` before it
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


def canonical(versions: dict[str, str]) -> dict[str, str]:
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in versions.items()}


def packages(host: comfyui_hosts.Host, python: Path | None = None) -> dict[str, str]:
    """`pip freeze` of the host's environment, or of another one: {package: version}."""
    command = [str(python or host.python), "-m", "pip", "freeze", "--all", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return canonical(dict(line.split("==") for line in done.stdout.splitlines() if line.count("==") == 1))


def test_its_requirements_replace_no_package_of_the_host(comfyui):
    """Asked of pip: what the installation would add, and with which versions."""
    host = comfyui.cell.host
    before = packages(host)
    command = [str(host.python), "-m", "pip", "install", "--dry-run", "-r", str(ROOT / "requirements.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    would = re.search(r"^Would install (.*)$", done.stdout, re.MULTILINE)
    names = {} if would is None else dict(entry.rsplit("-", 1) for entry in would.group(1).split())
    replaced = {name: (before[name], version) for name, version in canonical(names).items() if name in before}
    assert replaced == {}, "packages of the host would be replaced"


def test_after_the_installation_pip_freeze_holds_what_it_held(comfyui, tmp_path):
    """The installation itself, beside the host's packages and not in them: nothing that it finds there is fetched."""
    host = comfyui.cell.host
    before = packages(host)
    site = subprocess.run(
        [str(host.python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.strip()
    made = tmp_path / "environment"
    subprocess.run([str(host.python), "-m", "venv", "--without-pip", str(made)], check=True, timeout=300)
    python = made / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    (own,) = made.rglob("site-packages")
    (own / "host.pth").write_text(site + "\n", encoding="utf-8")
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "-r", str(ROOT / "requirements.txt")], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    after = packages(comfyui_hosts.Host(host.path), python)
    changed = {name: (version, after.get(name)) for name, version in before.items() if after.get(name) != version}
    assert changed == {}, "packages of the host were replaced"
    assert packages(host) == before


def shipped_files(pack: Path) -> dict[Path, str]:
    """Every file in the pack's folder and what it holds."""
    found = [path for path in pack.rglob("*") if path.is_file()]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


@pytest.fixture
def copied_pack(tmp_path: Path) -> Path:
    """The pack's files in a folder of their own, where nobody else works."""
    place = tmp_path / "pack"
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True)
    for name in listed.stdout.split("\0"):
        if name and not name.startswith("tests/") and (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, place / name)
    return place


@pytest.mark.slow
def test_it_adds_little_to_the_host_s_start(comfyui, tmp_path):
    """Time of the processor, not of the clock: other programs may be running.

    Python compiles a pack at its first start and keeps that, unless it is told not to, as test environments may be.
    """
    host = comfyui.cell.host
    command = [str(host.python), "-c", IMPORT.format(root=str(ROOT))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPYCACHEPREFIX": str(tmp_path / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    seconds = []
    for _ in range(3):
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=600, cwd=host.path, env=environment
        )
        assert done.returncode == 0, done.stderr[-2000:]
        seconds.append(float(done.stdout.split("seconds ")[-1]))
    assert min(seconds) <= START, f"median {statistics.median(seconds):.2f} s"


def test_nothing_is_written_outside_the_host_s_folders(comfyui, tmp_path, checkpoints, copied_pack):
    """Neither into the pack's own folder nor into an empty home, and nothing is fetched: no proxy answers the host."""
    home = tmp_path / "home"
    home.mkdir()
    before = shipped_files(copied_pack)
    environment = {
        "HOME": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    base = tmp_path / "base"
    running = comfyui_hosts.running(comfyui.cell, base, checkpoints, pack=copied_pack, environment=environment)
    with running as server:
        assert "DefectForgeLoadMVTec" in server.object_info()
        assert "Failed to initialize database" not in server.log.read_text(encoding="utf-8", errors="replace")
    assert shipped_files(copied_pack) == before
    assert [path for path in home.rglob("*") if path.is_file() and "defectforge" in str(path).lower()] == []


def test_its_log_of_imports_names_it_once(comfyui):
    log = Path(comfyui.log).read_text(encoding="utf-8", errors="replace")
    assert len(re.findall(r"seconds.*custom_nodes/defectforge", log)) == 1
