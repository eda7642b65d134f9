"""A saved file opened as the window opens it: every node made, filled from the file, and tied to the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import promotion
from .form import SavedGraph, broken, key, saved_graphs, slots
from .node import Node, Sheet, Slot
from .values import restore
from .virtual import VIRTUAL
from .widgets import lay_out, set_value


@dataclass
class Drawing:
    """An opened file: the graph at the top and the insides of the subgraphs that it uses."""

    root: Sheet
    insides: dict[str, Sheet]

    def sheets(self) -> list[Sheet]:
        return [*self.insides.values(), self.root]


def open_drawing(data: dict[str, Any], object_info: dict[str, Any]) -> Drawing:
    """Open a file in window form.

    Raises:
        RequestError: what the window would not open either: parts of a wrong kind, subgraphs that contain themselves.
    """
    top, definitions = saved_graphs(data)
    drawing = Drawing(Sheet(top), {})
    for saved in _inner_first(top, definitions):
        sheet = drawing.root if saved is top else drawing.insides.setdefault(saved.id, Sheet(saved))
        for entry in saved.nodes:
            node = made(entry, sheet, object_info, drawing.insides)
            sheet.nodes[node.id] = node
        _tie(sheet)
        for node in sheet.nodes.values():
            if node.definition is not None and node.properties.get("proxyWidgets") is not None:
                promotion.migrate(node)
    for sheet in drawing.sheets():
        for node in sheet.nodes.values():
            _settle(node, sheet)
    return drawing


def _inner_first(top: SavedGraph, definitions: dict[str, SavedGraph]) -> list[SavedGraph]:
    """The definitions that the graph uses, each behind those it is made of, and the graph itself last."""
    order: list[SavedGraph] = []
    state: dict[str, int] = {}
    stack = [(top, iter(_used(top, definitions)))]
    while stack:
        saved, rest = stack[-1]
        following = next(rest, None)
        if following is None:
            state[saved.id] = 2
            order.append(saved)
            stack.pop()
        elif state.get(following.id) is None:
            state[following.id] = 1
            stack.append((following, iter(_used(following, definitions))))
        elif state[following.id] == 1:
            raise broken(f"the subgraph '{following.name or following.id}' contains itself", "subgraphs without loops")
    return order


def _used(saved: SavedGraph, definitions: dict[str, SavedGraph]) -> list[SavedGraph]:
    return [definitions[str(node.get("type"))] for node in saved.nodes if str(node.get("type")) in definitions]


def made(saved: dict[str, Any], sheet: Sheet, object_info: dict[str, Any], insides: dict[str, Sheet]) -> Node:
    type_ = str(saved.get("type"))
    mode = saved.get("mode")
    node = Node(key(saved.get("id")), type_, saved, sheet, mode=mode if isinstance(mode, int) else 0)
    node.definition = insides.get(type_)
    node.virtual = type_ in VIRTUAL and node.definition is None
    own_title = ""
    if node.definition is not None:
        own_title = node.definition.saved.name
        node.inputs = [Slot(port.name, port.type) for port in node.definition.inputs]
        node.outputs = [port.type for port in node.definition.outputs]
        node.definition.instances.append(node)
    elif not node.virtual and isinstance(object_info.get(type_), dict):
        node.info = {"name": type_, **object_info[type_]}
        own_title = str(node.info.get("display_name") or type_)
        node.outputs = [
            "*" if out == "COMFY_MATCHTYPE_V3" else "COMBO" if isinstance(out, list) else out
            for out in node.info.get("output") or []
        ]
        lay_out(node)
    title = saved.get("title")
    node.title = str(title) if title else own_title or type_
    _add_saved_slots(node)
    if node.definition is not None:
        promotion.promote(node)
    elif node.info is not None:
        restore(node)
    return node


def _add_saved_slots(node: Node) -> None:
    """Inputs and outputs that the file has beyond the class (grown by links, or by scripts) are kept."""
    known = {slot.name for slot in node.inputs}
    for entry in slots(node.saved, "inputs"):
        name = str(entry.get("name"))
        if name not in known:
            widget = entry.get("widget")
            own = str(widget.get("name")) if isinstance(widget, dict) and widget.get("name") is not None else None
            node.inputs.append(Slot(name, entry.get("type"), own))
    node.outputs += [entry.get("type") for entry in slots(node.saved, "outputs")[len(node.outputs) :]]


def _tie(sheet: Sheet) -> None:
    """Every link ends at the input that names it; one that no input names, at the number it was saved with."""
    named: dict[str, list[str]] = {}
    for node in sheet.nodes.values():
        for entry in slots(node.saved, "inputs"):
            if entry.get("link") is not None:
                id_ = key(entry["link"])
                id_ = sheet.saved.aliases.get(id_, id_)
                if id_ in sheet.links and sheet.links[id_].target == node.id:
                    named.setdefault(id_, []).append(str(entry.get("name")))
    for link in sorted(sheet.links.values(), key=lambda link: link.id not in named):
        target = sheet.nodes.get(link.target)
        slot = _end(target, link.target_slot, named.get(link.id)) if target is not None else None
        if target is not None and slot is not None and slot.link is None:
            slot.link = link
            sheet.ends[link.id] = (target, slot)


def _end(node: Node, number: int, names: list[str] | None) -> Slot | None:
    at = node.inputs[number] if 0 <= number < len(node.inputs) else None
    if names is None or (at is not None and at.name in names):
        return at
    return next((slot for slot in node.inputs if slot.name in names), None)


def _settle(node: Node, sheet: Sheet) -> None:
    """What the window does last: inputs for absent fields go, a combo without a value gets its first one."""
    if node.info is not None:
        for slot in node.inputs:
            if slot.widget is not None and node.widget(slot.widget) is None and slot.link is not None:
                sheet.ends.pop(slot.link.id, None)
        node.inputs = [slot for slot in node.inputs if slot.widget is None or node.widget(slot.widget) is not None]
    for widget in list(node.widgets):
        if node.type in ("KSampler", "KSamplerAdvanced") and widget.name == "sampler_name":
            value = widget.value
            widget.value = value[7:] if isinstance(value, str) and value.startswith("sample_") else value
        values = widget.options.get("values")
        if widget.kind in ("combo", "dynamic") and values and widget.value is None:
            set_value(node, widget, values[0])
    for slot in node.inputs:
        own = slot.promoted
        if own is not None and own.kind in ("combo", "dynamic") and own.value is None and own.options.get("values"):
            own.value = own.options["values"][0]
