"""Which input of a bypassed node its output hands on."""

from __future__ import annotations

from typing import Any

from .form import broken
from .node import Node

ANY = ("*", "", 0, None)


def input_that_stands_for(node: Node, output: int, wanted: Any) -> int | None:
    """The number of the input that takes the place of an output, or None if no type fits.

    The window asks for the type that the reader of the link takes: the input with the output's own number if it fits
    both, else the first of exactly that type, else the first that fits. A reader of anything gets the input of the same
    number, or the first.
    """
    if not 0 <= output < len(node.outputs):
        raise broken(f"a link starts at output {output} of {node.label}", f"one of its {len(node.outputs)} outputs")
    given = node.outputs[output]
    inputs = [slot.type for slot in node.inputs]
    if wanted in ("*", ""):
        return output if len(inputs) > output else 0
    fitting = [n for n, type_ in enumerate(inputs) if fits(type_, given) and fits(type_, wanted)]
    if output in fitting:
        return output
    if wanted in inputs:
        return inputs.index(wanted)
    return fitting[0] if fitting else None


def fits(one: Any, other: Any) -> bool:
    """Whether the window lets an output of one type into an input of the other: lists of types, any case, '*'."""
    if isinstance(one, (list, dict)) or isinstance(other, (list, dict)):
        return bool(one == other)
    if one in ANY or other in ANY or one == other:
        return True
    first = {part or "*" for part in str(one).lower().split(",")}
    second = {part or "*" for part in str(other).lower().split(",")}
    return "*" in first or "*" in second or bool(first & second)
