"""A workflow file: read it, tell its form (window or queue), address its nodes by title, hash it.

The *queue form* is what a server executes: `{id: {"class_type", "inputs", "_meta": {"title"}}}`, where an input is a
value or a link `[id, output slot]`. The *window form* is what ComfyUI's editor saves; `convert` makes the first of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import did_you_mean, request_error
from . import source

Graph = dict[str, dict[str, Any]]
SHIPPED = Path(__file__).resolve().parents[2] / "workflows"


@dataclass(frozen=True)
class Workflow:
    """A workflow file as it lies on disk."""

    name: str
    path: Path
    form: str  # "window" | "queue"
    data: dict[str, Any]
    sha256: str


def shipped_workflows() -> list[str]:
    return sorted(path.stem for path in SHIPPED.glob("*.json"))


def load(reference: str | Path) -> Workflow:
    """Read a workflow: a path (JSON, or a picture that holds one), a name that comes with DefectForge, or "-".

    Raises:
        RequestError: no such file, something else, or JSON of neither form.
    """
    return parse(*source.read(reference, SHIPPED))


def parse(raw: bytes, path: Path) -> Workflow:
    where = str(path)
    text = source.text_of(raw, where)
    try:
        data = json.loads(text, parse_constant=lambda name: None)
    except json.JSONDecodeError as error:
        # A string that never ends is reported at its beginning.
        cut = error.pos >= len(error.doc.rstrip()) - 1 or error.msg.startswith("Unterminated string")
        raise request_error(
            "workflow.truncated" if cut else "workflow.not_json",
            f"the workflow file {'ends in the middle' if cut else 'is text, but not JSON'}: {error.msg}",
            where=f"{where}, line {error.lineno}, column {error.colno}",
            expected="one whole JSON object",
            mend="save or copy the file again",
        ) from error
    except (RecursionError, ValueError) as error:
        deep = isinstance(error, RecursionError)
        raise request_error(
            "workflow.not_json",
            "the workflow is nested too deep" if deep else f"the workflow cannot be read as JSON: {error}",
            where,
            source.EXPECTED,
        ) from error
    if "\\ud" in text.lower() and not _is_whole(data):
        raise request_error(
            "workflow.not_json", "the workflow holds halves of characters (lone surrogates)", where, source.EXPECTED
        )
    form = form_of(data)
    if form is None:
        raise request_error(
            "workflow.unknown_form",
            "the file is JSON, but not a workflow",
            where,
            expected="a saved workflow (has 'nodes' and 'links') or an API export (has 'class_type' and 'inputs')",
            mend="in ComfyUI: Workflow > Save, or Workflow > Export (API)",
        )
    if form == "queue" and isinstance(data.get("prompt"), dict):
        data = data["prompt"]
    # Of a picture only the workflow counts: the same graph in two pictures is the same workflow.
    content = text.encode("utf-8", "replace") if raw.startswith((source.PNG, b"RIFF")) else raw
    return Workflow(path.stem, path, form, data, hashlib.sha256(content).hexdigest())


def _is_whole(data: Any) -> bool:
    try:
        json.dumps(data, ensure_ascii=False).encode("utf-8")
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


def form_of(data: Any) -> str | None:
    """ "window", "queue", or None for neither."""
    if not isinstance(data, dict):
        return None
    if isinstance(data.get("nodes"), list) and isinstance(data.get("links"), list):
        return "window"
    # A saved request body of POST /prompt holds the graph one level down.
    candidate = data["prompt"] if isinstance(data.get("prompt"), dict) else data
    if candidate and all(
        isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)
        for node in candidate.values()
    ):
        return "queue"
    return None


def title_of(graph: Graph, node_id: str) -> str:
    """The node's title; a node without one answers to its class."""
    node = graph[node_id]
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    return title if isinstance(title, str) and title.strip() else str(node["class_type"])


def label(graph: Graph, node_id: str) -> str:
    """How messages call a node: 'Hole mask' (DefectForgePlaceHoleMask, node 7)."""
    return f"node '{title_of(graph, node_id)}' ({graph[node_id]['class_type']}, id {node_id})"


def by_title(graph: Graph, title: str) -> str:
    """The id of the one node with this title, or of the node that `#ID` names.

    Raises:
        RequestError: no such title (with the nearest one), or several nodes carry it.
    """
    if title.startswith("#") and title[1:] in graph:
        return title[1:]
    found = [node_id for node_id in graph if title_of(graph, node_id) == title]
    if len(found) == 1:
        return found[0]
    if not found:
        raise request_error(
            "override.unknown_title",
            f"no node of the workflow has the title '{title}'",
            expected="the title as it stands on the node",
            mend=did_you_mean(title, (title_of(graph, node_id) for node_id in graph), limit=40),
        )
    raise request_error(
        "override.ambiguous_title",
        f"{len(found)} nodes of the workflow have the title '{title}'",
        where=", ".join(label(graph, node_id) for node_id in found),
        expected="a title that only one node has",
        mend=f"name it by its id ('#{found[0]}'), or give the nodes different titles in the window and save the "
        "workflow",
    )


def address_of(graph: Graph, node_id: str) -> str:
    """What `by_title` finds a node by: its title; `#ID` where others have it too (a blueprint that is used twice)."""
    title = title_of(graph, node_id)
    alone = sum(title_of(graph, other) == title for other in graph) == 1
    return title if alone else f"#{node_id}"


def is_link(value: Any) -> bool:
    """A link is [node id, output slot]; a wrapped list ({"__value__": [...]}) is a value."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int


def links(graph: Graph) -> Iterator[tuple[str, str, str, int]]:
    """(node id, input name, origin id, origin slot) of every link."""
    for node_id, node in graph.items():
        for name, value in node["inputs"].items():
            if is_link(value):
                yield node_id, name, value[0], value[1]


def upstream(graph: Graph, node_id: str) -> set[str]:
    """Every node that feeds this one, itself included."""
    seen: set[str] = set()
    waiting = [node_id]
    while waiting:
        current = waiting.pop()
        if current in seen or current not in graph:
            continue
        seen.add(current)
        waiting += [value[0] for value in graph[current]["inputs"].values() if is_link(value)]
    return seen


def copied(graph: Graph) -> Graph:
    """A copy whose inputs can be changed without touching the original."""
    return {node_id: {**node, "inputs": dict(node["inputs"])} for node_id, node in graph.items()}


def canonical(graph: Graph) -> str:
    """The graph as text that depends on what it computes only: no titles, no key order, no white space."""
    bare = {node_id: {"class_type": n["class_type"], "inputs": n["inputs"]} for node_id, n in graph.items()}
    return json.dumps(bare, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def canonical_hash(graph: Graph) -> str:
    return hashlib.sha256(canonical(graph).encode("ascii")).hexdigest()
