"""Does a test fail when the runner no longer handles a fault of ComfyUI's protocol? One row of a table for each fault.

    python tests/tools/without_handling.py [WORDS]      only rows that hold these words

Each row takes one handling out of a copy of the clone, and runs the test that is named for it there. "held": the test
fails (or never ends) without it. "NOT HELD" and "STALE" (the lines are not there any more) end with exit code 1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from protocol_faults import FAULTS, Fault

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120
#: Gives tests what the real server answers to /object_info, asked once instead of once a row.
PLUGIN = """
import json, pathlib, types
import pytest

GIVEN = {"known_nodes": json.loads(pathlib.Path(__file__).with_name("object_info.json").read_text()),
         "embedded_server": types.SimpleNamespace(url="http://127.0.0.1:9")}

@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef, request):
    if fixturedef.argname in GIVEN:
        fixturedef.cached_result = (GIVEN[fixturedef.argname], fixturedef.cache_key(request), None)
        return GIVEN[fixturedef.argname]
"""


def clone(target: Path) -> None:
    """The files that git knows of, and those that it does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)


def passes(place: Path, plugin: Path, test: str) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "quick_object_info", test]
    environment = {**os.environ, "PYTHONPATH": str(plugin), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return False
    if done.returncode not in (0, 1):
        raise SystemExit(f"{test}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0


def verdict(fault: Fault, place: Path, plugin: Path) -> str:
    kept: dict[Path, str] = {}
    for name, line, instead in fault.edits:
        path = place / "runner" / name
        text = path.read_text("utf-8")
        kept.setdefault(path, text)
        if text.count(line) != 1:
            for changed, whole in kept.items():
                changed.write_text(whole, "utf-8")
            return f"STALE: {name} has {text.count(line)} times {line.strip()!r}"
        path.write_text(text.replace(line, instead), "utf-8")
    try:
        return "NOT HELD" if passes(place, plugin, fault.test) else "held"
    finally:
        for changed, whole in kept.items():
            changed.write_text(whole, "utf-8")


def main(words: str) -> int:
    sys.path.insert(0, str(ROOT / "tests" / "chaos"))
    from chaos_servers import object_info_of

    wrong = 0
    with tempfile.TemporaryDirectory(prefix="defectforge-faults-") as folder:
        place, plugin = Path(folder) / "clone", Path(folder) / "plugin"
        plugin.mkdir()
        (plugin / "quick_object_info.py").write_text(PLUGIN)
        clone(place)
        given = os.environ.get("OBJECT_INFO")
        shutil.copyfile(given or object_info_of(Path(folder)), plugin / "object_info.json")
        print("| fault | test | without the handling |\n|---|---|---|")
        for fault in FAULTS:
            if words.lower() not in fault.what.lower() + fault.test.lower():
                continue
            said = verdict(fault, place, plugin)
            wrong += said != "held"
            print(f"| {fault.where} {fault.what} | {fault.test.rpartition('/')[2]} | {said} |", flush=True)
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
