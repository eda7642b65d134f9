"""The saved file as plain records: ids are texts, links have one form, nested definitions lie side by side.

Saved graphs have had two forms of links (`[id, from, slot, to, slot, type]`, and objects since schema 1) and two of ids
(numbers, and texts such as "5:9"). Nothing below this file knows the difference.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...errors import request_error

# Ids of a subgraph's own inputs and outputs, where links begin and end inside it.
ENTRANCE, EXIT = "-10", "-20"
ROOT = ""


@dataclass(eq=False)
class Link:
    id: str
    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass(eq=False)
class Port:
    """One input or output of a subgraph, with the links inside that start or end there."""

    name: str
    type: Any
    links: list[str]


@dataclass(eq=False)
class SavedGraph:
    """The graph that is seen at first (`id` is ROOT), or the definition of a subgraph."""

    id: str
    name: str
    nodes: list[dict[str, Any]]
    links: dict[str, Link]
    # Link ids that were dropped as duplicates -> the link that stands for them.
    aliases: dict[str, str]
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)


def key(value: Any) -> str:
    """An id as text: 5, 5.0 and "5" are the same node, as in the window."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def saved_graphs(data: dict[str, Any]) -> tuple[SavedGraph, dict[str, SavedGraph]]:
    """The graph at the top, and every subgraph definition by id, those inside other definitions too.

    Raises:
        RequestError: a part of the file that is not what it should be; the window would not open it either.
    """
    definitions: dict[str, SavedGraph] = {}
    waiting = [data]
    while waiting:
        owner = waiting.pop()
        for entry in _items(_dict(owner.get("definitions"), "definitions").get("subgraphs"), "definitions.subgraphs"):
            saved = _graph(_dict(entry, "a subgraph definition"), key(entry.get("id")))
            definitions.setdefault(saved.id, saved)
            waiting.append(entry)
    top = _graph(data, ROOT)
    _one_node_an_id(data, top, definitions)
    return top, definitions


def _one_node_an_id(data: dict[str, Any], top: SavedGraph, definitions: dict[str, SavedGraph]) -> None:
    """An id that a definition shares with the graph or with another definition is replaced by the next free number."""
    state = data.get("state")
    counters = (data.get("last_node_id"), state.get("lastNodeId") if isinstance(state, dict) else None)
    last = max([0, *(number for number in counters if isinstance(number, int))])
    taken = {node["id"] for node in top.nodes}
    renamed: dict[str, dict[str, str]] = {}
    for saved in definitions.values():
        new_ids: dict[str, str] = {}
        for node in saved.nodes:
            id_ = node["id"]
            if id_ in taken:
                last += 1
                while str(last) in taken:
                    last += 1
                node["id"] = new_ids[id_] = str(last)
            elif id_.isdecimal() and str(int(id_)) == id_:
                last = max(last, int(id_))
            taken.add(node["id"])
        for link in saved.links.values():
            link.origin = new_ids.get(link.origin, link.origin)
            link.target = new_ids.get(link.target, link.target)
        renamed[saved.id] = new_ids
    for saved in (top, *definitions.values()):
        for node in saved.nodes:
            _rename_promoted(node, renamed.get(str(node.get("type")), {}))


def _rename_promoted(node: dict[str, Any], new_ids: dict[str, str]) -> None:
    properties = node.get("properties")
    entries = properties.get("proxyWidgets") if isinstance(properties, dict) else None
    if new_ids and isinstance(entries, list):
        patched = [
            [new_ids.get(key(entry[0]), entry[0]), *entry[1:]] if isinstance(entry, list) and entry else entry
            for entry in entries
        ]
        node["properties"] = {**node["properties"], "proxyWidgets": patched}


