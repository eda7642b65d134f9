"""docs/comfyui_versions.md, written from what tests/tools/comfyui_matrix.py kept of its runs."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from comfyui_hosts import ROOT, Cell

PAGE = ROOT / "docs" / "comfyui_versions.md"

#: Of one cell: {file of tests: what it gave, None where it was not run}.
Results = dict[str, dict[str, Any] | None]

INTRODUCTION = """\
# ComfyUI versions

What the tests gave on real ComfyUIs, on a CPU: each core by itself (nodes, protocol, pixels beside the embedded
server), and with each window (package comfyui-frontend-package) in each of its renderers.
`COMFYUI_PATH=ONE:OTHER python tests/tools/comfyui_matrix.py` runs them, goes on where it was stopped, and writes this
page. The commit says on what each result was seen.
"""

EXPECTED = """\
## Newer cores

Newer cores than these (0.46 was current when this was written) are expected to work, not tested: nothing of the node
interface that the pack uses was removed in the files at hand, and what newer cores put around a model call is simulated
in `tests/tools/reference_cases_machinery.py`.
"""


def row(cell: Cell, results: Results) -> str:
    names = [cell.host.version, cell.window or "-", {"nodes2": "Nodes 2.0"}.get(cell.renderer, cell.renderer) or "-"]
    ran = [found for found in results.values() if found]
    if not ran:
        return f"| {' | '.join(names)} | not run | | |"
    passed, failed = sum(found["passed"] for found in ran), sum(len(found["failed"]) for found in ran)
    result = f"{passed} passed, {failed} failed, {sum(sum(found['skipped'].values()) for found in ran)} skipped"
    if missing := [name for name, found in results.items() if not found]:
        result += f" (not run: {', '.join(missing)})"
    when = sorted(found["when"] for found in ran)
    commits = dict.fromkeys(found["commit"] for found in sorted(ran, key=lambda found: found["when"]))
    last = when[-1] if when[0] == when[-1] else f"{when[0]} to {when[-1].removeprefix(when[0][:10]).strip()}"
    return f"| {' | '.join(names)} | {result} | {last} | {', '.join(commits)} |"


def notes(cell: Cell, results: Results) -> list[str]:
    """Failed tests and reasons of skips of one cell."""
    lines, skipped = [], Counter[str]()
    for found in results.values():
        if found:
            lines += [f"- failed: `{name}`" for name in found["failed"]]
            skipped.update(found["skipped"])
    lines += [f"- skipped ({count}): {reason}" for reason, count in skipped.items()]
    return [f"**{cell.name}**", "", *lines, ""] if lines else []


def _case(test: str) -> str:
    """What a test was about: `test_x[0.28.1-img2img]` -> img2img."""
    return test.partition("[")[2].removesuffix("]").partition("-")[2]


def _decibels(value: float | None) -> str:
    if value is None:
        return ""
    return "equal" if value in (float("inf"), 200.0) else f"{value:.1f} dB"


def parity(cell: Cell, results: Results) -> list[str]:
    """Shipped workflows beside the embedded server, and the least of the single samplers, schedules and nodes."""
    random, small = ((results.get(name) or {}) for name in ("test_workflow_parity", "test_miniature_parity"))
    rows: dict[str, list[str]] = {}
    for column, found in enumerate((random, small)):
        for test, values in found.get("properties", {}).items():
            said = rows.setdefault(_case(test), ["", "", ""])
            said[column] = _decibels(values.get("psnr"))
            if "largest" in values:
                said[2] = f"{values['largest']:.0f}"
    lines = [
        f"### ComfyUI {cell.host.version}",
        "",
        "| workflow | random weights of full size | the shipped miniature | its largest difference, of 255 |",
        "|---|---|---|---|",
        *(f"| {name} | {' | '.join(said)} |" for name, said in sorted(rows.items())),
        "",
    ]
    single = (results.get("test_sampling_parity") or {}).get("properties", {})
    measured = {_case(test): values["psnr_db"] for test, values in single.items() if "psnr_db" in values}
    if measured:
        least = min(measured, key=lambda name: measured[name])
        equal = sum(value == 200.0 for value in measured.values())
        lines += [
            f"Of {len(measured)} single samplers, schedules and nodes {equal} gave equal pictures; least: "
            f"{measured[least]:.1f} dB ({least}).",
            "",
        ]
    return lines if rows or measured else []


def page(cells: dict[Cell, Results]) -> str:
    lines = [INTRODUCTION]
    lines += ["| core | window | nodes drawn by | result | when | commit |", "|---|---|---|---|---|---|"]
    lines += [row(cell, results) for cell, results in cells.items()]
    lines.append("")
    for cell, results in cells.items():
        lines += notes(cell, results)
    compared = [line for cell, results in cells.items() if not cell.window for line in parity(cell, results)]
    if compared:
        lines += [
            "## The embedded server beside ComfyUI",
            "",
            "The same workflow, checkpoint and seed in both, on a CPU: peak signal-to-noise ratio of what is decoded",
            "(random weights) and of what is saved (the miniature).",
            "",
            *compared,
        ]
    return "\n".join([*lines, EXPECTED])
