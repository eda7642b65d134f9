"""The command that a report shows, run in a shell as it stands, makes the same pixels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from defectforge.runner.errors import OK


def test_the_command_that_a_report_shows(
    cli: Any, nuts: Path, place_workflow: Path, embedded_server: Any, environment: dict[str, str], tmp_path: Path
) -> None:
    line = ["run", place_workflow, "--data", nuts, "--category", "hazelnut", "--server", embedded_server.url]
    assert cli(*line, "--seed", 1, "--count", 2, "--out", tmp_path / "out").returncode == OK
    assert cli("report", tmp_path / "out").returncode == OK
    shown = json.loads((tmp_path / "out/report.json").read_text())["pairs"][1]["command"]
    place = tmp_path / "else where"
    place.mkdir()
    # As it stands: only where `defectforge` is found is the test's.
    (place / "bin").mkdir()
    program = place / "bin/defectforge"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m defectforge.runner "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        shown, shell=True, cwd=place, env={**environment, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == OK, done.stderr
    assert "1 pairs: the same pixels" in done.stderr
