"""Run the tests against every core, window and renderer at hand, and write docs/comfyui_versions.md.

COMFYUI_PATH=ONE:OTHER python tests/tools/comfyui_matrix.py [--state DIR] [--again] [--only NAME]... [--report]
    [--tests NAME...]

A cell is a core by itself, or a core with one window in one renderer; a piece is one file of tests in one cell, one run
of pytest. What a piece gave is kept in the state folder: the command may be stopped at any time, and goes on with the
pieces that are missing, that failed, or whose code has changed since. `--again` begins anew, `--report` only writes the
page from what is there. Several may run at the same time with different `--only` or `--tests`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import comfyui_hosts
import comfyui_page
from comfyui_hosts import ROOT, Cell

SERVER = ROOT / "tests" / "server"
#: What every piece depends on, below the root.
CODE = ["__init__.py", "nodes", "runner", "workflows", "locales", "subgraphs", "requirements.txt"]
#: What tests of a window depend on where they run nothing: the runner only reads graphs and draws nuts for them.
SEEN = ["__init__.py", "nodes", "runner/graphs", "runner/nuts", "workflows", "locales", "subgraphs"]
SETUP = ["tests/conftest.py", "tests/server/conftest.py", "tests/server/comfyui/conftest.py"]
HOSTS = "tests/tools/comfyui_hosts.py"
#: Scripts and help that no test without a window looks at, beside whether they are served.
WINDOW_ONLY = ":!nodes/web/js"

Found = dict[str, Any]


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)


def commit() -> str:
    """The commit, with a plus where anything that the tests depend on was changed since."""
    changed = git("status", "--porcelain", "--", *CODE, "tests").stdout.strip()
    return git("rev-parse", "--short", "HEAD").stdout.strip() + ("+" if changed else "")


@dataclass(frozen=True)
class Piece:
    """One file of tests in one cell."""

    cell: Cell
    tests: Path

    @property
    def name(self) -> str:
        return f"{self.cell.name}/{self.tests.stem}"

    def kept(self, state: Path) -> Path:
        return state / self.cell.name / f"{self.tests.stem}.json"

    def is_current(self, found: Found) -> bool:
        """Whether it passed, and nothing that it depends on differs from the commit that it ran on."""
        if found["failed"] or found["commit"].endswith("+"):
            return False
        text = self.tests.read_text(encoding="utf-8")
        runs = not self.cell.window or "run_headless" in text
        paths = [*(CODE if runs else SEEN), *SETUP, HOSTS, str(self.tests.relative_to(ROOT))]
        paths += ["tests/server/comfyui/saved_by"] if self.cell.window else [WINDOW_ONLY]
        paths += [f"tests/tools/{name}.py" for name in re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)]
        paths += ["tests/tools/reference_*.py"] if "reference" in self.tests.stem else []
        return git("diff", "--quiet", found["commit"], "--", *paths).returncode == 0

    def run(self, state: Path) -> None:
        """Run the piece and keep what it gave; nothing is kept of a run that was stopped."""
        report = self.kept(state).with_suffix(".xml")
        report.parent.mkdir(parents=True, exist_ok=True)
        report.unlink(missing_ok=True)
        begun = commit()
        environment = {**os.environ, "COMFYUI_PATH": str(self.cell.host.path)}
        if self.cell.window:
            environment |= {"COMFYUI_WINDOWS": self.cell.window, "COMFYUI_RENDERERS": self.cell.renderer}
        marks = "browser" if self.cell.window else "comfyui and not browser"
        command = [sys.executable, "-m", "pytest", "-q", "--tb=short", f"--junitxml={report}", "-m", marks]
        done = subprocess.run([*command, str(self.tests)], cwd=ROOT, env=environment, check=False)
        if done.returncode not in (0, 1) or not report.is_file():
            return
        found = read(report) | {"when": time.strftime("%Y-%m-%d %H:%M"), "commit": begun}
        part = self.kept(state).with_suffix(".part")
        part.write_text(json.dumps(found, indent=1), encoding="utf-8")
        part.replace(self.kept(state))


def pieces() -> list[Piece]:
    """Newest core first: by itself, then with each window."""
    hosts = sorted(comfyui_hosts.hosts(), key=lambda host: comfyui_hosts.numbers(host.version), reverse=True)
    files = sorted((SERVER / "comfyui").glob("test_*.py"))
    looking = [path for path in files if path.stem.startswith("test_window_")]
    talking = [path for path in files if path not in looking] + [SERVER / "test_reference_hosts.py"]
    found = []
    for host in hosts:
        found += [Piece(Cell(host), path) for path in talking]
        for cell in comfyui_hosts.cells():
            if cell.host == host:
                found += [Piece(replace(cell, host=host), path) for path in looking]
    return found


def read(report: Path) -> Found:
    """Numbers, failed tests, reasons of skips and recorded properties from pytest's results."""
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None, f"{report} holds no results"
    failed, skipped, properties = [], Counter[str](), {}
    for test in suite.iter("testcase"):
        name = f"{test.get('classname', '').split('.')[-1]}::{test.get('name')}"
        if test.find("failure") is not None or test.find("error") is not None:
            failed.append(name)
        if (skip := test.find("skipped")) is not None:
            skipped[str(skip.get("message"))] += 1
        for entry in test.iter("property"):
            properties.setdefault(name, {})[str(entry.get("name"))] = float(str(entry.get("value")))
    number = int(suite.get("tests", 0))
    return {
        "passed": number - len(failed) - sum(skipped.values()),
        "failed": failed,
        "skipped": dict(skipped),
        "seconds": round(float(suite.get("time", 0))),
        "properties": properties,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Tests on every core, window and renderer at hand.")
    parser.add_argument("--state", type=Path, default=ROOT / ".pytest_cache" / "comfyui_matrix")
    parser.add_argument("--again", action="store_true", help="forget what was run")
    parser.add_argument("--only", action="append", default=[], help="cells whose name begins so; repeatable")
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument("--tests", nargs="+", default=[], help="only files of tests whose name holds one of these")
    given = parser.parse_args()
    wanted = pieces()
    if not wanted:
        print(comfyui_hosts.absent(), file=sys.stderr)
        return 2

    def found(piece: Piece) -> Found | None:
        kept = piece.kept(given.state)
        return json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else None

    for piece in wanted:
        chosen = not given.only or any(piece.cell.name.startswith(name) for name in given.only)
        chosen &= not given.tests or any(name in piece.tests.stem for name in given.tests)
        before = found(piece)
        if given.report or not chosen or (before and piece.is_current(before) and not given.again):
            continue
        print(f"== {piece.name}", flush=True)
        piece.kept(given.state).unlink(missing_ok=True)
        piece.run(given.state)
    cells: dict[Cell, dict[str, Found | None]] = {}
    for piece in wanted:
        cells.setdefault(piece.cell, {})[piece.tests.stem] = found(piece)
    comfyui_page.PAGE.write_text(comfyui_page.page(cells), encoding="utf-8")
    print(f"{comfyui_page.PAGE.relative_to(ROOT)} is written")
    everything = [one for cell in cells.values() for one in cell.values()]
    return 1 if None in everything or any(one["failed"] for one in everything if one) else 0


if __name__ == "__main__":
    sys.exit(main())
