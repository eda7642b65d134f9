"""Every graph in `cases/` is queued as ComfyUI's window queues it (0.28.1, window 1.58.1, asked by window_truth.py)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from defectforge.runner.errors import RequestError
from defectforge.runner.graphs.convert import queue_form
from defectforge.runner.graphs.graph import load, parse
from defectforge.runner.graphs.schema import find_problems

HERE = Path(__file__).parent
CASES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((HERE / "cases").glob("*.json"))}
ANSWERED = [name for name, case in CASES.items() if "answer" in case]
REFUSED = [name for name, case in CASES.items() if "refused" in case]


@pytest.mark.parametrize("name", ANSWERED)
def test_a_graph_is_queued_as_the_window_queues_it(name, converted):
    case = CASES[name]
    assert converted(case["graph"]) == case["answer"], case["shows"]


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_window_cannot_queue_is_refused_with_the_place(name, converted):
    with pytest.raises(RequestError) as caught:
        converted(CASES[name]["graph"])
    (problem,) = caught.value.problems
    assert problem.where and problem.expected and problem.mend, CASES[name]["refused"]


@pytest.mark.parametrize("name", ["growing_inputs", "dynamic_combo"])
def test_what_grows_follows_or_is_added_by_the_window_is_no_fault(name, object_info, case):
    graph = queue_form(parse(json.dumps(case(name)).encode(), Path(name)), object_info)
    problems = find_problems(graph, object_info)
    assert [problem for problem in problems if problem.code != "graph.not_a_choice"] == []


def _handed_out() -> list[Path]:
    folder = Path(os.environ.get("DEFECTFORGE_TEST_CASES") or HERE.parents[3] / "shared" / "cases") / "graphs"
    return sorted(folder.glob("*.api.json"))


@pytest.mark.skipif(not _handed_out(), reason="no folder of cases here: set DEFECTFORGE_TEST_CASES")
@pytest.mark.parametrize("answer", _handed_out(), ids=lambda path: path.name.removesuffix(".api.json"))
def test_the_cases_beside_the_project_are_queued_as_the_window_queues_them(answer):
    """With titles and packs as well."""
    known: dict[str, Any] = json.loads((answer.parent / "object_info.json").read_text(encoding="utf-8"))
    workflow = load(answer.with_name(answer.name.removesuffix(".api.json") + ".json"))
    queue = queue_form(workflow, known, choose=lambda where, count: 0)
    assert json.loads(json.dumps(queue)) == json.loads(answer.read_text(encoding="utf-8"))