def _graph(data: dict[str, Any], id_: str) -> SavedGraph:
    where = f"subgraph '{data.get('name') or id_}'" if id_ else "the graph"
    nodes = _unique(
        [_dict(node, f"a node of {where}") for node in _items(data.get("nodes"), f"the nodes of {where}")], id_
    )
    named = {key(entry["link"]) for node in nodes for entry in slots(node, "inputs") if entry.get("link") is not None}
    read = [_link(entry, where) for entry in _items(data.get("links"), f"the links of {where}", or_dict=True) if entry]
    links, aliases = _one_link_an_input(read, named)
    ports = (
        [[_port(entry) for entry in _items(data.get(side), f"the {side} of {where}")] for side in PORTS]
        if id_
        else [[], []]
    )
    return SavedGraph(id_, str(data.get("name") or ""), nodes, links, aliases, *ports)


PORTS = ("inputs", "outputs")


def slots(node: dict[str, Any], side: str) -> list[dict[str, Any]]:
    """The saved inputs or outputs of a node."""
    return [_dict(entry, f"an entry of '{side}'") for entry in _items(node.get(side), f"'{side}' of a node")]


def _unique(nodes: list[dict[str, Any]], graph_id: str) -> list[dict[str, Any]]:
    """Two nodes with one id: a definition keeps the first; at the top the window gives the second a new id."""
    taken = {key(node.get("id")) for node in nodes}
    seen: set[str] = set()
    kept = []
    fresh = 0
    for node in nodes:
        id_ = key(node.get("id"))
        if id_ in seen or node.get("id") is None:
            if graph_id:
                continue
            while str(fresh) in taken:
                fresh += 1
            id_ = str(fresh)
            taken.add(id_)
        seen.add(id_)
        kept.append({**node, "id": id_})
    return kept


def _link(entry: Any, where: str) -> Link:
    if isinstance(entry, dict):
        entry = [entry.get(name) for name in ("id", "origin_id", "origin_slot", "target_id", "target_slot")]
    try:
        id_, origin, origin_slot, target, target_slot = entry[:5]
        return Link(key(id_), key(origin), int(origin_slot), key(target), int(target_slot))
    except (TypeError, ValueError, OverflowError) as error:
        raise broken(f"a link of {where} is {str(entry)[:80]}", "[id, from node, slot, to node, slot, type]") from error


def _one_link_an_input(read: list[Link], named: set[str]) -> tuple[dict[str, Link], dict[str, str]]:
    """Of several links into one input the first stays, unless only a later one is named by the node itself."""
    kept: dict[tuple[str, int], Link] = {}
    aliases: dict[str, str] = {}
    for link in read:
        place = (link.target, link.target_slot)
        other = kept.setdefault(place, link)
        if other is link:
            continue
        same = (other.origin, other.origin_slot) == (link.origin, link.origin_slot)
        if not same and link.id in named and other.id not in named:
            kept[place] = link
            aliases = {old: link.id if new == other.id else new for old, new in aliases.items()}
            aliases[other.id] = link.id
        else:
            aliases[link.id] = other.id
    links: dict[str, Link] = {}
    for link in kept.values():
        links.setdefault(link.id, link)
    return links, {old: new for old, new in aliases.items() if old != new}


def _port(entry: Any) -> Port:
    entry = _dict(entry, "an input or output of a subgraph")
    links = [key(id_) for id_ in _items(entry.get("linkIds"), "'linkIds' of a subgraph's input or output")]
    return Port(str(entry.get("name")), entry.get("type"), links)


def _items(value: Any, what: str, or_dict: bool = False) -> list[Any]:
    if value is None:
        return []
    if or_dict and isinstance(value, dict):
        return list(value.values())
    if not isinstance(value, list):
        raise broken(f"{what} are {str(value)[:80]!r}", "a list")
    return value


def _dict(value: Any, what: str) -> dict[str, Any]:
    if value is None and what == "definitions":
        return {}
    if not isinstance(value, dict):
        raise broken(f"{what} is {str(value)[:80]!r}", "an object with named fields")
    return value


def broken(what: str, expected: str, where: str = "") -> Exception:
    return request_error(
        "workflow.not_convertible",
        f"the saved workflow cannot be turned into a queue request: {what}",
        where,
        expected,
        "open it in ComfyUI and save it again, or give its API export (Workflow > Export (API))",
    )
