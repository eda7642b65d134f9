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
EVERYWHERE = "cg-use-everywhere links its value to every free input that its rules fit"
# What a script of a pack does at the moment of queueing.
AT_QUEUE_TIME = {
    "Anything Everywhere": EVERYWHERE,
    "Anything Everywhere?": EVERYWHERE,
    "Anything Everywhere3": EVERYWHERE,
    "Prompts Everywhere": EVERYWHERE,
    "Seed Everywhere": EVERYWHERE,
    "Random Unmuter (rgthree)": "rgthree unmutes one of its nodes by chance",
    "Power Lora Loader (rgthree)": "its list of LoRAs is fields that a script makes",
}
MENDS = {
    EVERYWHERE: "in the window: right click on the canvas, 'Convert all UEs to real links', and save",
    "Random Unmuter (rgthree)": "set the modes by hand, remove the node, and save",
    "Power Lora Loader (rgthree)": "use the core's 'Load LoRA' instead, once for each LoRA, and save",
    "Seed (rgthree)": "give it a seed of 0 or more, and save",
}


def only_in_the_window(node: Node) -> Problem | None:
    """Why an active node cannot be queued from its file alone, or None."""
    reason = AT_QUEUE_TIME.get(node.type)
    if node.type == "Seed (rgthree)" and first_value(node) in (-1, -2, -3):
        reason = f"a seed of {first_value(node)} stands for one that a script draws or counts"
    if reason is None or node.mode in (MUTED, BYPASSED):
        return None
    return Problem(
        "workflow.only_in_the_window",
        f"what '{node.type}' gives is decided by a script in the window when the graph is queued: {reason}",
        node.label,
        "links, modes and values that are in the file",
        MENDS.get(reason) or MENDS[node.type],
    )


def unread_values(node: Node, places: int) -> str:
    """What to say of a pack's node whose file holds more values than its class has fields; "" if it does not."""
    surplus = len(as_list(node.saved.get("widgets_values"))) - places
    custom = node.info is not None and str(node.info.get("python_module", "")).startswith("custom_nodes")
    if surplus <= 0 or not custom:
        return ""
    return (
        f"{node.label}: the file holds {surplus} more values than the class has fields; if a script of its pack makes "
        "fields for them in the window, they are not queued here"
    )


def setters_of(getter: Node, sheet: Sheet) -> list[Node]:
    """The nodes of a graph that set what this one gets; the first of them counts."""
    wanted, name = GETTERS[getter.type], first_value(getter)
    return [node for node in sheet.nodes.values() if node.type == wanted and first_value(node) == name]


def first_value(node: Node) -> object:
    values = node.saved.get("widgets_values")
    if isinstance(values, dict):
        values = list(values.values())
    return values[0] if isinstance(values, list) and values else None


def no_single_setter(getter: Node, found: int) -> Problem:
    return Problem(
        "workflow.only_in_the_window",
        f"{found or 'no'} nodes set the value '{first_value(getter)}' that '{getter.type}' gets",
        getter.label,
        f"one '{GETTERS[getter.type]}' with that name, in the same graph or around the subgraph",
        "link the value directly, or give the nodes different names, and save",
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
