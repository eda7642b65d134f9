"""`widgets_values` back into the fields of a node, by place, as the window does it.

The window reads by place, never by name (its setting "restore widget values by name" is off): names in
`widgets_values_named` are not looked at, and an object in `widgets_values` counts as the list of its values, if there
are as many of them as places. Where that gives something else than the names say, `names_ignored` tells it.
"""

from __future__ import annotations

from typing import Any

from .fields import DYNAMIC_GROUP, Spec, declared
from .node import Node
from .widgets import set_value


def restore(node: Node) -> None:
    """Fill the fields of a new node from its saved values."""
    values = places(node)
    at = index = 0
    while index < len(node.widgets):
        widget = node.widgets[index]
        if widget.kept:
            if at < len(values):
                set_value(node, widget, values[at])
            at += 1
        index += 1


def places(node: Node) -> list[Any]:
    """The saved values, one for each place."""
    saved = node.saved.get("widgets_values")
    if node.info is None:
        return as_list(saved)
    specs = declared(node.info)
    if any(spec.type == DYNAMIC_GROUP for spec in specs):
        return as_list(saved)
    return as_list(_migrated(node, specs, [] if saved is None else saved))


def as_list(saved: Any) -> list[Any]:
    """An object that was not taken as a list before has no places at all."""
    return list(saved) if isinstance(saved, (list, str)) else []


def _migrated(node: Node, specs: list[Spec], saved: Any) -> Any:
    """Files from before inputs and fields were one: leave out the places of fields that are sockets today."""
    widgets = {widget.name: widget for widget in node.widgets}
    forced: list[bool] = []
    for spec in specs:
        force = bool(spec.options.get("forceInput"))
        if (spec.name in widgets or force) and not (spec.name in widgets and not widgets[spec.name].kept):
            forced += [force, False] if spec.options.get("control_after_generate") else [force]
    if isinstance(saved, (list, str)):
        if True not in forced and len(saved) == sum(widget.kept for widget in node.widgets):
            return saved
        compact = [v for n, v in enumerate(saved) if n >= len(node.widgets) or node.widgets[n].kept]
        aligned = compact if len(compact) == len(forced) else list(saved) if len(saved) == len(forced) else None
    else:
        compact = _values_of(saved)
        aligned = compact if len(compact) == len(forced) else None
    return saved if aligned is None else [v for v, force in zip(aligned, forced, strict=True) if not force]


def _values_of(saved: Any) -> list[Any]:
    """The values of an object in the order of JavaScript: whole numbers first, then as written."""
    if not isinstance(saved, dict):
        return []
    numbers = sorted((name for name in saved if name.isdecimal() and str(int(name)) == name), key=int)
    return [saved[name] for name in [*numbers, *(name for name in saved if name not in set(numbers))]]


def names_ignored(node: Node) -> dict[str, tuple[Any, Any]]:
    """{field: (value by its name, value by its place)} where the two differ."""
    named: dict[str, Any] = {}
    for source in (node.saved.get("widgets_values"), node.saved.get("widgets_values_named")):
        if isinstance(source, dict):
            named.update(source)
    differing = {}
    for widget in node.widgets:
        if widget.sent and widget.kept and widget.name in named and named[widget.name] != widget.value:
            differing[widget.name] = (named[widget.name], widget.value)
    return differing
