"""Nodes, slots and widgets as the window holds them in memory after it has opened a graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .form import Link, Port, SavedGraph

MUTED, BYPASSED = 2, 4


@dataclass(eq=False)
class Widget:
    """A field of a node. `kept` fields take a place in `widgets_values`, `sent` ones go into the queue form."""

    name: str
    kind: str
    value: Any = None
    kept: bool = True
    sent: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    # {a|b} and comments are resolved when it is queued.
    dynamic: bool = False
    # Why only a script of the window knows the value; "" where it is in the file.
    scripted: str = ""


@dataclass(eq=False)
class Slot:
    """An input of a node; `widget` names the field that it feeds, `link` is what comes in."""

    name: str
    type: Any
    widget: str | None = None
    link: Link | None = None
    # On a subgraph instance: the field that was promoted to it.
    promoted: Widget | None = None


@dataclass(eq=False)
class Node:
    id: str
    type: str
    saved: dict[str, Any]
    sheet: Sheet
    title: str = ""
    mode: int = 0
    inputs: list[Slot] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    widgets: list[Widget] = field(default_factory=list)
    # The class as the server describes it; None for what the server does not know.
    info: dict[str, Any] | None = None
    # For an instance of a subgraph: what is inside.
    definition: Sheet | None = None
    virtual: bool = False

    @property
    def properties(self) -> dict[str, Any]:
        found = self.saved.get("properties")
        return found if isinstance(found, dict) else {}

    @property
    def label(self) -> str:
        return f"node '{self.title or self.type}' ({self.type}, id {self.id})"

    def widget(self, name: str | None) -> Widget | None:
        return next((widget for widget in self.widgets if widget.name == name), None)

    def widget_of(self, slot: Slot) -> Widget | None:
        """The field behind an input: of the node itself, or promoted to it from inside."""
        return slot.promoted or (self.widget(slot.widget) if slot.widget is not None else None)


@dataclass(eq=False)
class Sheet:
    """One drawn graph: the one at the top, or the inside of a subgraph, which all its instances share."""

    saved: SavedGraph
    nodes: dict[str, Node] = field(default_factory=dict)
    # Link id -> the input in which it ends.
    ends: dict[str, tuple[Node, Slot]] = field(default_factory=dict)
    instances: list[Node] = field(default_factory=list)

    @property
    def links(self) -> dict[str, Link]:
        return self.saved.links

    @property
    def inputs(self) -> list[Port]:
        return self.saved.inputs

    @property
    def outputs(self) -> list[Port]:
        return self.saved.outputs
