"""Every kind of field that the window has: what a class declares, and the field that the window makes of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .node import Node, Widget

CONTROL_MODES = ("fixed", "increment", "decrement", "randomize")
DYNAMIC_COMBO, DYNAMIC_GROUP = "COMFY_DYNAMICCOMBO_V3", "COMFY_DYNAMICGROUP_V3"
AUTOGROW, MATCH_TYPE = "COMFY_AUTOGROW_V3", "COMFY_MATCHTYPE_V3"
CURVE = {"points": [[0, 0], [1, 1]], "interpolation": "monotone_cubic"}
BOX = {"x": 0, "y": 0, "width": 512, "height": 512}
# Type -> kind, and the value of a new node where the class names none. (The rest has functions of its own below.)
PLAIN: dict[str, tuple[str, Any]] = {
    "BOOLEAN": ("toggle", False),
    "MARKDOWN": ("markdown", ""),
    "TEXTAREA": ("textarea", ""),
    "COLOR": ("color", "#000000"),
    "COLORS": ("colors", []),
    "CURVE": ("curve", CURVE),
    "RANGE": ("range", {"min": 0.0, "max": 1.0}),
    "PAINTER": ("painter", None),
    "BOUNDING_BOXES": ("boundingboxes", []),
    "CHART": ("chart", {}),
    "GALLERIA": ("galleria", []),
    "VIDEO_EDIT": ("videoedit", None),
    "COMPOSITOR": ("compositor", None),
    "LIGHT_INFO_PREVIEW": ("lightinfo", None),
}
# Fields whose value a script of the window computes when the graph is queued.
SCRIPTED = {
    "LOAD_3D": "it is a picture of the 3D view in the window",
    "LOAD_3D_ADVANCED": "it is the state of the 3D view in the window",
    "WEBCAM": "it is a picture of the camera beside the window",
    "AUDIO_RECORD": "it is a recording made in the window",
}
VIEWPORT_NODES = {"Load3DAdvanced", "Preview3DAdvanced", "PreviewGaussianSplat", "PreviewPointCloud"}
VIEWPORT_SAVERS = {"SaveGaussianSplat", "SavePointCloud", "Save3DAdvanced"}


@dataclass(frozen=True)
class Spec:
    """One declared input of a class."""

    name: str
    type: Any
    options: dict[str, Any]

    @property
    def field_type(self) -> Any:
        return self.options.get("widgetType") or self.type


def read_spec(name: str, entry: Any) -> Spec:
    """Both spellings of a combo ([[choices], ...] and ["COMBO", {"options": ...}]) become one."""
    parts = entry if isinstance(entry, (list, tuple)) and entry else [entry]
    options = dict(parts[1]) if len(parts) > 1 and isinstance(parts[1], dict) else {}
    if isinstance(parts[0], (list, tuple)):
        return Spec(name, "COMBO", {**options, "options": list(parts[0])})
    return Spec(name, parts[0], options)


def declared(info: dict[str, Any]) -> list[Spec]:
    """Every input as the class declares it: the required ones, what the window's scripts add, the optional ones."""
    inputs = info.get("input") or {}
    required = {name: read_spec(name, entry) for name, entry in _entries(inputs, "required")}
    for name, entry in _added_by_the_window(str(info.get("name") or ""), required):
        required[name] = read_spec(name, entry)
    optional = {name: read_spec(name, entry) for name, entry in _entries(inputs, "optional")}
    return list({**required, **optional}.values())


def _entries(inputs: dict[str, Any], section: str) -> list[tuple[str, Any]]:
    found = inputs.get(section)
    return list(found.items()) if isinstance(found, dict) else []


def _added_by_the_window(class_type: str, required: dict[str, Spec]) -> Iterator[tuple[str, Any]]:
    media = ("image_upload", "animated_image_upload", "video_upload")
    if any(spec.type == "COMBO" and any(spec.options.get(key) for key in media) for spec in required.values()):
        yield "upload", ["IMAGEUPLOAD", {}]
    if "audio" in required and required["audio"].options.get("audio_upload"):
        yield "upload", ["AUDIOUPLOAD", {}]
    if class_type in ("SaveGLB", "Preview3D"):
        yield "image", ["PREVIEW_3D", {}]
    if class_type == "Load3DAdvanced":
        yield "viewport_state", ["LOAD_3D_ADVANCED", {}]


def ordered(info: dict[str, Any]) -> list[Spec]:
    """The same in the order in which a node is laid out: the server's `input_order` first, the rest behind it."""
    specs = {spec.name: spec for spec in declared(info)}
    order = info.get("input_order")
    if not isinstance(order, dict):
        return list(specs.values())
    named = [name for section in ("required", "optional") for name in order.get(section) or []]
    return [specs[name] for name in dict.fromkeys([*(name for name in named if name in specs), *specs])]


Maker = Callable[[Node, "Spec"], list[Widget]]


