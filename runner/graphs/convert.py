"""Window form -> queue form, with the widget names of the server that will run it.

comfyui-autograph does the work; this file feeds it what it leaves out (titles, object-shaped links), takes away what it
leaves behind (links into muted nodes) and turns what it skips in silence (unknown classes) into errors.
"""

from __future__ import annotations

import copy
from typing import Any

from ..errors import Problem, RequestError, request_error
from .graph import Graph, Workflow, is_link
from .packs import pack_of_window_node, unknown_class_problem

# What the editor draws but the queue never sees.
VIRTUAL = {"Note", "MarkdownNote", "Reroute", "PrimitiveNode"}
MUTED, BYPASSED = 2, 4
# The value that the window keeps behind a seed: not one of any combo.
AFTER_GENERATE = {"fixed", "increment", "decrement", "randomize"}


def queue_form(workflow: Workflow, object_info: dict[str, Any], embedded: bool = False) -> Graph:
    """The graph that is sent to the queue.

    Raises:
        RequestError: unknown node classes (all of them), or a graph that cannot be converted.
    """
    if workflow.form == "queue":
        return {str(node_id): copy.deepcopy(node) for node_id, node in workflow.data.items()}
    from autograph.convert import convert_workflow_with_errors, flatten_subgraphs

    data = _prepared(workflow.data, object_info)
    # Flattened here as well, so that unknown classes inside a subgraph are named and titles survive.
    try:
        flat = flatten_subgraphs(data)
    except Exception as error:  # the library raises its own and built-in exceptions alike
        raise _not_convertible(workflow, str(error)) from error
    _titles(flat, object_info)
    _refuse_unknown(flat, object_info, workflow, embedded)
    known = _with_foreign_values(flat, object_info)
    result = convert_workflow_with_errors(flat, node_info=known, include_meta=True, disable_AUTOGRAPH_meta=True)
    unresolved = [w.message for w in result.warnings if "resolve link" in w.message]
    if result.errors or unresolved or not isinstance(result.data, dict):
        raise _not_convertible(workflow, "; ".join([error.message for error in result.errors] + unresolved))
    if not result.data:
        raise request_error(
            "workflow.empty",
            "nothing of the workflow is left to run",
            where=str(workflow.path),
            expected="at least one node that is neither muted nor bypassed",
            mend="unmute the nodes in the window and save the workflow",
        )
    return _cleaned({str(node_id): dict(node) for node_id, node in result.data.items()})


def _prepared(data: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    data = copy.deepcopy(data)
    data["links"] = [_as_list(link) for link in data["links"]]
    return data


def _as_list(link: Any) -> Any:
    """Files of schema 1.0 hold links as objects; the converter knows the list form."""
    if not isinstance(link, dict):
        return link
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    return [link.get(name) for name in names]


def _titles(data: dict[str, Any], object_info: dict[str, Any]) -> None:
    for node in data["nodes"]:
        if not isinstance(node, dict):
            continue
        known = object_info.get(str(node.get("type")), {})
        title = node.get("title") or known.get("display_name") or node.get("type")
        node["_meta"] = {"title": str(title)}


def _refuse_unknown(data: dict[str, Any], object_info: dict[str, Any], workflow: Workflow, embedded: bool) -> None:
    problems: list[Problem] = []
    for node in data["nodes"]:
        if not isinstance(node, dict) or node.get("mode", 0) in (MUTED, BYPASSED):
            continue
        class_type = str(node.get("type"))
        if class_type not in object_info and class_type not in VIRTUAL:
            where = f"node '{node['_meta']['title']}' (id {node.get('id')}) in {workflow.path.name}"
            problems.append(unknown_class_problem(class_type, where, object_info, pack_of_window_node(node), embedded))
    if problems:
        raise RequestError(problems)


def _with_foreign_values(data: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """The server's node information, its option lists extended by the values that the workflow holds.

    The converter drops a value that is not among the options: a checkpoint that another machine has would become
    None, and neither the check nor `--model` could speak of it any more.
    """
    known = dict(object_info)
    for node in data["nodes"]:
        class_type, values = str(node.get("type")), node.get("widgets_values") or []
        values = list(values.values()) if isinstance(values, dict) else values
        foreign = [value for value in values if isinstance(value, str) and value not in AFTER_GENERATE]
        if class_type not in known or not foreign:
            continue
        information = copy.deepcopy(known[class_type])
        for inputs in information.get("input", {}).values():
            for spec in inputs.values() if isinstance(inputs, dict) else ():
                options = _options(spec)
                if options is not None:
                    options.extend(value for value in foreign if value not in options)
        known[class_type] = information
    return known


def _options(spec: Any) -> list[Any] | None:
    """The list of options of a combo, in either of the shapes that servers send."""
    if not isinstance(spec, list) or not spec:
        return None
    if isinstance(spec[0], list):
        return spec[0]
    options = spec[1].get("options") if spec[0] == "COMBO" and len(spec) > 1 and isinstance(spec[1], dict) else None
    return options if isinstance(options, list) else None


def _cleaned(graph: Graph) -> Graph:
    """Links into muted nodes are cut, as the editor cuts them; plain lists are wrapped, as the editor wraps them."""
    for node in graph.values():
        for name, value in list(node["inputs"].items()):
            if is_link(value):
                if value[0] not in graph:
                    del node["inputs"][name]
            elif isinstance(value, list):
                node["inputs"][name] = {"__value__": value}
    return graph


def _not_convertible(workflow: Workflow, reason: str) -> RequestError:
    return request_error(
        "workflow.not_convertible",
        f"the saved workflow cannot be turned into a queue request: {reason}",
        where=str(workflow.path),
        expected="a graph without loops whose links all lead somewhere",
        mend="open it in ComfyUI, or give the API export of it (Workflow > Export (API)) instead",
    )
