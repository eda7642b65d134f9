"""What a server's /object_info says about one input of a node class, and whether a value is right for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..errors import first_of, nearest
from .window.fields import maker_of

WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
MATCHING = "COMFY_MATCHTYPE_V3"


@dataclass(frozen=True)
class InputSpec:
    """One input: its type as the server names it, its options, and whether it must be there."""

    name: str
    type: str
    options: dict[str, Any]
    required: bool

    @property
    def choices(self) -> list[Any] | None:
        """The allowed values of a combo, else None."""
        listed = self.options.get("options")
        return listed if self.type == "COMBO" and isinstance(listed, list) else None

    @property
    def is_widget(self) -> bool:
        return self.type in WIDGET_TYPES and not self.options.get("forceInput")

    @property
    def is_growing(self) -> bool:
        """A group of inputs: the graph holds its members under names such as 'images.image0', not the group itself."""
        return "DYNAMIC" in self.type or "AUTOGROW" in self.type

    @property
    def takes_uploads(self) -> bool:
        """A combo of files in the server's input folder: its list is a snapshot, uploads extend it."""
        return any(self.options.get(key) for key in ("image_upload", "video_upload", "audio_upload", "remote"))


def specs_of(class_info: dict[str, Any]) -> dict[str, InputSpec]:
    """Every declared input of a class, by name. Old-style combos ([[choices], {...}]) read like new ones."""
    found: dict[str, InputSpec] = {}
    declared = class_info.get("input") or {}
    for section in ("required", "optional"):
        for name, entry in (declared.get(section) or {}).items():
            kind, options = _kind_and_options(entry)
            found[name] = InputSpec(name, kind, options, section == "required")
    return found


def offered(class_info: dict[str, Any], name: str) -> set[str]:
    """What a class lets one choose for an input; nothing where it is no list."""
    spec = specs_of(class_info).get(name)
    return {str(choice) for choice in (spec.choices if spec else None) or []}


def is_open(class_info: dict[str, Any]) -> bool:
    """True for classes that accept inputs beyond the declared ones (growing or dynamic inputs)."""
    kinds = [spec.type for spec in specs_of(class_info).values()]
    return bool(class_info.get("accept_all_inputs")) or any("DYNAMIC" in kind or "AUTOGROW" in kind for kind in kinds)


def _kind_and_options(entry: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(entry, (list, tuple)) or not entry:
        return str(entry), {}
    options = dict(entry[1]) if len(entry) > 1 and isinstance(entry[1], dict) else {}
    if isinstance(entry[0], (list, tuple)):
        return "COMBO", {**options, "options": list(entry[0])}
    return str(entry[0]), options


def links_fit(given: Any, wanted: str) -> bool:
    """Whether an output of type `given` may feed an input of type `wanted`, as the server decides it."""
    if isinstance(given, (list, tuple)):
        given = "COMBO"
    # An output of the type that the inputs of the same node happen to have: only the server finds out.
    if "*" in (given, wanted) or MATCHING in (given, wanted):
        return True
    return bool({part.strip() for part in str(given).split(",")} & {part.strip() for part in wanted.split(",")})


def value_problem(spec: InputSpec, value: Any) -> tuple[str, str] | None:
    """Why a literal value is wrong for an input: (code, what was expected); None if it is right.

    Stricter than the server, which turns 64.9 into 64 without a word.
    """
    if isinstance(value, dict) and set(value) == {"__value__"}:
        value = value["__value__"]
    if not spec.is_widget:
        if spec.type in WIDGET_TYPES or "," in spec.type or spec.type in ("*", MATCHING):
            return None
        if maker_of(spec.type) is not None:
            # Colours, curves and the like: the window has a field for them, the server takes what comes.
            return None
        if spec.type.isupper() and "DYNAMIC" not in spec.type and isinstance(value, (str, int, float, bool)):
            return "graph.needs_link", f"a link from an output of type {spec.type}, not a value"
        return None
    if spec.type == "COMBO":
        return _choice_problem(spec, value)
    kinds = {"INT": int, "FLOAT": (int, float), "STRING": str, "BOOLEAN": bool}
    words = {"INT": "a whole number", "FLOAT": "a number", "STRING": "a text", "BOOLEAN": "true or false"}
    right_kind = isinstance(value, kinds[spec.type])  # type: ignore[arg-type]
    if not right_kind or (isinstance(value, bool) and spec.type != "BOOLEAN"):
        return "graph.wrong_type", words[spec.type]
    return _range_problem(spec, value) if spec.type in ("INT", "FLOAT") else None


def _choice_problem(spec: InputSpec, value: Any) -> tuple[str, str] | None:
    choices = spec.choices
    if choices is None or spec.takes_uploads:
        return None
    values = value if isinstance(value, list) and spec.options.get("multi_select") else [value]
    wrong = [item for item in values if item not in choices]
    if not wrong:
        return None
    if not choices:
        return "graph.not_a_choice", "one of the choices, but the server offers none"
    near = nearest(str(wrong[0]), [str(choice) for choice in choices])
    listed = first_of([repr(choice) for choice in choices], 12)
    return "graph.not_a_choice", f"one of {listed}" + (f" (nearest: '{near}')" if near else "")


def _range_problem(spec: InputSpec, value: float) -> tuple[str, str] | None:
    low, high = spec.options.get("min"), spec.options.get("max")
    if not math.isfinite(value):
        return "graph.out_of_range", "a finite number"
    if (low is not None and value < low) or (high is not None and value > high):
        if low is not None and high is not None:
            return "graph.out_of_range", f"{low} to {high}"
        return "graph.out_of_range", f"at least {low}" if low is not None else f"at most {high}"
    return None
