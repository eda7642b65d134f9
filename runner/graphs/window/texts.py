"""What the window fills into texts when it queues: one of several wordings, no comments, values for %names%."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime

from .node import Node
from .widgets import as_text

# (where, number of options) -> which one.
Chooser = Callable[[str, int], int]

COMMENT = re.compile("/\\*[\\s\\S]*?\\*/|//[^\n\r\u2028\u2029]*")
ESCAPED = re.compile(r"\\([{}|])")
PLACE = re.compile(r"%([^%]+)%")
DATE = re.compile(r"yyyy|yy|d{1,2}|M{1,2}|h{1,2}|m{1,2}|s{1,2}")
UNSAFE = re.compile(r'[/?<>\\:*|"\x00-\x1F\x7F]')
# Their file name prefix may hold %Node.field% and %date:...%.
SAVERS = {
    "SaveImage",
    "SaveImageAdvanced",
    "SaveSVGNode",
    "SaveVideo",
    "SaveAnimatedWEBP",
    "SaveWEBM",
    "SaveAudio",
    "SaveAudioMP3",
    "SaveAudioOpus",
    "SaveAudioAdvanced",
    "SaveGLB",
    "Save3DAdvanced",
    "SaveGaussianSplat",
    "SavePointCloud",
    "SaveAnimatedPNG",
    "CLIPSave",
    "VAESave",
    "ModelSave",
    "LoraSave",
    "SaveLatent",
}


def dynamic_prompt(text: str, choose: Callable[[int], int]) -> str:
    """`{a|b}` becomes one of its options (they may hold further ones), comments vanish, `\\{` is a brace.

    `choose` gets the number of options and gives the index of one. What is chosen is treated again as a whole text, so
    that a comment in it vanishes too, as in the window.
    """
    return _filled(text, choose, 0)


DEEPEST = 200


def _filled(text: str, choose: Callable[[int], int], depth: int) -> str:
    text = COMMENT.sub("", text)
    result: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "\\":
            result.append("\\" + (text[at] if at < len(text) else "undefined"))
            at += 1
        elif char == "{":
            options, at = _options(text, at)
            chosen = options[choose(len(options))]
            result.append(_filled(chosen, choose, depth + 1) if depth < DEEPEST else chosen)
        else:
            result.append(char)
    return ESCAPED.sub(r"\1", "".join(result))


def _options(text: str, at: int) -> tuple[list[str], int]:
    """The options of a block whose brace is behind us, and where the text goes on."""
    options: list[str] = []
    choice: list[str] = []
    depth = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "\\":
            choice.append("\\" + (text[at] if at < len(text) else "undefined"))
            at += 1
            continue
        if char == "}" and depth == 0:
            break
        if char == "|" and depth == 0:
            options.append("".join(choice))
            choice = []
            continue
        depth += {"{": 1, "}": -1}.get(char, 0)
        choice.append(char)
    return [*options, "".join(choice)], at


def replaced(text: str, nodes: Iterable[Node], now: datetime) -> str:
    """%Node.field% becomes the value of a field, %date:yyyy-MM-dd% the time; anything else stays as it is."""
    every = list(nodes)

    def one(match: re.Match[str]) -> str:
        parts = match.group(1).split(".")
        if len(parts) != 2:
            return dated(parts[0][5:], now) if parts[0].startswith("date:") else match.group(0)
        name, field = parts
        found = [node for node in every if _name_for_replacing(node) == name] or [n for n in every if n.title == name]
        widget = found[0].widget(field) if found else None
        if widget is None and found:
            slot = next((slot for slot in found[0].inputs if slot.name == field and slot.promoted), None)
            widget = slot.promoted if slot is not None else None
        return UNSAFE.sub("_", as_text(widget.value)) if widget is not None else match.group(0)

    return PLACE.sub(one, text)


def _name_for_replacing(node: Node) -> object:
    """The property 'Node name for S&R'; a node without one has its class."""
    if node.info is not None and node.type not in SAVERS:
        return node.properties.get("Node name for S&R", node.type)
    return node.properties.get("Node name for S&R")


def dated(pattern: str, now: datetime) -> str:
    parts = {"d": now.day, "M": now.month, "h": now.hour, "m": now.minute, "s": now.second}

    def one(match: re.Match[str]) -> str:
        part = match.group(0)
        if part[0] == "y":
            return f"{now.year}"[2:] if part == "yy" else f"{now.year}"
        return f"{parts[part[0]]:0{len(part)}d}"

    return DATE.sub(one, pattern)
