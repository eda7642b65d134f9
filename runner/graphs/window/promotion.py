"""Fields that a subgraph shows on its instances, and the values they have there.

A subgraph's input that leads to a field inside becomes a field of every instance, with a value of its own; the value
inside is not used any more. The values lie in `widgets_values` by place: one for each such input, none for the others.
Files from before that list the fields in `proxyWidgets` instead; the window turns each entry into such an input when it
opens the file, and so does this.
"""

from __future__ import annotations

import json
import re
from typing import Any

from .form import ENTRANCE, Link, Port
from .node import Node, Sheet, Slot, Widget
from .values import as_list
from .virtual import PRIMITIVE

PREFIX = re.compile(r"^\s*(\d+)\s*:\s*(.+)$", re.DOTALL)


def promote(instance: Node) -> None:
    """Give a new instance the fields of its subgraph and their saved values."""
    assert instance.definition is not None
    shared: dict[str, Widget] = {}
    for slot, port in zip(instance.inputs, instance.definition.inputs, strict=False):
        _show(instance.definition, slot, port, shared)
    values = as_list(instance.saved.get("widgets_values"))
    held = _quarantined(instance)
    place = 0
    for slot in instance.inputs:
        if slot.promoted is None:
            continue
        if slot.name in held:
            slot.promoted.value = held[slot.name]
        elif place < len(values):
            slot.promoted.value = values[place]
        place += 1


def _show(inside: Sheet, slot: Slot, port: Port, shared: dict[str, Widget] | None = None) -> None:
    for id_ in port.links:
        if id_ in inside.links and id_ in inside.ends:
            node, end = inside.ends[id_]
            source = node.widget_of(end)
            if source is not None:
                own = Widget(port.name, source.kind, source.value, options=source.options)
                slot.promoted = own if shared is None else shared.setdefault(port.name, own)
                return


def _quarantined(instance: Node) -> dict[str, Any]:
    """Values that an earlier opening could not place, by the name of the input they are meant for."""
    entries = _parsed(instance.properties.get("proxyWidgetErrorQuarantine"))
    held: dict[str, Any] = {}
    for entry in entries:
        original = entry.get("originalEntry") if isinstance(entry, dict) else None
        if isinstance(original, list) and len(original) >= 2 and original[0] == "-1" and "hostValue" in entry:
            held.setdefault(str(original[1]), entry["hostValue"])
    return held