def maker_of(type_: Any) -> Maker | None:
    """What makes the fields of a type; None for types that only links can carry."""
    if not isinstance(type_, str):
        return None
    if type_ in PLAIN:
        return _plain
    if type_ in SCRIPTED:
        return _scripted
    return MAKERS.get(type_)


def _default(spec: Spec, otherwise: Any) -> Any:
    found = spec.options.get("default")
    return copy.deepcopy(otherwise if found is None else found)


def _plain(node: Node, spec: Spec) -> list[Widget]:
    kind, value = PLAIN[spec.field_type]
    return [Widget(spec.name, kind, _default(spec, value), options=spec.options)]


def _number(node: Node, spec: Spec) -> list[Widget]:
    kind = "int" if spec.field_type == "INT" else "float"
    made = [Widget(spec.name, kind, _default(spec, 0), options=spec.options)]
    control = spec.options.get("control_after_generate")
    if control is None and kind == "int":
        control = spec.name in ("seed", "noise_seed")
    return made + (_control(spec) if control else [])


def _control(spec: Spec) -> list[Widget]:
    """The field behind a seed that says how it changes: kept in the file, never queued."""
    name = spec.options.get("control_after_generate")
    named = isinstance(name, str) and bool(name.strip()) and name not in CONTROL_MODES
    values = [*CONTROL_MODES, "increment-wrap"]
    return [
        Widget(
            str(name) if named else "control_after_generate", "combo", "fixed", sent=False, options={"values": values}
        )
    ]


def _text(node: Node, spec: Spec) -> list[Widget]:
    kind = "customtext" if spec.options.get("multiline") else "text"
    return [Widget(spec.name, kind, _default(spec, ""), options=spec.options)]


def _combo(node: Node, spec: Spec) -> list[Widget]:
    listed = spec.options.get("options")
    values = list(listed) if isinstance(listed, (list, tuple)) else []
    if spec.options.get("multi_select"):
        made = [Widget(spec.name, "multiselect", [], options=spec.options)]
    else:
        remote = spec.options.get("remote")
        value = spec.options.get("default") or (values[0] if values else "Loading..." if remote else None)
        made = [Widget(spec.name, "combo", value, options={**spec.options, "values": values})]
        if isinstance(remote, dict) and remote.get("refresh_button"):
            made.append(Widget("refresh", "button", "refresh"))
    if spec.options.get("control_after_generate"):
        made += [*_control(spec), Widget("control_filter_list", "string", "", sent=False)]
    return made


def _button(node: Node, spec: Spec) -> list[Widget]:
    return [Widget(spec.name, "button", "image", sent=False)]


def _compare(node: Node, spec: Spec) -> list[Widget]:
    # What it shows is filled in by the last run; nothing of it is in the file.
    return [Widget(spec.name, "imagecompare", ["", ""], kept=False)]


def _nothing(node: Node, spec: Spec) -> list[Widget]:
    return [Widget(spec.name, "preview", None, kept=False, sent=False)]


def _preview_3d(node: Node, spec: Spec) -> list[Widget]:
    return [Widget("image", "load3D", "")]


def _box(node: Node, spec: Spec) -> list[Widget]:
    value = _default(spec, BOX)
    parts = [Widget(part, "int", value.get(part), sent=False) for part in BOX] if isinstance(value, dict) else []
    return [Widget(spec.name, "boundingbox", value), *parts]


def _scripted(node: Node, spec: Spec) -> list[Widget]:
    name = spec.name
    if spec.field_type == "LOAD_3D":
        name = "viewport_state" if node.type in VIEWPORT_NODES | VIEWPORT_SAVERS else "image"
    return [Widget(name, "scripted", None, scripted=SCRIPTED[spec.field_type])]


def _dynamic(node: Node, spec: Spec) -> list[Widget]:
    listed = spec.options.get("options")
    choices = {str(entry.get("key")): entry.get("inputs") for entry in listed or [] if isinstance(entry, dict)}
    options = {"values": list(choices), "choices": choices, "removed": {}}
    return [Widget(spec.name, "dynamic", next(iter(choices), None), options=options)]


def _rows(node: Node, spec: Spec) -> list[Widget]:
    """A group that grows by rows; the first field counts them."""
    least = spec.options.get("min")
    return [Widget(spec.name, "rows", least if isinstance(least, int) else 0, sent=False, options=spec.options)]


MAKERS = {
    "INT": _number,
    "FLOAT": _number,
    "STRING": _text,
    "COMBO": _combo,
    "IMAGEUPLOAD": _button,
    "AUDIOUPLOAD": _button,
    "IMAGECOMPARE": _compare,
    "RESOLUTION_PREVIEW": _nothing,
    "AUDIO_UI": _nothing,
    "PREVIEW_3D": _preview_3d,
    "BOUNDING_BOX": _box,
    DYNAMIC_COMBO: _dynamic,
    DYNAMIC_GROUP: _rows,
}


def is_field(spec: Spec) -> bool:
    return not spec.options.get("forceInput") and maker_of(spec.field_type) is not None
