"""The strict check finds every fault that a server would ignore, round or answer with an empty error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from defectforge.runner.errors import RequestError
from defectforge.runner.graphs.schema import find_problems, validate

Break = Callable[[dict[str, Any]], Any]


def test_a_right_graph_has_no_problem(graph: Any, object_info: Any) -> None:
    assert find_problems(graph, object_info) == []


def set_input(node: str, name: str, value: Any) -> Break:
    return lambda graph: graph[node]["inputs"].__setitem__(name, value)


FAULTS: list[tuple[str, Break, str, str]] = [
    ("misspelt input", set_input("3", "sed", 5), "graph.unknown_input", "did you mean 'seed'?"),
    ("fraction for a whole number", set_input("3", "count", 2.5), "graph.wrong_type", "a whole number"),
    ("text for a number", set_input("3", "count", "2"), "graph.wrong_type", "a whole number"),
    ("bool for a number", set_input("3", "count", True), "graph.wrong_type", "a whole number"),
    ("number for a text", set_input("4", "type", 3), "graph.wrong_type", "a text"),
    ("too big", set_input("3", "count", 21), "graph.out_of_range", "1 to 20"),
    ("too small", set_input("3", "rim", -0.1), "graph.out_of_range", "0.0 to 1.0"),
    ("not a choice", set_input("3", "mode", "square"), "graph.not_a_choice", "'round', 'ragged'"),
    (
        "value where a link belongs",
        set_input("3", "image", 5),
        "graph.needs_link",
        "a link from an output of type IMAGE",
    ),
    ("link to nowhere", set_input("3", "image", ["77", 0]), "graph.broken_link", "node 77, which is not"),
    ("link to a missing output", set_input("3", "image", ["1", 9]), "graph.broken_link", "from 0 to 3"),
    ("link of another type", set_input("3", "image", ["1", 1]), "graph.link_type", "takes IMAGE"),
    ("missing input", lambda g: g["3"]["inputs"].pop("image"), "graph.missing_input", "'image' is neither set"),
    ("no output node", lambda g: g.pop("4"), "graph.no_output", "Save pair"),
]


@pytest.mark.parametrize(("fault", "code", "hint"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_each_fault_is_found_and_named(graph: Any, object_info: Any, fault: Break, code: str, hint: str) -> None:
    fault(graph)
    problems = find_problems(graph, object_info)
    assert [problem.code for problem in problems] == [code]
    assert hint in problems[0].text()


def test_all_unknown_classes_and_other_faults_come_in_one_error(graph: Any, object_info: Any) -> None:
    graph["8"] = {"class_type": "FirstStranger", "inputs": {}}
    graph["9"] = {"class_type": "SecondStranger", "inputs": {}}
    graph["3"]["inputs"]["count"] = 0
    with pytest.raises(RequestError) as caught:
        validate(graph, object_info)
    codes = sorted(problem.code for problem in caught.value.problems)
    assert codes == ["graph.out_of_range", "graph.unknown_node", "graph.unknown_node"]
    assert "FirstStranger" in str(caught.value) and "SecondStranger" in str(caught.value)


def test_a_loop_is_shown_node_by_node(graph: Any, object_info: Any) -> None:
    graph["3"]["inputs"]["keep_out"] = ["5", 0]
    graph["5"] = {**graph["3"], "_meta": {"title": "Second"}, "inputs": {**graph["3"]["inputs"], "keep_out": ["3", 0]}}
    problems = [p for p in find_problems(graph, object_info) if p.code == "graph.cycle"]
    assert len(problems) == 1
    assert "'Hole mask'" in problems[0].where and "'Second'" in problems[0].where


def test_a_node_that_feeds_itself_is_a_loop(graph: Any, object_info: Any) -> None:
    graph["3"]["inputs"]["keep_out"] = ["3", 0]
    assert [p.code for p in find_problems(graph, object_info)] == ["graph.cycle"]


def test_what_the_runner_fills_in_is_exempt(graph: Any, object_info: Any) -> None:
    graph["1"]["inputs"]["split"] = "nowhere"
    assert find_problems(graph, object_info, exempt={("1", "split")}) == []
    assert [p.code for p in find_problems(graph, object_info)] == ["graph.not_a_choice"]
