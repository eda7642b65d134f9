"""What a file cannot tell is refused by node and value, or said; what is chosen by chance is chosen again alike."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from defectforge.runner.errors import RequestError
from defectforge.runner.graphs.window.texts import dated, dynamic_prompt


def node(id_: int, type_: str, values: Any = None, **more: Any) -> dict[str, Any]:
    return {"id": id_, "type": type_, "inputs": [], "outputs": [], "widgets_values": values, **more}


def with_node(graph: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**graph, "nodes": [*graph["nodes"], node(**more)]}


def refusal(convert: Any, graph: dict[str, Any]) -> list[Any]:
    with pytest.raises(RequestError) as caught:
        convert(graph)
    assert all(problem.code == "workflow.only_in_the_window" for problem in caught.value.problems)
    return caught.value.problems


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        ("Anything Everywhere", []),
        ("Prompts Everywhere", []),
        ("Seed Everywhere", [1]),
        ("Random Unmuter (rgthree)", []),
        ("Power Lora Loader (rgthree)", [{}, {"on": True, "lora": "a.safetensors", "strength": 1}]),
        ("Seed (rgthree)", [-1]),
    ],
)
def test_nodes_whose_scripts_change_the_graph_are_refused_by_name(case, converted, type_, values):
    (problem,) = refusal(converted, with_node(case("set_get"), id_=90, type_=type_, values=values))
    assert type_ in problem.what and "id 90" in problem.where and problem.mend


@pytest.mark.parametrize("mode", [2, 4])
def test_they_do_not_matter_while_they_are_off(case, converted, mode):
    graph = case("set_get")
    assert converted(with_node(graph, id_=90, type_="Anything Everywhere", mode=mode)) == converted(graph)


@pytest.mark.parametrize("type_", ["Label (rgthree)", "Fast Groups Muter (rgthree)", "Bookmark (rgthree)", "Note"])
def test_labels_and_remote_controls_are_not_asked_for_on_the_server(case, converted, type_):
    graph = case("set_get")
    assert converted(with_node(graph, id_=90, type_=type_, values=["a label"])) == converted(graph)


def test_a_value_that_nothing_sets_is_named(case, converted):
    graph = case("set_get")
    setter = next(entry for entry in graph["nodes"] if entry["type"] == "SetNode")
    setter["widgets_values"] = ["another"]
    (problem,) = refusal(converted, graph)
    assert "'prompt'" in problem.what and "GetNode" in problem.where


def test_a_picture_of_the_3d_view_is_named(case, converted, object_info, monkeypatch):
    size = ["INT", {"default": 1024}]
    inputs = {"model_file": [["none"], {}], "image": ["LOAD_3D", {}], "width": size, "height": size}
    monkeypatch.setitem(object_info, "Load3D", {"input": {"required": inputs}, "output": ["IMAGE"]})
    (problem,) = refusal(converted, with_node(case("set_get"), id_=90, type_="Load3D", values=["none", "", 64, 64]))
    assert "'image'" in problem.what and "3D view" in problem.what


def test_values_that_the_window_does_not_read_by_their_names_are_said(case, converted):
    said: list[str] = []
    converted(case("values_by_name"), say=said.append)
    assert any("KSampler" in line and "steps = 20" in line and "7" in line for line in said)
    assert not any("CLIPTextEncode" in line for line in said), "an object as long as the fields is read"


def test_the_place_of_a_seed_control_read_as_a_value_is_said(case, converted):
    said: list[str] = []
    graph = converted(case("subgraph_values_with_control"), say=said.append)
    assert any("cfg = 'randomize'" in line and "place for the control" in line for line in said)
    assert graph["5:9"][1]["cfg"] == "randomize", "as the window queues it; the check refuses it"


def test_more_values_than_fields_are_said_of_nodes_of_packs(case, converted, object_info, monkeypatch):
    theirs = {"input": {"required": {"a": ["INT", {}]}}, "output": [], "python_module": "custom_nodes.theirs"}
    monkeypatch.setitem(object_info, "Theirs", theirs)
    said: list[str] = []
    converted(with_node(case("set_get"), id_=90, type_="Theirs", values=[1, {"lora": "x"}, 3]), say=said.append)
    assert any("Theirs" in line and "2 more values" in line for line in said)


def test_the_wording_depends_on_the_seed_alone_and_is_said(case, converted):
    graph = case("dynamic_prompt_nested")
    said: list[str] = []
    first = converted(graph, choose=None, seed=5, say=said.append)
    graph["nodes"].reverse()
    assert converted(graph, choose=None, seed=5) == first
    assert any(first["2"][1]["text"] in line for line in said)
    assert len({json.dumps(converted(graph, choose=None, seed=seed)["2"]) for seed in range(20)}) > 1


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("{a|b|c}", "c"),
        ("{a|{b|c}} d", "c d"),
        (r"\{a\|b\}", "{a|b}"),
        ("a // b\nc", "a \nc"),
        ("a /* b {c|d} */ e", "a  e"),
        ("{a|b", "b"),
        ("a}b|c", "a}b|c"),
        (r"(x:1.1) \(y\)", r"(x:1.1) \(y\)"),
        ("", ""),
    ],
)
def test_the_last_of_the_wordings(text, last):
    assert dynamic_prompt(text, lambda count: count - 1) == last


def test_deeply_nested_wordings_end():
    assert dynamic_prompt("{" * 100_000, lambda count: 0).strip("{") == ""
    assert dynamic_prompt("{|" * 2_000 + "x" + "}" * 2_000, lambda count: count - 1)


def test_dates_are_written_as_the_window_writes_them():
    assert dated("yyyy-MM-dd hh:mm:ss yy M d", datetime(2026, 3, 4, 5, 6, 7)) == "2026-03-04 05:06:07 26 3 4"
