"""The tool that runs the tests on every core and window: what it keeps of a run, and the page that it writes of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import comfyui_matrix
import comfyui_page
from comfyui_hosts import Cell, Host

JUNIT = """<testsuites><testsuite tests="4" time="12.4">
<testcase classname="tests.server.test_x" name="test_good[0.28.1-img2img]">
<properties><property name="psnr" value="inf"/></properties></testcase>
<testcase classname="tests.server.test_x" name="test_bad[0.28.1-b]"><failure message="no"/></testcase>
<testcase classname="tests.server.test_x" name="test_broken"><error message="no"/></testcase>
<testcase classname="tests.server.test_x" name="test_left"><skipped message="no subgraphs here"/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    (tmp_path / "comfyui_version.py").write_text('__version__ = "0.28.1"\n')
    return Cell(Host(tmp_path), "1.58.1", "nodes2")


@pytest.fixture
def found(tmp_path: Path) -> dict:
    report = tmp_path / "report.xml"
    report.write_text(JUNIT)
    return comfyui_matrix.read(report) | {"when": "2026-11-27 16:00", "commit": "abc1234"}


def test_failures_errors_skips_and_numbers_are_read(found):
    assert found["passed"] == 1
    assert found["failed"] == ["test_x::test_bad[0.28.1-b]", "test_x::test_broken"]
    assert found["skipped"] == {"no subgraphs here": 1}
    assert found["properties"] == {"test_x::test_good[0.28.1-img2img]": {"psnr": float("inf")}}


def test_the_page_names_what_failed_what_was_skipped_and_what_was_not_run(cell, found):
    page = comfyui_page.page({cell: {"test_window_a": found, "test_window_b": None}})
    result = "1 passed, 2 failed, 1 skipped (not run: test_window_b)"
    assert f"| 0.28.1 | 1.58.1 | Nodes 2.0 | {result} | 2026-11-27 16:00 | abc1234 |" in page
    assert "- failed: `test_x::test_broken`" in page
    assert "- skipped (1): no subgraphs here" in page


def test_agreement_with_the_embedded_server_stands_in_a_table(cell, found):
    other = {"properties": {"test_m::test[0.28.1-img2img]": {"psnr": 92.04, "largest": 1.0}}}
    core = Cell(cell.host)
    ran = {"passed": 1, "failed": [], "skipped": {}, "when": "2026-11-27 16:00", "commit": "abc1234"}
    page = comfyui_page.page({core: {"test_workflow_parity": found, "test_miniature_parity": ran | other}})
    assert "| img2img | equal | 92.0 dB | 1 |" in page


def test_a_piece_runs_again_when_what_it_depends_on_has_changed(cell, monkeypatch):
    asked = []

    class Git:
        returncode = 0

    monkeypatch.setattr(comfyui_matrix, "git", lambda *arguments: asked.append(arguments) or Git)
    piece = comfyui_matrix.Piece(cell, comfyui_matrix.SERVER / "comfyui" / "test_window_models.py")
    passed: dict = {"failed": [], "commit": "abc1234"}
    assert piece.is_current(passed)
    assert {"nodes", "workflows", "tests/server/comfyui/test_window_models.py"} <= set(asked[-1])
    Git.returncode = 1
    assert not piece.is_current(passed)
    Git.returncode = 0
    assert not piece.is_current(passed | {"commit": "abc1234+"}), "it ran on files that no commit holds"
    assert not piece.is_current(passed | {"failed": ["test_x"]})
