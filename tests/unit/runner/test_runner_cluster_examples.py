"""The examples in docs/cluster, tried as far as it goes without SLURM and Kubernetes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
SLURM = ROOT / "docs" / "cluster" / "slurm_array.sh"
KUBERNETES = ROOT / "docs" / "cluster" / "kubernetes_indexed_job.yaml"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A `defectforge` on the path that writes down how it was called, and waits where it is told to."""
    command = tmp_path / "bin" / "defectforge"
    command.parent.mkdir()
    command.write_text(
        '#!/bin/sh\necho "$@" >> "$CALLS"\n'
        'if [ -n "$WAIT" ]; then trap \'echo asked >> "$CALLS"; exit 130\' TERM; echo up >> "$CALLS"; '
        "while true; do sleep 0.05; done; fi\nexit ${CODE:-0}\n"
    )
    command.chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "DEFECTFORGE"))}
    return {**kept, "PATH": f"{command.parent}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls"), "WAIT": ""}


def slurm(environment: dict[str, str], **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", SLURM, "plan.yaml", "/runs/a"],
        env={**environment, **more},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_task_of_the_slurm_array_does_its_part(environment: dict[str, str], tmp_path: Path) -> None:
    assert subprocess.run(["bash", "-n", SLURM], check=False).returncode == 0
    assert slurm(environment, SLURM_ARRAY_TASK_ID="7").returncode == 0
    assert slurm(environment, SLURM_ARRAY_TASK_ID="2", DEFECTFORGE_PARTS="4", CODE="1").returncode == 1
    assert (tmp_path / "calls").read_text().splitlines() == [
        "run --plan plan.yaml --shard 7/16 --out /runs/a/shard-7",
        "run --plan plan.yaml --shard 2/4 --out /runs/a/shard-2",
    ]
    alone = slurm(environment)
    assert alone.returncode != 0
    assert "this runs as a SLURM array" in alone.stderr


def test_the_slurm_script_passes_the_end_of_its_time_on(environment: dict[str, str], tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    task = subprocess.Popen(
        ["bash", SLURM, "plan.yaml", "/runs/a"], env={**environment, "SLURM_ARRAY_TASK_ID": "1", "WAIT": "1"}
    )
    deadline = time.monotonic() + 60
    while not (calls.exists() and "up" in calls.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    task.send_signal(signal.SIGTERM)
    assert task.wait(60) == 130, "the runner's own exit code"
    assert calls.read_text().splitlines()[-1] == "asked"


def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(KUBERNETES.read_text()))


def test_a_pod_of_the_kubernetes_job_does_its_part(environment: dict[str, str], tmp_path: Path) -> None:
    plan, job = documents()
    container = job["spec"]["template"]["spec"]["containers"][0]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    assert int(variables["PARTS"]) == job["spec"]["completions"]
    done = subprocess.run(
        [*container["command"], *container["args"]],
        env={**environment, **variables, "JOB_COMPLETION_INDEX": "0"}, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert (tmp_path / "calls").read_text() == "run --plan /plan/plan.yaml --shard 1/16 --out /runs/shard-1\n"
    from defectforge.runner.commands.requests.request import Request, with_plan_file

    path = tmp_path / "plan.yaml"
    path.write_text(plan["data"]["plan.yaml"])
    assert with_plan_file(Request(), path).count == 10000


def test_the_kubernetes_documents_fit_its_schema() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    for document in documents():
        validate.validate(document, "1.30", strict=True)
