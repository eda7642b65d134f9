"""What became of a job, read from its history entry: messages and outputs decide, not the word "success" alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

OUT_OF_MEMORY = ("OutOfMemoryError", "OutOfMemory")


@dataclass(frozen=True)
class Outcome:
    """`kind` is "success", "error", "out_of_memory" or "interrupted"; `text` says why, for people."""

    kind: str
    text: str = ""
    title: str = ""


def judge(entry: dict[str, Any], graph: dict[str, Any]) -> Outcome:
    """Read a history entry. A "success" still has to show its outputs: a blocked branch counts as success, too."""
    status = entry.get("status") or {}
    messages = {str(item[0]): item[1] for item in status.get("messages") or [] if len(item) == 2}
    if status.get("status_str") == "success":
        blocked = messages.get("execution_error") or {}
        return Outcome("success", str(blocked.get("exception_message", "")).strip())
    if "execution_interrupted" in messages:
        return Outcome("interrupted", "interrupted on the server")
    error = messages.get("execution_error") or {}
    kind = str(error.get("exception_type", ""))
    node_id = str(error.get("node_id", ""))
    title = ((graph.get(node_id) or {}).get("_meta") or {}).get("title") or str(error.get("node_type", ""))
    text = str(error.get("exception_message", "")).strip() or "the server gives no reason"
    if any(kind.endswith(name) for name in OUT_OF_MEMORY):
        return Outcome("out_of_memory", text, title)
    return Outcome("error", f"'{title}': {text}" if title else text, title)
