"""The inputs and fields of a node class, made from the server's description as the window makes them.

Order matters: `widgets_values` holds values by place, and a link may name its target by number. Sockets come first,
then the fields, each with a socket of its own; a dynamic combo brings the fields of the option that is chosen.
"""

from __future__ import annotations

from typing import Any

from .fields import AUTOGROW, MATCH_TYPE, Spec, is_field, maker_of, ordered, read_spec
from .node import Node, Slot, Widget


def lay_out(node: Node) -> None:
    """Sockets and fields of a new node of a class that the server knows."""
    assert node.info is not None
    specs = ordered(node.info)
    for spec in specs:
        add_socket(node, spec)
    for spec in specs:
        add_field(node, spec, new=True)
    if node.type == "CustomCombo" and node.widgets:
        _as_custom_combo(node)


def add_socket(node: Node, spec: Spec) -> None:
    if is_field(spec):
        return
    if spec.type == AUTOGROW:
        _grow(node, spec)
    elif spec.type == MATCH_TYPE:
        template = spec.options.get("template")
        allowed = template.get("allowed_types") if isinstance(template, dict) else None
        node.inputs.append(Slot(spec.name, allowed or "*"))
    else:
        node.inputs.append(Slot(spec.name, spec.type))


def add_field(node: Node, spec: Spec, new: bool = False) -> None:
    """The field of an input, with its own socket. Prompts are dynamic only on fields of a `new` node."""
    if not is_field(spec):
        return
    maker = maker_of(spec.field_type)
    assert maker is not None
    made = maker(node, spec)
    if new:
        made[0].dynamic = spec.options.get("dynamicPrompts") is True
    node.widgets += made
    if made[0].kind in ("dynamic", "rows"):
        set_value(node, made[0], made[0].value, new)
    if not spec.options.get("socketless") and made[0].kind != "rows":
        node.inputs.append(Slot(spec.name, spec.type, spec.name))


def set_value(node: Node, widget: Widget, value: Any, new: bool = False) -> None:
    """Give a field its value, with what follows from it for the fields beside it."""
    if widget.kind == "rows":
        if not isinstance(value, (int, float)) or isinstance(value, bool) or value != value:
            return
        value = max(int(widget.options.get("min") or 0), min(int(value), MOST_ROWS))
    elif widget.kind == "customtext" and not isinstance(value, str):
        value = as_text(value)
    elif widget.kind == "index":
        return
    previous, widget.value = widget.value, value
    if widget.kind == "dynamic":
        choices = widget.options["choices"]
        _replace_children(node, widget, previous, _children(widget, choices.get(value)) if value else [], new)
    elif widget.kind == "rows":
        _replace_children(node, widget, previous, _row_fields(widget), new)
    elif widget.kind == "option":
        _options_changed(node, widget)


MOST_ROWS = 1000


def as_text(value: Any) -> str:
    """What a text box makes of a value that is none."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list):
        return ",".join(as_text(item) for item in value)
    return "[object Object]" if isinstance(value, dict) else str(value)


def _children(widget: Widget, inputs: Any) -> list[Spec]:
    if not isinstance(inputs, dict):
        return []
    sections = (inputs.get("required"), inputs.get("optional"))
    return [
        read_spec(f"{widget.name}.{name}", entry)
        for section in sections
        if isinstance(section, dict)
        for name, entry in section.items()
    ]


def _row_fields(widget: Widget) -> list[Spec]:
    template = widget.options.get("template")
    return [
        Spec(f"{widget.name}.{row}.{spec.name[len(widget.name) + 1 :]}", spec.type, spec.options)
        for row in range(widget.value)
        for spec in _children(widget, template)
    ]


def _replace_children(node: Node, widget: Widget, previous: Any, specs: list[Spec], new: bool) -> None:
    """Take out the fields of the option that was chosen, put in those of the one that is now."""
    prefix = f"{widget.name}."
    removed = widget.options.setdefault("removed", {})
    gone = [child for child in node.widgets if child.name.startswith(prefix)]
    removed.setdefault(str(previous), {}).update({child.name: child for child in gone})
    node.widgets[:] = [child for child in node.widgets if not child.name.startswith(prefix)]
    linked = {slot.name: slot for slot in node.inputs if slot.name.startswith(prefix) and slot.link is not None}
    inputs = [slot for slot in node.inputs if not slot.name.startswith(prefix)]
    host = Node(node.id, node.type, node.saved, node.sheet, info=node.info)
    for spec in specs:
        add_socket(host, spec)
        add_field(host, spec, new)
    for child in host.widgets:
        before = removed.get(str(widget.value), {}).get(child.name)
        if before is not None and before.kind == child.kind and child.kind not in ("dynamic", "rows"):
            child.value = before.value
    at = node.widgets.index(widget) + 1
    node.widgets[at:at] = host.widgets
    after = next((n + 1 for n, slot in enumerate(inputs) if slot.name == widget.name), len(inputs))
    inputs[after:after] = [linked.pop(slot.name, slot) for slot in host.inputs]
    node.inputs = inputs
    for slot in linked.values():
        if slot.link is not None:
            node.sheet.ends.pop(slot.link.id, None)


def _grow(node: Node, spec: Spec) -> None:
    """An input that repeats itself: one more than the least, the rest comes with the links of the file."""
    template = spec.options.get("template")
    template = template if isinstance(template, dict) else {}
    inputs = _children(Widget(spec.name, ""), template.get("input"))
    names = template.get("names")
    names = [str(name) for name in names] if isinstance(names, list) else None
    most = len(names) if names is not None else int(template.get("max", 100))
    for ordinal in range(min(max(1, int(template.get("min", 1)) + 1), most)):
        for child in inputs:
            own = child.name[len(spec.name) + 1 :]
            base = str(template.get("prefix") or "") if len(inputs) == 1 else own
            name = names[ordinal] if names is not None else f"{base}{ordinal}"
            repeated = Spec(f"{spec.name}.{name}", child.type, child.options)
            add_socket(node, repeated)
            add_field(node, repeated)


def _as_custom_combo(node: Node) -> None:
    """The core's CustomCombo: its options are fields that the window adds one by one; it sends the index as well."""
    node.widgets[0].options["values"] = []
    node.widgets.append(Widget("index", "index", -1))
    node.widgets.append(Widget("option1", "option", ""))


def _options_changed(node: Node, widget: Widget) -> None:
    options = [entry for entry in node.widgets if entry.kind == "option"]
    node.widgets[0].options["values"] = [as_text(entry.value) for entry in options if entry.value]
    if widget is options[-1] and widget.value:
        node.widgets.append(Widget(f"option{len(options) + 1}", "option", ""))
    elif not widget.value and len(options) > 1 and options[-2] is widget and not options[-1].value:
        node.widgets.remove(options[-1])
