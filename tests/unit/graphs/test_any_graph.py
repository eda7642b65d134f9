"""No graph of any shape gives anything but a queue form or one RequestError: no traceback, no hang."""

from __future__ import annotations

import copy
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from defectforge.runner.errors import RequestError
from defectforge.runner.graphs.convert import queue_form
from defectforge.runner.graphs.graph import Workflow, parse
from defectforge.runner.graphs.schema import find_problems
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HERE = Path(__file__).parent
GRAPHS = [json.loads(path.read_text(encoding="utf-8"))["graph"] for path in sorted((HERE / "cases").glob("*.json"))]
OBJECT_INFO: dict[str, Any] = json.loads((HERE / "object_info.json").read_text(encoding="utf-8"))
SETTINGS = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANY = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner), max_leaves=6
)
SMALL = st.sampled_from([-20, -10, -1, 0, 1, 2, 3, 4, 5, 9, 2**63, "1", "5:9", None, 1.5])
TYPES = st.sampled_from(
    [*OBJECT_INFO, "Reroute", "PrimitiveNode", "SetNode", "GetNode", "Note", "unknown", "box", None]
)


def survives(data: dict[str, Any]) -> None:
    try:
        graph = queue_form(
            Workflow("theirs", Path("theirs.json"), "window", data, ""), OBJECT_INFO, say=lambda line: None
        )
        json.dumps(graph)
        find_problems(graph, OBJECT_INFO)
    except RequestError as error:
        assert error.problems and all(problem.what for problem in error.problems)


def parts(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a graph at which something can be put instead."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        item = waiting.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        for key in keys:
            found.append((item, key))
            waiting.append(item[key])
    return found


@SETTINGS
@given(st.sampled_from(GRAPHS), st.randoms(use_true_random=False), st.lists(ANY | SMALL, min_size=1, max_size=4))
def test_parts_of_a_real_graph_may_be_anything(graph: dict[str, Any], chance: random.Random, values: list[Any]) -> None:
    graph = copy.deepcopy(graph)
    for value in values:
        owner, key = chance.choice(parts(graph))
        if chance.random() < 0.3:
            del owner[key]
        else:
            owner[key] = value
    survives(graph)


LINK = st.tuples(SMALL, SMALL, SMALL, SMALL, SMALL, TYPES).map(list)
SLOT = st.fixed_dictionaries({"name": st.sampled_from(["a", "text", "model", ""]), "type": TYPES, "link": SMALL})
NODE = st.fixed_dictionaries(
    {"id": SMALL, "type": TYPES, "mode": st.sampled_from([0, 0, 2, 4])},
    optional={
        "inputs": st.lists(SLOT, max_size=3),
        "outputs": st.lists(SLOT, max_size=2),
        "widgets_values": st.lists(PLAIN, max_size=4) | st.dictionaries(st.text(max_size=3), PLAIN),
        "properties": st.fixed_dictionaries(
            {"proxyWidgets": st.lists(st.tuples(st.text("12:", max_size=3), st.text(max_size=4)).map(list), max_size=2)}
        ),
    },
)
PORT = st.fixed_dictionaries({"name": st.sampled_from("ab"), "type": TYPES, "linkIds": st.lists(SMALL, max_size=2)})
BOX = st.fixed_dictionaries(
    {"id": st.sampled_from(["box", "other"]), "nodes": st.lists(NODE, max_size=3), "links": st.lists(LINK, max_size=4)},
    optional={"inputs": st.lists(PORT, max_size=2), "outputs": st.lists(PORT, max_size=2)},
)
GRAPH = st.fixed_dictionaries(
    {"nodes": st.lists(NODE, max_size=5), "links": st.lists(LINK, max_size=6)},
    optional={"definitions": st.fixed_dictionaries({"subgraphs": st.lists(BOX, max_size=2)})},
)


@SETTINGS
@given(GRAPH)
def test_a_graph_may_be_wired_at_random(graph: dict[str, Any]) -> None:
    survives(graph)


@SETTINGS
@given(st.binary(max_size=60) | st.text(max_size=40).map(str.encode) | ANY.map(json.dumps).map(str.encode))
def test_a_file_may_hold_anything(raw: bytes) -> None:
    try:
        parse(raw, Path("theirs"))
    except RequestError as error:
        assert len(error.problems) == 1


def box(id_: str, *inside: str) -> dict[str, Any]:
    nodes = [{"id": n, "type": type_, "inputs": [], "outputs": []} for n, type_ in enumerate(inside)]
    return {"id": id_, "name": id_, "nodes": nodes, "links": [], "inputs": [], "outputs": []}


def using(*boxes: dict[str, Any]) -> dict[str, Any]:
    return {"nodes": [{"id": 1, "type": "b0"}], "links": [], "definitions": {"subgraphs": list(boxes)}}


@pytest.mark.parametrize(
    ("graph", "what"),
    [
        (using(box("b0", "b0")), "contains itself"),
        (using(box("b0", "b1"), box("b1", "b2"), box("b2", "b0")), "contains itself"),
        (using(*(box(f"b{n}", f"b{n + 1}") for n in range(5_000)), box("b5000", "EmptyImage")), "deep"),
        (using(*(box(f"b{n}", *[f"b{n + 1}"] * 2) for n in range(60)), box("b60", "EmptyImage")), "more than"),
    ],
    ids=["itself", "in a ring", "deep", "copies of copies"],
)
def test_subgraphs_without_an_end_are_refused_at_once(graph: dict[str, Any], what: str) -> None:
    start = time.monotonic()
    with pytest.raises(RequestError, match=what):
        queue_form(Workflow("theirs", Path("theirs.json"), "window", graph, ""), OBJECT_INFO)
    assert time.monotonic() - start < 20


def test_definitions_a_million_deep_are_one_error() -> None:
    raw = b'{"nodes": [], "links": [], "definitions": ' + b'{"subgraphs": [{"id": "a", "definitions": ' * 1_000_000
    with pytest.raises(RequestError, match="deep"):
        parse(raw, Path("deep.json"))


def test_a_long_chain_of_reroutes_is_followed() -> None:
    many = 20_000
    slot = {"name": "", "type": "*"}
    nodes = [{"id": 0, "type": "EmptyImage", "outputs": [{"type": "IMAGE"}]}]
    nodes += [{"id": n, "type": "Reroute", "inputs": [{**slot, "link": n}], "outputs": [slot]} for n in range(1, many)]
    nodes += [{"id": many, "type": "SaveImage", "inputs": [{"name": "images", "type": "IMAGE", "link": many}]}]
    links = [[n, n - 1, 0, n, 0, "*"] for n in range(1, many + 1)]
    data = {"nodes": nodes, "links": links}
    graph = queue_form(
        Workflow("long", Path("long.json"), "window", data, ""), {**OBJECT_INFO, "EmptyImage": {"output": ["IMAGE"]}}
    )
    assert graph[str(many)]["inputs"]["images"] == ["0", 0]
