"""What became of a job, read from its history entry: messages and outputs decide, not the word "success" alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..answers import DISK_FULL

OUT_OF_MEMORY = ("OutOfMemoryError", "OutOfMemory")


@dataclass(frozen=True)
class Outcome:
    """`kind` is "success", "error", "out_of_memory", "disk_full" or "interrupted"; `text` says why, for people."""

    kind: str
    text: str = ""
    title: str = ""


def judge(entry: dict[str, Any], graph: dict[str, Any]) -> Outcome:
    """Read a history entry. A "success" still has to show its outputs: a blocked branch counts as success, too."""
    status = _object(entry.get("status"))
    said = status.get("messages")
    items = said if isinstance(said, list) else []
    messages = {str(item[0]): _object(item[1]) for item in items if isinstance(item, list) and len(item) == 2}
    if status.get("status_str") == "success":
        blocked = messages.get("execution_error") or {}
        return Outcome("success", str(blocked.get("exception_message", "")).strip())
    if "execution_interrupted" in messages:
        return Outcome("interrupted", "interrupted on the server")
    error = messages.get("execution_error") or {}
    kind = str(error.get("exception_type", ""))
    node_id = str(error.get("node_id", ""))
    title = _object(_object(graph.get(node_id)).get("_meta")).get("title") or str(error.get("node_type", ""))
    text = str(error.get("exception_message", "")).strip() or "the server gives no reason"
    if any(kind.endswith(name) for name in OUT_OF_MEMORY):
        return Outcome("out_of_memory", text, title)
    if kind.endswith("OSError") and DISK_FULL.search(text):
        return Outcome("disk_full", f"'{title}': {text}" if title else text, title)
    return Outcome("error", f"'{title}': {text}" if title else text, title)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
