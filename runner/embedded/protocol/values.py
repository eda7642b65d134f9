"""Constants in a prompt: conversion to the input's type, ranges, choices, and which output fits which input."""

from __future__ import annotations

import math
from typing import Any

Config = tuple[Any, dict[str, Any]]


def converted(value: Any, kind: Any) -> Any:
    """A constant as INT, FLOAT, STRING or BOOLEAN; other types pass unchanged. Raises ValueError or TypeError."""
    if kind == "INT":
        return int(value)
    if kind == "FLOAT":
        number = float(value)
        if not math.isfinite(number):
            # ComfyUI lets nan through every range check.
            raise ValueError(f"{number} is not a finite number")
        return number
    if kind == "STRING":
        return str(value)
    if kind == "BOOLEAN":
        return bool(value)
    return value


def matches(received: Any, wanted: Any) -> bool:
    """Whether an output type fits an input type: equal, either one "*", or a common part of "A,B" and "B,C"."""
    if received == wanted:
        return True
    if not isinstance(received, str) or not isinstance(wanted, str):
        return False
    if "*" in (received, wanted):
        return True
    return bool({part.strip() for part in received.split(",")} & {part.strip() for part in wanted.split(",")})


def range_error(name: str, value: Any, config: Config) -> dict[str, Any] | None:
    """The error for a number below `min` or above `max`."""
    options = config[1]
    about = {"input_name": name, "input_config": config, "received_value": value}
    if "min" in options and value < options["min"]:
        kind, message = "value_smaller_than_min", f"Value {value} smaller than min of {options['min']}"
    elif "max" in options and value > options["max"]:
        kind, message = "value_bigger_than_max", f"Value {value} bigger than max of {options['max']}"
    else:
        return None
    return {"type": kind, "message": message, "details": name, "extra_info": about}


def list_error(name: str, value: Any, config: Config) -> dict[str, Any] | None:
    """The error for a choice that is not on offer; long lists are not sent back."""
    kind, options = config
    choices = kind if isinstance(kind, list) else options.get("options") if kind == "COMBO" else None
    if choices is None or value in choices:
        return None
    short = len(choices) <= 20
    return {
        "type": "value_not_in_list",
        "message": "Value not in list",
        "details": f"{name}: '{value}' not in {choices if short else f'(list of length {len(choices)})'}",
        "extra_info": {"input_name": name, "input_config": config if short else None, "received_value": value},
    }
