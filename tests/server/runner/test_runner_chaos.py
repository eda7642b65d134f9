"""Servers and runner are killed, connections cut, the disk filled: nothing is lost, doubled or torn.

The small form; the whole one is `make chaos`.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

CHAOS = Path(__file__).resolve().parents[2] / "chaos" / "chaos.py"


@pytest.fixture(scope="module")
def chaos() -> Any:
    spec = importlib.util.spec_from_file_location("chaos", CHAOS)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["chaos"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="process groups and tmpfs")
def test_a_hundred_jobs_and_six_kills(chaos: Any, known_nodes: dict[str, Any], tmp_path: Path) -> None:
    info = tmp_path / "object_info.json"
    info.write_text(json.dumps(known_nodes))
    starts = [chaos.stub(tmp_path / name, info, 0.05) for name in ("a", "b")]
    report = chaos.run_chaos(tmp_path / "chaos", 100, 6, starts, seed=1)
    assert report.kills == 6 and report.drops >= 2
    assert report.full == (1 if report.disk == "its own" else 0)
    assert report.problems() == []
