"""Where an input's value comes from: through reroutes, bypassed nodes, and in and out of subgraphs.

Written without recursion: files may nest as deep as they like.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...errors import RequestError
from .bypass import input_that_stands_for
from .form import ENTRANCE, broken
from .node import BYPASSED, MUTED, Node, Sheet
from .virtual import GETTERS, first_value, no_single_setter, setters_of

# More nodes than anybody draws; nested copies of copies get there with a file of a few lines.
MOST_NODES = 100_000
MOST_LEVELS = 200


@dataclass(eq=False)
class Placed:
    """A node at its place: inside which instances it lies. `id` is the queue's, such as "5:9"."""

    node: Node
    id: str
    inside: Placed | None


@dataclass(frozen=True)
class Value:
    """An input that takes the value of a field shown on a subgraph instance."""

    value: Any


@dataclass(frozen=True)
class Origin:
    id: str
    slot: int


def placed_nodes(root: Sheet) -> dict[str, Placed]:
    """Every node by its id in the queue, subgraph instances replaced by what is in them (and kept as well).

    An instance at the top that is muted or bypassed is not looked into. One inside another subgraph is, as the window
    does it: the modes of the nodes in it count.

    Raises:
        RequestError: more nodes than can be meant.
    """
    found: dict[str, Placed] = {}
    waiting: list[tuple[Sheet, Placed | None, int]] = [(root, None, 0)]
    while waiting:
        sheet, inside, level = waiting.pop()
        if level > MOST_LEVELS:
            raise broken(f"its subgraphs lie more than {MOST_LEVELS} deep in each other", "fewer levels of subgraphs")
        for node in sheet.nodes.values():
            placed = Placed(node, f"{inside.id}:{node.id}" if inside else node.id, inside)
            found[placed.id] = placed
            if node.definition is not None and (inside is not None or node.mode not in (MUTED, BYPASSED)):
                waiting.append((node.definition, placed, level + 1))
        if len(found) > MOST_NODES:
            raise broken(f"its subgraphs hold more than {MOST_NODES} nodes", "fewer copies of subgraphs in subgraphs")
    return found


class Resolver:
    """Follows links among placed nodes."""

    def __init__(self, placed: dict[str, Placed]) -> None:
        self.placed = placed

    def source(self, at: Placed, slot: int) -> Origin | Value | None:
        """What feeds input number `slot`: an output, a promoted value, or nothing.

        Raises:
            RequestError: links that run in a circle or lead to nothing; the window cannot queue such a graph either.
        """
        start, seen = at, set()
        type_: Any = None
        into_input = True
        while True:
            if (at.id, slot, into_input) in seen:
                raise broken(
                    "its links run in a circle through nodes that only pass values on",
                    "links that never lead back",
                    start.node.label,
                )
            seen.add((at.id, slot, into_input))
            follow = self._from_input if into_input else self._from_output
            step = follow(at, slot, type_)
            if step is None or isinstance(step, (Origin, Value)):
                return step
            at, slot, type_, into_input = step

    def _from_input(self, at: Placed, slot: int, type_: Any) -> Step:
        entry = at.node.inputs[slot] if 0 <= slot < len(at.node.inputs) else None
        if entry is None:
            raise broken(
                f"a link needs input {slot} of {at.node.label}, which has {len(at.node.inputs)}",
                "inputs that are there",
            )
        link = entry.link
        if link is None:
            return None
        if at.inside is not None and link.origin == ENTRANCE:
            host = at.inside.node
            if not 0 <= link.origin_slot < len(host.inputs):
                raise broken(
                    f"a link starts at input {link.origin_slot} of {host.label}",
                    f"one of its {len(host.inputs)} inputs",
                )
            outer = host.inputs[link.origin_slot]
            if outer.link is None:
                return Value(outer.promoted.value) if outer.promoted is not None else None
            return at.inside, link.origin_slot, None, True
        origin = self._beside(at, link.origin)
        if origin is None:
            raise broken(
                f"a link starts at node {link.origin}, which is not there",
                "links between nodes of the graph",
                at.node.label,
            )
        return origin, link.origin_slot, type_ if type_ is not None else entry.type, False

    def _from_output(self, at: Placed, slot: int, type_: Any) -> Step:
        node = at.node
        if node.mode == MUTED:
            return None
        if node.mode == BYPASSED:
            through = input_that_stands_for(node, slot, type_)
            return (at, through, None, True) if through is not None else None
        if node.definition is not None:
            return self._from_inside(at, node.definition, slot, type_)
        if not node.virtual:
            return Origin(at.id, slot)
        if node.type in GETTERS:
            setter = self._setter(at)
            return (setter, 0, type_, True) if setter is not None and setter.node.inputs else None
        return (at, slot, type_, True) if slot < len(node.inputs) and node.inputs[slot].link is not None else None

    def _from_inside(self, at: Placed, inside: Sheet, slot: int, type_: Any) -> Step:
        if not 0 <= slot < len(inside.outputs):
            raise broken(
                f"a link starts at output {slot} of {at.node.label}", f"one of its {len(inside.outputs)} outputs"
            )
        link = next((inside.links[id_] for id_ in inside.outputs[slot].links if id_ in inside.links), None)
        if link is None:
            return None
        inner = self.placed.get(f"{at.id}:{link.origin}")
        if inner is None:
            raise broken(
                f"output {slot} of {at.node.label} is linked to no node inside",
                "a node of the subgraph between its inputs and its outputs (a reroute will do)",
            )
        return inner, link.origin_slot, type_, False

    def _setter(self, at: Placed) -> Placed | None:
        """The node that sets what a getter gets: of its own graph, else the only one around its subgraph."""
        if not first_value(at.node):
            return None
        own = setters_of(at.node, at.node.sheet)
        if own:
            return self._beside(at, own[0].id)
        around, found = at.inside, []
        while around is not None:
            found += [self._beside(around, node.id) for node in setters_of(at.node, around.node.sheet)]
            around = around.inside
        if len(found) != 1:
            raise RequestError(no_single_setter(at.node, len(found)))
        return found[0]

    def _beside(self, at: Placed, id_: str) -> Placed | None:
        return self.placed.get(f"{at.inside.id}:{id_}" if at.inside is not None else id_)


Step = Origin | Value | tuple[Placed, int, Any, bool] | None


def sent_nodes(placed: dict[str, Placed]) -> Iterator[Placed]:
    """The nodes that the queue gets."""
    for entry in placed.values():
        node = entry.node
        if not node.virtual and node.definition is None and node.mode not in (MUTED, BYPASSED):
            yield entry
