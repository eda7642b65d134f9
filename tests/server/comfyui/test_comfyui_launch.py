"""`--launch N --comfyui PATH` with real ComfyUIs: they work, come back after a kill, and are gone with the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import comfyui_hosts
import psutil
import pytest
from defectforge.runner.nuts import write_dataset
from made import cheapest

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

#: They cost some milliseconds each, and a ComfyUI takes its time to come back.
MANY = 9000


@pytest.fixture(scope="module")
def home() -> Path:
    found = comfyui_hosts.cores()
    if not found:
        pytest.skip(comfyui_hosts.absent())
    return Path(found[0].host.path)


@pytest.fixture
def run(home: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run of more jobs than are waited for, over two launched ComfyUIs; events on its stdout."""
    write_dataset(tmp_path / "nuts", n_good=1, n_defect=0, size=64, seed=3)
    (tmp_path / "graph.json").write_text(json.dumps(cheapest(64)))
    plan = tmp_path / "plan.yaml"
    values = [f"Mask.value={','.join(f'{1 - n / 1e6:.6f}' for n in range(MANY))}"]
    plan.write_text(
        json.dumps({"workflow": str(tmp_path / "graph.json"), "data": str(tmp_path / "nuts"), "category": "hazelnut",
                    "type": "hole", "new_type": True, "count": 1, "vary": values})
    )  # fmt: skip
    command = [sys.executable, "-m", "defectforge.runner", "run", "--plan", plan, "--out", tmp_path / "out", "--json"]
    process = subprocess.Popen(
        [str(part) for part in [*command, "--launch", 2, "--comfyui", home]],
        env={**os.environ, "TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield process
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def started_by(run: subprocess.Popen[str]) -> list[psutil.Process]:
    """All that a run has started: guards and servers."""
    return psutil.Process(run.pid).children(recursive=True)


def server_at(run: subprocess.Popen[str], url: str) -> psutil.Process:
    """The ComfyUI that listens there, not its guard."""
    port = url.rpartition(":")[2]
    (found,) = (one for one in started_by(run) if port in one.cmdline() and "guard.py" not in " ".join(one.cmdline()))
    return found


def test_two_work_a_killed_one_comes_back_and_none_outlives_the_run(run: subprocess.Popen[str], tmp_path: Path) -> None:
    assert run.stdout is not None
    done: dict[str, int] = {}
    killed: psutil.Process | None = None
    for line in run.stdout:
        event = json.loads(line)
        if event["event"] != "done":
            continue
        done[event["server"]] = done.get(event["server"], 0) + 1
        if killed is None and len(done) == 2 and min(done.values()) >= 10:
            killed = server_at(run, event["server"])
            killed.kill()
        if len(done) == 3 and min(done.values()) >= 5:
            break  # a third address: the killed one came back at another port, and works
    assert killed is not None and run.poll() is None, f"the run ended with {done}"
    left = started_by(run)
    assert len(left) == 4, "two servers, and the guard of each"
    run.kill()
    run.wait()
    _, alive = psutil.wait_procs(left, timeout=10)
    assert [one for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
    images = {path.stem for path in (tmp_path / "out" / "hazelnut" / "test").rglob("*.png")}
    masks = {path.stem.removesuffix("_mask") for path in (tmp_path / "out" / "hazelnut").rglob("*_mask.png")}
    assert images <= masks and len(images) >= sum(done.values())
