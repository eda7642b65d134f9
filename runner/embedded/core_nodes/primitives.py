"""Core nodes that hold one value each."""

from __future__ import annotations

import sys
from typing import Any

from ..execution.registry import core_node

NUMBER = {"min": -sys.maxsize, "max": sys.maxsize}

#: node id: (display name, type, options)
PRIMITIVES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "PrimitiveString": ("Text", "STRING", {"multiline": False}),
    "PrimitiveStringMultiline": ("Text (Multiline)", "STRING", {"multiline": True}),
    "PrimitiveInt": ("Int", "INT", {**NUMBER, "control_after_generate": "fixed"}),
    "PrimitiveFloat": ("Float", "FLOAT", {**NUMBER, "step": 0.1}),
    "PrimitiveBoolean": ("Boolean", "BOOLEAN", {}),
}


def value_of(value: Any) -> tuple[Any]:
    return (value,)


for _node_id, (_name, _kind, _options) in PRIMITIVES.items():
    core_node(
        _node_id,
        display_name=_name,
        category="utilities/primitive",
        inputs={"required": {"value": (_kind, _options)}},
        outputs=[(_kind, _kind)],
        python_module="comfy_extras.nodes_primitive",
    )(value_of)
