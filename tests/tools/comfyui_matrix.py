"""Run the tests against every core, window and renderer at hand, and write docs/comfyui_versions.md.

COMFYUI_PATH=ONE:OTHER python tests/tools/comfyui_matrix.py [--state DIR] [--again] [--only NAME]... [--report]
    [--tests PATH...]

Each cell (a core by itself; a core with one window in one renderer) is one run of pytest. What a cell gave is kept in
the state folder, for the commit that it ran on: the same command goes on where it stopped, `--again` begins anew,
`--report` only writes the page from what is there. With `--tests` a cell is run in part, and the page says so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import comfyui_hosts
from comfyui_hosts import ROOT, Cell

PAGE = ROOT / "docs" / "comfyui_versions.md"
TESTS = ["tests/server/comfyui", "tests/server/test_reference_hosts.py"]


def commit() -> str:
    """The commit, and whether anything was changed since."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    return head.strip() + ("+" if dirty.strip() else "")


def matrix() -> list[Cell]:
    """Newest core first: by itself, then with each window."""
    hosts = sorted(comfyui_hosts.hosts(), key=lambda host: comfyui_hosts.numbers(host.version), reverse=True)
    looked_at = comfyui_hosts.cells()
    found = []
    for host in hosts:
        found += [Cell(host), *(replace(cell, host=host) for cell in looked_at if cell.host == host)]
    return found


def run(cell: Cell, report: Path, tests: list[str]) -> None:
    """The tests of one cell; pytest writes its results to `report`."""
    environment = {**os.environ, "COMFYUI_PATH": str(cell.host.path)}
    if cell.window:
        environment |= {"COMFYUI_WINDOWS": cell.window, "COMFYUI_RENDERERS": cell.renderer}
    marks = "browser" if cell.window else "comfyui and not browser"
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", f"--junitxml={report}", "-m", marks, *tests]
    subprocess.run(command, cwd=ROOT, env=environment, check=False)


def read(report: Path) -> dict[str, Any]:
    """Numbers, failed tests and reasons of skips from pytest's results."""
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None, f"{report} holds no results"
    failed, skipped, psnr = [], Counter[str](), {}
    for test in suite.iter("testcase"):
        name = f"{test.get('classname', '').split('.')[-1]}::{test.get('name')}"
        if test.find("failure") is not None or test.find("error") is not None:
            failed.append(name)
        if (skip := test.find("skipped")) is not None:
            skipped[str(skip.get("message"))] += 1
        for entry in test.iter("property"):
            if str(entry.get("name")).startswith("psnr"):
                psnr[name] = float(str(entry.get("value")))
    number = int(suite.get("tests", 0))
    return {
        "passed": number - len(failed) - sum(skipped.values()),
        "failed": failed,
        "skipped": dict(skipped),
        "seconds": round(float(suite.get("time", 0))),
        "psnr": psnr,
    }


def row(cell: Cell, found: dict[str, Any] | None) -> str:
    names = [cell.host.version, cell.window or "-", {"nodes2": "Nodes 2.0"}.get(cell.renderer, cell.renderer) or "-"]
    if found is None:
        return f"| {' | '.join(names)} | not run | | |"
    result = f"{found['passed']} passed, {len(found['failed'])} failed, {sum(found['skipped'].values())} skipped"
    if found.get("part"):
        result += f" (in part: {found['part']})"
    return f"| {' | '.join(names)} | {result} | {found['when']} | {found['commit']} |"


def page(cells: list[Cell], state: dict[str, dict[str, Any]]) -> str:
    lines = [
        "# ComfyUI versions",
        "",
        "What the tests gave on real ComfyUIs, on a CPU: each core by itself (nodes, protocol, pixels beside the",
        "embedded server), and with each window (package comfyui-frontend-package) in each of its renderers.",
        "`COMFYUI_PATH=ONE:OTHER python tests/tools/comfyui_matrix.py` runs them and writes this page.",
        "",
        "| core | window | nodes drawn by | result | when | commit |",
        "|---|---|---|---|---|---|",
        *(row(cell, state.get(cell.name)) for cell in cells),
        "",
    ]
    for cell in cells:
        found = state.get(cell.name)
        if found is None:
            continue
        notes = [f"- failed: `{name}`" for name in found["failed"]]
        notes += [f"- skipped ({count}): {reason}" for reason, count in found["skipped"].items()]
        if found["psnr"]:
            least = min(found["psnr"], key=lambda name: found["psnr"][name])
            notes.append(f"- least agreement of pictures: {found['psnr'][least]:.1f} dB (`{least}`)")
        if notes:
            lines += [f"**{cell.name}**", "", *notes, ""]
    lines += [
        "Newer cores than these (0.46 was current when this was written) are expected to work, not tested: nothing of",
        "the node interface that the pack uses was removed in the files at hand, and what newer cores put around a",
        "model call is simulated in `tests/tools/reference_cases_machinery.py`.",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Tests on every core, window and renderer at hand.")
    parser.add_argument("--state", type=Path, default=ROOT / ".pytest_cache" / "comfyui_matrix")
    parser.add_argument("--again", action="store_true", help="forget what was run")
    parser.add_argument("--only", action="append", default=[], help="cells whose name begins so; repeatable")
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument("--tests", nargs="+", default=[], help="only these files or tests")
    given = parser.parse_args()
    cells = matrix()
    if not cells:
        print(comfyui_hosts.absent(), file=sys.stderr)
        return 2
    given.state.mkdir(parents=True, exist_ok=True)
    kept = given.state / "results.json"
    state: dict[str, dict[str, Any]] = {}
    if kept.is_file() and not given.again:
        state = json.loads(kept.read_text(encoding="utf-8"))
    now = commit()
    for cell in cells:
        wanted = not given.only or any(cell.name.startswith(name) for name in given.only)
        done = cell.name in state and state[cell.name]["commit"] == now and not state[cell.name].get("part")
        if given.report or not wanted or done:
            continue
        print(f"== {cell.name}", flush=True)
        report = given.state / f"{cell.name}.xml"
        report.unlink(missing_ok=True)
        run(cell, report, given.tests or TESTS)
        if report.is_file():
            state[cell.name] = read(report) | {"when": time.strftime("%Y-%m-%d %H:%M"), "commit": now}
            if given.tests:
                state[cell.name]["part"] = ", ".join(Path(test.split("::")[0]).stem for test in given.tests)
            kept.write_text(json.dumps(state, indent=1), encoding="utf-8")
        PAGE.write_text(page(cells, state), encoding="utf-8")
    PAGE.write_text(page(cells, state), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} is written")
    missing = [cell.name for cell in cells if cell.name not in state]
    return 1 if missing or any(found["failed"] for found in state.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