def _parsed(value: Any) -> list[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    return value if isinstance(value, list) else []


def migrate(instance: Node) -> None:
    """Turn the `proxyWidgets` of an instance into inputs of its subgraph, and give them their saved values."""
    entries = _parsed(instance.properties.get("proxyWidgets"))
    if not all(isinstance(e, list) and len(e) in (2, 3) and all(isinstance(p, str) for p in e) for e in entries):
        return
    values = as_list(instance.saved.get("widgets_values"))
    plans = []
    sources = [_normal(instance, *entry) for entry in entries]
    for place, (node_id, name, inner) in enumerate(sources):
        value = [values[place]] if place < len(values) else []
        plans.append((entries[place], _plan(instance, node_id, name, inner, sources), value))
    primitives: dict[str, list[tuple[str, list[Any]]]] = {}
    for entry, plan, value in plans:
        kind, *detail = plan
        done = True
        if kind == "linked":
            matching = [slot for slot in instance.inputs if slot.name == detail[0]]
            done = len(matching) == 1 and matching[0].promoted is not None
            if done and value:
                matching[0].promoted.value = value[0]  # type: ignore[union-attr]
        elif kind == "new":
            done = _add_input(instance, detail[0], detail[1], value)
        elif kind == "primitive":
            primitives.setdefault(detail[0], []).append((detail[1], value))
        elif kind == "nothing":
            done = False
        if not done and entry[0] == "-1" and value:
            meant = next((slot for slot in instance.inputs if slot.name == entry[1]), None)
            if meant is not None and meant.promoted is not None:
                meant.promoted.value = value[0]
    for primitive_id, cohort in primitives.items():
        _replace_primitive(instance, primitive_id, cohort)


Source = tuple[str, str, str | None]


def _normal(instance: Node, node_id: str, name: str, inner: str | None = None) -> Source:
    """An entry as it is meant: names such as '7: 3: seed' were once written for fields of inner instances."""
    if _concrete(instance, node_id, name):
        return node_id, name, inner
    found = PREFIX.match(name)
    while found:
        inner, name = found.group(1), found.group(2)
        found = PREFIX.match(name)
    return node_id, name, inner


def _concrete(instance: Node, node_id: str, name: str) -> bool:
    """Whether there is a field of that name on that inner node, through any number of inner subgraphs."""
    for _ in range(100):
        assert instance.definition is not None
        node = instance.definition.nodes.get(node_id)
        if node is None:
            return False
        if node.definition is None:
            return node.widget(name) is not None
        target = _target(node, name)
        if target is None:
            return False
        instance, (node_id, name) = node, target
    return False


def _target(instance: Node, input_name: str) -> tuple[str, str] | None:
    """(inner node, field or input) that an input of an instance leads to."""
    assert instance.definition is not None
    port = next((port for port in instance.definition.inputs if port.name == input_name), None)
    return _source(instance.definition, port) if port is not None else None


def _source(inside: Sheet, port: Port) -> tuple[str, str] | None:
    for id_ in port.links:
        if id_ not in inside.links or id_ not in inside.ends:
            continue
        node, slot = inside.ends[id_]
        if node.definition is not None:
            return node.id, slot.name
        widget = node.widget_of(slot)
        if widget is not None:
            return node.id, widget.name
    return None


def _plan(instance: Node, node_id: str, name: str, inner: str | None, sources: list[Source]) -> tuple[Any, ...]:
    inside = instance.definition
    assert inside is not None
    for slot, port in zip(instance.inputs, inside.inputs, strict=False):
        if _source(inside, port) == (node_id, name):
            return "linked", slot.name
    node = inside.nodes.get(node_id)
    if node is None:
        return ("nothing",)
    if node.type == PRIMITIVE:
        targets = [link for link in inside.links.values() if link.origin == node.id and link.id in inside.ends]
        if targets or sum(source[0] == node_id for source in sources) >= 2:
            return "primitive", node_id, name
        return ("nothing",)
    end = _field(node, name, inner)
    return ("new", node, end) if end is not None else ("nothing",)


def _field(node: Node, name: str, inner: str | None) -> Slot | None:
    """The input behind a field of an inner node; None for fields that have none (previews, seed controls)."""
    if node.definition is None:
        return next((slot for slot in node.inputs if slot.widget == name), None) if node.widget(name) else None
    for slot in node.inputs:
        target = _target(node, slot.name)
        fits = target is not None and target[1] == name
        if (fits and target is not None and target[0] == inner) if inner else (slot.name == name or fits):
            return slot if slot.promoted is not None else None
    return None


def _add_input(instance: Node, node: Node, end: Slot, value: list[Any]) -> bool:
    widget = node.widget_of(end)
    if widget is None:
        return False
    name = end.name if node.definition is not None else widget.name
    slot = _new_port(instance, name, end.type, [(node, end)])
    if slot.promoted is not None and value:
        slot.promoted.value = value[0]
    return True


def _new_port(instance: Node, name: str, type_: Any, ends: list[tuple[Node, Slot]]) -> Slot:
    """A further input of the subgraph, linked to inputs inside, and shown on every instance there is."""
    inside = instance.definition
    assert inside is not None
    taken = {port.name for port in inside.inputs}
    unique, count = name, 0
    while unique in taken:
        count += 1
        unique = f"{name}_{count}"
    port = Port(unique, type_, [])
    inside.inputs.append(port)
    for node, end in ends:
        if end.link is not None:
            inside.links.pop(end.link.id, None)
            inside.ends.pop(end.link.id, None)
        link = Link(
            f"new {len(inside.links)} {unique} {node.id}",
            ENTRANCE,
            len(inside.inputs) - 1,
            node.id,
            node.inputs.index(end),
        )
        end.link = link
        inside.links[link.id] = link
        inside.ends[link.id] = (node, end)
        port.links.append(link.id)
    for host in inside.instances:
        slot = Slot(unique, type_)
        _show(inside, slot, port)
        host.inputs.insert(len(inside.inputs) - 1, slot)
    return instance.inputs[len(inside.inputs) - 1]


def _replace_primitive(instance: Node, primitive_id: str, cohort: list[tuple[str, list[Any]]]) -> None:
    """A primitive inside that was shown outside goes; its targets are linked to a new input."""
    inside = instance.definition
    assert inside is not None
    primitive = inside.nodes[primitive_id]
    name = cohort[0][0]
    ends = [
        inside.ends[link.id] for link in inside.links.values() if link.origin == primitive_id and link.id in inside.ends
    ]
    type_ = primitive.outputs[0] if primitive.outputs else None
    if not ends or type_ is None or any(other != name for other, _ in cohort):
        return
    if any(end.type != type_ and "*" not in (end.type, type_) for _, end in ends) or not _alike(ends):
        return
    title = primitive.saved.get("title")
    slot = _new_port(instance, str(title) if title and title != PRIMITIVE else name, type_, ends)
    value = next((value for _, value in cohort if value), None)
    if slot.promoted is not None and value:
        slot.promoted.value = value[0]


def _alike(ends: list[tuple[Node, Slot]]) -> bool:
    """Several fields can hang on one input only if they take the same numbers."""
    widgets = [node.widget_of(end) for node, end in ends]
    limits = [
        (widget.kind, *(widget.options.get(name) for name in ("min", "max", "step")))
        for widget in widgets
        if widget is not None
    ]
    return all(limit == limits[0] for limit in limits)
