"""Strict check of a queue graph against a server's /object_info: everything wrong at once, before anything is queued.

Why not leave it to the server: it names only the first unknown class, ignores misspelt inputs, rounds wrong types, and
answers a loop with an empty error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from ..errors import Problem, RequestError, did_you_mean
from .graph import Graph, is_link, label
from .inputs import InputSpec, is_open, links_fit, specs_of, value_problem
from .packs import unknown_class_problem

Exempt = Collection[tuple[str, str]]
# Fields that scripts of the window add to nodes of the core and queue with them; the server ignores them.
SENT_BY_THE_WINDOW: dict[str, Collection[str]] = {
    "CustomCombo": {"index", *(f"option{number}" for number in range(1, 1000))},
    "SaveGLB": {"image"},
    "Preview3D": {"image"},
    "LoadImageOutput": {"refresh"},
}


def validate(graph: Graph, object_info: dict[str, Any], exempt: Exempt = ()) -> None:
    """Raise one RequestError that lists every problem of the graph; do nothing if there is none.

    `exempt` holds (node id, input name) pairs whose value the runner fills in later.
    """
    problems = find_problems(graph, object_info, exempt)
    if problems:
        raise RequestError(problems)


def find_problems(
    graph: Graph, object_info: dict[str, Any], exempt: Exempt = (), embedded: bool = False
) -> list[Problem]:
    """Every problem; `embedded` says that the server is ours, which has few nodes on purpose."""
    problems = list(_unknown_classes(graph, object_info, embedded))
    problems += _cycles(graph)
    for node_id, node in graph.items():
        info = object_info.get(node["class_type"])
        if info is not None:
            problems += _inputs(graph, node_id, info, object_info, exempt)
    if not problems and not any(object_info[node["class_type"]].get("output_node") for node in graph.values()):
        problems.append(
            Problem(
                "graph.no_output",
                "the workflow has no output node, so the server would run nothing",
                expected="a node that saves or shows something, such as 'Save pair' (DefectForgeSaveDefectPair)",
                mend="add one in the window, or unmute it, and save the workflow",
            )
        )
    return problems


def _unknown_classes(graph: Graph, object_info: dict[str, Any], embedded: bool) -> Iterator[Problem]:
    for node_id, node in graph.items():
        if node["class_type"] not in object_info:
            yield unknown_class_problem(node["class_type"], label(graph, node_id), object_info, "", embedded)


def _inputs(
    graph: Graph, node_id: str, info: dict[str, Any], object_info: dict[str, Any], exempt: Exempt
) -> Iterator[Problem]:
    specs = specs_of(info)
    given: dict[str, Any] = graph[node_id]["inputs"]
    where = label(graph, node_id)
    for name, spec in specs.items():
        if spec.required and name not in given and not spec.is_growing and (node_id, name) not in exempt:
            yield Problem(
                "graph.missing_input",
                f"the input '{name}' is neither set nor linked",
                where,
                f"a {spec.type}" + (" value or link" if spec.is_widget else " link"),
                "link it in the window (is the node it came from muted?)" if not spec.is_widget else "set it",
            )
    for name, value in given.items():
        spec_or_none = specs.get(name)
        if spec_or_none is None:
            if not is_open(info) and name not in SENT_BY_THE_WINDOW.get(graph[node_id]["class_type"], ()):
                yield Problem(
                    "graph.unknown_input",
                    f"the node has no input '{name}'",
                    where,
                    "only inputs that the node declares (the server would ignore this one in silence)",
                    did_you_mean(name, specs),
                )
        elif is_link(value):
            yield from _link(graph, name, spec_or_none, value, where, object_info)
        elif (node_id, name) not in exempt:
            yield from _value(name, spec_or_none, value, where)


def _value(name: str, spec: InputSpec, value: Any, where: str) -> Iterator[Problem]:
    wrong = value_problem(spec, value)
    if wrong is not None:
        code, expected = wrong
        yield Problem(code, f"{name} = {value!r} is not accepted", where, expected, f"set {name} to {expected}")


def _link(
    graph: Graph, name: str, spec: InputSpec, link: Any, where: str, object_info: dict[str, Any]
) -> Iterator[Problem]:
    origin, slot = link
    if origin not in graph:
        yield Problem(
            "graph.broken_link",
            f"the input '{name}' is linked to node {origin}, which is not in the workflow",
            where,
            f"a link from a node of the workflow that gives {spec.type}",
            "link it again in the window and save",
        )
        return
    origin_info = object_info.get(graph[origin]["class_type"])
    if origin_info is None:
        return
    outputs = list(origin_info.get("output") or [])
    if not 0 <= slot < len(outputs):
        yield Problem(
            "graph.broken_link",
            f"the input '{name}' is linked to output {slot} of {label(graph, origin)}, which has {len(outputs)}",
            where,
            f"an output number from 0 to {len(outputs) - 1}",
            "link it again in the window and save",
        )
    elif not links_fit(outputs[slot], spec.type):
        yield Problem(
            "graph.link_type",
            f"the input '{name}' takes {spec.type}, but is linked to an output of type {outputs[slot]}",
            where,
            f"an output of type {spec.type}; {label(graph, origin)} output {slot} gives {outputs[slot]}",
            "link it to an output of that type",
        )


def _cycles(graph: Graph) -> Iterator[Problem]:
    """One problem per loop found by a depth-first walk; the server's own answer to a loop is empty."""
    white, grey, black = 0, 1, 2
    colour = dict.fromkeys(graph, white)
    for start in graph:
        if colour[start] != white:
            continue
        path: list[tuple[str, Iterator[str]]] = [(start, _origins(graph, start))]
        colour[start] = grey
        while path:
            node_id, origins = path[-1]
            following = next(origins, None)
            if following is None:
                colour[node_id] = black
                path.pop()
            elif colour.get(following) == grey:
                ring = [entry[0] for entry in path]
                ring = ring[ring.index(following) :]
                yield Problem(
                    "graph.cycle",
                    "the workflow has a loop: a node feeds itself",
                    " <- ".join(label(graph, member) for member in [*ring, following]),
                    "links that never lead back",
                    "remove one of these links",
                )
            elif colour.get(following) == white:
                colour[following] = grey
                path.append((following, _origins(graph, following)))


def _origins(graph: Graph, node_id: str) -> Iterator[str]:
    return iter([value[0] for value in graph[node_id]["inputs"].values() if is_link(value)])
