"""What newer cores let a node say of itself, said only where the running core understands it.

ComfyUI 0.3.64, the oldest that the pack loads in, refuses a whole node for one field that it does not know.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from comfy_api.latest import io


def newer(**fields: Any) -> dict[str, Any]:
    """Those of the given fields that the core's ``io.Schema`` has, for ``io.Schema(..., **newer(...))``.

    ``search_aliases`` (words under which a search finds the node), ``essentials_category`` (its place among the
    essentials), and whatever comes after them.
    """
    known = {field.name for field in dataclasses.fields(io.Schema)}
    return {name: value for name, value in fields.items() if name in known}


def input_fields(**fields: Any) -> dict[str, Any]:
    """Those of the given arguments that the core's inputs take."""
    known = inspect.signature(io.Int.Input.__init__).parameters
    return {name: value for name, value in fields.items() if name in known}


#: For an input that a beginner need not see: ``io.Float.Input("weight", ..., **ADVANCED)``. The window folds it away.
ADVANCED: dict[str, Any] = input_fields(advanced=True)

#: For a node that shows its result: ``io.Schema(..., **SHOWS)``. The window gets the picture or text again after a run
#: in which the node did not have to work.
SHOWS: dict[str, Any] = newer(has_intermediate_output=True)
