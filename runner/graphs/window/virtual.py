"""Nodes that only the window knows: what they pass on, what they set, and which cannot be done without it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...errors import Problem
from .fields import maker_of
from .node import BYPASSED, MUTED, Node, Sheet, Slot, Widget
from .values import as_list
from .widgets import set_value

NOTES = {"Note", "MarkdownNote"}
REROUTES = {"Reroute", "Reroute (rgthree)"}
PRIMITIVE = "PrimitiveNode"
# KJNodes and the packs that took its pair over; a value is known by the name in the first field.
SETTERS = {"SetNode", "easy setNode"}
GETTERS = {"GetNode": "SetNode", "easy getNode": "easy setNode"}
# Labels and remote controls: they act while somebody clicks, and what they did is in the saved modes.
LABELS = {
    "Label (rgthree)",
    "Bookmark (rgthree)",
    "Fast Muter (rgthree)",
    "Fast Bypasser (rgthree)",
    "Fast Groups Muter (rgthree)",
    "Fast Groups Bypasser (rgthree)",
    "Fast Actions Button (rgthree)",
    "Node Collector (rgthree)",
    "Mute / Bypass Relay (rgthree)",
    "Mute / Bypass Repeater (rgthree)",
}
VIRTUAL = NOTES | REROUTES | {PRIMITIVE} | SETTERS | set(GETTERS) | LABELS
# What a script does to the graph at the moment of queueing.
AT_QUEUE_TIME = {
    "Anything Everywhere": "cg-use-everywhere links its value to every free input that its rules fit",
    "Anything Everywhere?": "cg-use-everywhere links its value to every free input that its rules fit",
    "Anything Everywhere3": "cg-use-everywhere links its value to every free input that its rules fit",
    "Prompts Everywhere": "cg-use-everywhere links its value to every free input that its rules fit",
    "Seed Everywhere": "cg-use-everywhere links its value to every free seed",
    "Random Unmuter (rgthree)": "rgthree unmutes one of its nodes by chance",
}
MENDS = {
    "Anything Everywhere": "in the window: right click on the canvas, 'Convert all UEs to real links', and save",
    "Random Unmuter (rgthree)": "set the modes by hand, remove the node, and save",
}


def only_in_the_window(node: Node) -> Problem | None:
    """Why an active node cannot be queued from its file alone, or None."""
    reason = AT_QUEUE_TIME.get(node.type)
    if reason is None or node.mode in (MUTED, BYPASSED):
        return None
    mend = MENDS.get(node.type, MENDS["Anything Everywhere"])
    return Problem(
        "workflow.only_in_the_window",
        f"what '{node.type}' does is decided by a script in the window when the graph is queued: {reason}",
        node.label,
        "real links and modes",
        mend,
    )


def setter_of(getter: Node, sheet: Sheet) -> Node | None:
    """The node that sets what this one gets: the first of its graph with the same name."""
    name = first_value(getter)
    wanted = GETTERS[getter.type]
    if not name:
        return None
    return next((node for node in sheet.nodes.values() if node.type == wanted and first_value(node) == name), None)


def first_value(node: Node) -> object:
    values = node.saved.get("widgets_values")
    if isinstance(values, dict):
        values = list(values.values())
    return values[0] if isinstance(values, list) and values else None


def missing_setter(getter: Node) -> Problem:
    return Problem(
        "workflow.only_in_the_window",
        f"nothing in the same graph sets the value '{first_value(getter)}' that '{getter.type}' gets",
        getter.label,
        f"a '{GETTERS[getter.type]}' with that name in the same graph",
        "link the value directly, or put both nodes into one graph, and save",
    )


# The type that the window calls a field by; a primitive whose saved type differs takes the value of its target.
TYPE_OF_KIND = {
    "int": "INT",
    "float": "FLOAT",
    "text": "STRING",
    "customtext": "STRING",
    "toggle": "BOOLEAN",
    "combo": "COMBO",
    "dynamic": "COMFY_DYNAMICCOMBO_V3",
}


def write_primitive(primitive: Node, sheet: Sheet, replaced: Callable[[str], str]) -> None:
    """PrimitiveNode: write its one value into every field it is linked to.

    `replaced` fills in %Node.field%, where the primitive asks for it.
    """
    ends = [
        sheet.ends[link.id]
        for link in sheet.links.values()
        if link.origin == primitive.id and link.origin_slot == 0 and link.id in sheet.ends
    ]
    if not ends:
        return
    node, slot = ends[0]
    known, value = _value(primitive, node, slot)
    if not known:
        return
    if value and primitive.properties.get("Run widget replace on values") and isinstance(value, str):
        value = replaced(value)
    for node, slot in ends:
        widget = node.widget_of(slot)
        if widget is None:
            continue
        if slot.promoted is not None:
            widget.value = value
        else:
            set_value(node, widget, rounded(widget, value))


def _value(primitive: Node, node: Node, slot: Slot) -> tuple[bool, Any]:
    """(whether the primitive has a field at all, its value)."""
    widget = node.widget_of(slot)
    if widget is None:
        type_ = slot.type
        if maker_of(type_) is None or slot.widget is not None:
            return False, None
    else:
        type_ = TYPE_OF_KIND.get(widget.kind, slot.type)
    outputs = primitive.outputs
    values = as_list(primitive.saved.get("widgets_values"))
    if values and outputs and outputs[0] == type_:
        return True, values[0]
    return (True, widget.value) if widget is not None else (False, None)


def rounded(widget: Widget, value: Any) -> Any:
    """A number as the field rounds it when it is set: to its step (INT), to its digits (FLOAT)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return value
    options = widget.options
    if widget.kind == "int":
        step = options.get("step") or 1
        if step == 1:
            return value if isinstance(value, int) else math.floor(value + 0.5)
        offset = math.fmod(options.get("min") or 0, step)
        return _whole(math.floor((value - offset) / step + 0.5) * step + offset)
    if widget.kind == "float":
        step = options.get("step") or 0.5
        digits = max(0, -math.floor(math.log10(step))) if step > 0 else 0
        unit = options.get("round") or (10.0**-digits if digits else None)
        if not unit or isinstance(unit, bool):
            return value
        low, high = options.get("min", 0), options.get("max", 2048)
        exact = float(f"{math.floor(value / unit + 0.5) * unit:.{digits}f}")
        return max(low, min(high, exact))
    return value


def _whole(value: float) -> Any:
    return int(value) if float(value).is_integer() else value
