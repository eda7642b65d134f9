"""Group nodes, the forerunners of subgraphs, put back into the nodes they were made of.

The file keeps the nodes of a group once, in `extra.groupNodes`, and its instances as nodes of the type
`workflow>NAME` with the inputs, fields and outputs that the nodes inside leave open. Which those are, under which names
and in which order, follows from the nodes inside; so the class is made up first, an instance is filled from the file as
any node is, and its values and links are then handed to the nodes that come out of it.

Primitives in a group write nothing: the window gives them no field when it takes the group apart.
"""

from __future__ import annotations

import copy
from typing import Any

from .bypass import fits
from .fields import Spec, declared, is_field
from .form import ROOT, SavedGraph, broken, key, slots
from .node import Node, Sheet
from .opening import made
from .virtual import NOTES, PRIMITIVE
from .widgets import set_value

PREFIXES = ("workflow>", "workflow/")
PASSING = {"Reroute", PRIMITIVE} | NOTES
# The window shows the fields of these on the subgraph that it makes of a group, and queues shown texts as they are.
SHOWN_OUTSIDE = {"CLIPTextEncode", "LoadImage", "SaveImage", "PreviewImage"}


def expanded(data: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """The file without group nodes; the file itself if it has none.

    Raises:
        RequestError: a group holds nodes that the server does not know.
    """
    extra = data.get("extra")
    groups = extra.get("groupNodes") if isinstance(extra, dict) else None
    nodes = data.get("nodes")
    if not isinstance(groups, dict) or not isinstance(nodes, list) or not any(_group_of(n, groups) for n in nodes):
        return data
    try:
        return _Expansion(data, groups, object_info).run()
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise broken(f"its group nodes are not as ComfyUI saves them ({error})", "group nodes of one piece") from error


def _group_of(node: Any, groups: dict[str, Any]) -> str:
    type_ = node.get("type") if isinstance(node, dict) else None
    name = type_[len(PREFIXES[0]) :] if isinstance(type_, str) and type_.startswith(PREFIXES) else ""
    return name if isinstance(groups.get(name), dict) else ""


class _Group:
    """What a group shows outside, and which node inside each part belongs to."""

    def __init__(self, name: str, saved: dict[str, Any], object_info: dict[str, Any]) -> None:
        self.nodes: list[dict[str, Any]] = saved["nodes"]
        self.links: list[list[Any]] = [link for link in saved.get("links") or [] if link[0] is not None]
        self.config = saved.get("config") or {}
        self.external = {(int(entry[0]), int(entry[1])) for entry in saved.get("external") or []}
        self.object_info = object_info
        unknown = [
            n.get("type") for n in self.nodes if n.get("type") not in object_info and n.get("type") not in PASSING
        ]
        if unknown:
            raise broken(
                f"the group node '{name}' holds nodes that the server does not know: {', '.join(map(str, unknown))}",
                "nodes that the server knows",
            )
        self.specs: dict[str, Spec] = {}
        self.outputs: list[tuple[Any, int, int]] = []
        # For each node inside: its field or input -> the name, or the number of the input, outside.
        self.fields: list[dict[str, str | None]] = [{} for _ in self.nodes]
        self.inputs: list[dict[str, int]] = [{} for _ in self.nodes]
        self._count = 0
        self._seen: dict[str, int] = {}
        self._primitives: dict[int, dict[str, Any]] = {}
        later = []
        for index in range(len(self.nodes)):
            later.append((index, self._open(index)))
        for index, converted in later:
            self._show_converted(index, converted)

    def info(self) -> dict[str, Any]:
        required = {name: [spec.type, spec.options] for name, spec in self.specs.items()}
        return {"input": {"required": required}, "output": [type_ for type_, _, _ in self.outputs]}

    def _linked_to(self, index: int, slot: int) -> list[Any] | None:
        return next((link for link in reversed(self.links) if (link[2], link[3]) == (index, slot)), None)

    def _definition(self, index: int) -> tuple[list[Spec], list[Any]] | None:
        """(inputs, outputs) of a node inside, or None for one that shows nothing."""
        node = self.nodes[index]
        type_ = node.get("type")
        if type_ in self.object_info:
            info = {"name": type_, **self.object_info[type_]}
            return declared(info), list(info.get("output") or [])
        out = [link for link in self.links if link[0] == index]
        if type_ == PRIMITIVE and out:
            kind = out[0][5] if len(out[0]) > 5 else None
            options: dict[str, Any] = {}
            if kind == "COMBO":
                options = {"options": self._choices(node, out[0][2])}
            self._primitives[index] = options
            return [Spec("value", kind, options)], [kind]
        if type_ == "Reroute":
            into = self._linked_to(index, 0)
            if into and out and (index, 0) not in self.external:
                return None
            kind = next((self._input_type(link[2], link[3]) for link in out), None) or (
                into[5] if into and len(into) > 5 else "*"
            )
            return [Spec(str(kind), kind, {"forceInput": True})], [kind]
        return None

    def _choices(self, primitive: dict[str, Any], target: int) -> list[Any]:
        outputs = slots(primitive, "outputs")
        widget = outputs[0].get("widget") if outputs else None
        info = self.object_info.get(str(self.nodes[target].get("type")))
        specs = {spec.name: spec for spec in declared(info)} if info else {}
        found = specs.get(str(widget.get("name"))) if isinstance(widget, dict) else None
        return list(found.options.get("options") or []) if found else []

    def _input_type(self, index: int, slot: int) -> Any:
        entries = slots(self.nodes[index], "inputs")
        return entries[slot].get("type") if slot < len(entries) else None

    def _open(self, index: int) -> list[tuple[int, Spec]]:
        """Show what one node leaves open; gives its fields that were turned into inputs, which come last."""
        definition = self._definition(index)
        if definition is None:
            return []
        specs, outputs = definition
        node = self.nodes[index]
        names = [entry.get("name") for entry in slots(node, "inputs")]
        turned = {
            e.get("name")
            for e in slots(node, "inputs")
            if isinstance(e.get("widget"), dict) and e["widget"].get("name") == e.get("name")
        }
        converted, sockets = [], []
        for spec in specs:
            if not is_field(spec):
                sockets.append(spec)
            elif spec.name in turned:
                converted.append((names.index(spec.name), spec))
                self.fields[index][spec.name] = None
            else:
                self.fields[index][spec.name] = self._show(index, spec)
        for number, spec in enumerate(sockets):
            link = self._linked_to(index, names.index(spec.name) if spec.name in names else number)
            if link:
                self._configure_primitive(link, spec)
                continue
            custom = self._custom(index, "input", spec.name)
            name = self._name(index, spec)
            if custom.get("visible") is not False:
                self.specs[name] = spec
                self.inputs[index][spec.name] = self._count
                self._count += 1
        for slot, type_ in enumerate(outputs):
            inside = (
                any((link[0], link[1]) == (index, slot) for link in self.links) and (index, slot) not in self.external
            )
            if self._custom(index, "output", str(slot)).get("visible", not inside):
                self.outputs.append((type_, index, slot))
        return sorted(converted, key=lambda entry: entry[0])

    def _show_converted(self, index: int, converted: list[tuple[int, Spec]]) -> None:
        for slot, spec in converted:
            link = self._linked_to(index, slot)
            if link:
                self._configure_primitive(link, spec)
                continue
            self.fields[index][spec.name] = self._show(index, spec)
            self.inputs[index][spec.name] = self._count
            self._count += 1

    def _show(self, index: int, spec: Spec) -> str:
        name = self._name(index, spec)
        options = spec.options
        if spec.name in ("seed", "noise_seed"):
            options = {**options, "control_after_generate": "control_after_generate of " + name}
        self.specs[name] = Spec(name, spec.type, options)
        return name

    def _name(self, index: int, spec: Spec) -> str:
        """The name outside: the one inside, with the node's title before it where that is taken."""
        node = self.nodes[index]
        label = next((e.get("label") for e in slots(node, "inputs") if e.get("name") == spec.name), None)
        name = place = str(self._custom(index, "input", spec.name).get("name") or label or spec.name)
        if (node.get("type") == PRIMITIVE and node.get("title")) or name in self._seen:
            prefix = f"{node.get('title') or node.get('type')} "
            name = place = f"{prefix}{spec.name}"
            if name in self._seen:
                name = f"{prefix}{self._seen[name]} {spec.name}"
        self._seen[place] = self._seen.get(place, 1) + 1
        return name

    def _custom(self, index: int, side: str, name: str) -> dict[str, Any]:
        config = self.config
        own = config.get(str(index)) if isinstance(config, dict) else config[index] if index < len(config) else None
        found = own.get(side, {}).get(name) if isinstance(own, dict) else None
        return found if isinstance(found, dict) else {}

    def _configure_primitive(self, link: list[Any], spec: Spec) -> None:
        """A primitive inside takes over the limits of its target, and a control of its own."""
        options = self._primitives.get(link[0])
        if options is not None:
            options.clear()
            options.update(spec.options)
            if self.fields[link[0]].get("value"):
                options["control_after_generate"] = True


class _Expansion:
    """One file whose group nodes are taken apart, one after the other."""

    def __init__(self, data: dict[str, Any], groups: dict[str, Any], object_info: dict[str, Any]) -> None:
        self.data = {**data, "nodes": [copy.deepcopy(node) for node in data["nodes"]]}
        self.groups, self.object_info = groups, object_info
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        self.links = [
            [link.get(n) for n in names] if isinstance(link, dict) else list(link)
            for link in data.get("links") or []
            if link
        ]
        numbers = [n.get("id") for n in self.data["nodes"]] + [data.get("last_node_id")]
        self.last_node = max([0, *(n for n in numbers if isinstance(n, int))])
        self.last_link = max([0, *(link[0] for link in self.links if isinstance(link[0], int))])
        self.sheet = Sheet(SavedGraph(ROOT, "", [], {}, {}))

    def run(self) -> dict[str, Any]:
        for node in list(self.data["nodes"]):
            name = _group_of(node, self.groups)
            if name:
                self._take_apart(node, _Group(name, self.groups[name], self.object_info))
        return {**self.data, "links": self.links}

    def _take_apart(self, saved: dict[str, Any], group: _Group) -> None:
        outer = made(saved, self.sheet, {saved["type"]: group.info()}, {})
        inner = self._inner(group)
        self._hand_values_on(outer, inner, group)
        for link in group.links:
            source, target = inner[link[0]], inner[link[2]]
            if (
                source.type != PRIMITIVE
                and link[3] < len(target.inputs)
                and fits(source.outputs[link[1]], target.inputs[link[3]].type)
            ):
                self.last_link += 1
                self._end_in(
                    target, target.inputs[link[3]].name, [self.last_link, source.id, link[1], target.id, 0, None]
                )
        into = {str(e.get("name")): key(e["link"]) for e in slots(saved, "inputs") if e.get("link") is not None}
        outer_id = key(saved.get("id"))
        for node, inputs in zip(inner, group.inputs, strict=True):
            for name, number in inputs.items():
                outside = outer.inputs[number].name if number < len(outer.inputs) else None
                coming = [x for x in self.links if key(x[0]) == into.get(str(outside)) and key(x[3]) == outer_id]
                if coming and any(slot.name == name for slot in node.inputs):
                    self.links.remove(coming[0])
                    self._end_in(node, name, coming[0])
        for link in [link for link in self.links if key(link[1]) == outer_id]:
            if int(link[2]) < len(group.outputs):
                _, index, slot = group.outputs[int(link[2])]
                link[1], link[2] = inner[index].id, slot
            else:
                self.links.remove(link)
        self.links = [link for link in self.links if key(link[3]) != outer_id]
        self.data["nodes"].remove(saved)
        self.data["nodes"] += [node.saved for node in inner if node.type != PRIMITIVE]

    def _inner(self, group: _Group) -> list[Node]:
        """New nodes for those of a group, with the ids they have in the subgraph that the window makes of it."""
        first = self.last_node + 1
        box = first + len(group.nodes)
        self.last_node = box
        inner = []
        for number, entry in enumerate(group.nodes):
            inputs = [{**slot, "link": None} for slot in slots(entry, "inputs")]
            outputs = [{**slot, "links": []} for slot in slots(entry, "outputs")]
            saved = {**copy.deepcopy(entry), "id": f"{box}:{first + number}", "inputs": inputs, "outputs": outputs}
            saved["shown_outside"] = entry.get("type") in SHOWN_OUTSIDE
            inner.append(made(saved, self.sheet, self.object_info, {}))
        return inner

    def _hand_values_on(self, outer: Node, inner: list[Node], group: _Group) -> None:
        """Each field outside gives its value to one field inside, in the order of the nodes."""
        used: set[int] = set()
        for node, fields in zip(inner, group.fields, strict=True):
            for name, outside in fields.items():
                at = next((n for n, w in enumerate(outer.widgets) if w.name == outside and n not in used), None)
                if outside is None or at is None:
                    continue
                if node.type == PRIMITIVE:
                    used.add(at)
                    continue
                widget = node.widget(name)
                if widget is not None:
                    used.add(at)
                    set_value(node, widget, outer.widgets[at].value)
            if node.info is not None:
                node.saved["widgets_values"] = [widget.value for widget in node.widgets if widget.kept]

    def _end_in(self, node: Node, name: str, link: list[Any]) -> None:
        """Let a link end at an input of a node that came out of a group."""
        number = next(n for n, slot in enumerate(node.inputs) if slot.name == name)
        link[3], link[4] = node.id, number
        self.links = [x for x in self.links if (key(x[3]), x[4]) != (node.id, number)] + [link]
        entries = node.saved["inputs"]
        entry = next((e for e in entries if e.get("name") == name), None)
        if entry is None:
            slot = node.inputs[number]
            entry = {"name": name, "type": slot.type}
            if slot.widget is not None:
                entry["widget"] = {"name": slot.widget}
            entries.append(entry)
        entry["link"] = link[0]
