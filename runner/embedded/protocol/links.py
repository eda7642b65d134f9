"""The shape of an API-format prompt: links between nodes, reachability, cycles, and the order of execution."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..execution.registry import InputTypes

Prompt = Mapping[str, Any]


def is_link(value: Any) -> bool:
    """`[node_id, slot]`; anything else is a constant."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], (int, float))
        and not isinstance(value[1], bool)
    )


def links_of(prompt: Prompt, node_id: str) -> Iterator[tuple[str, str, int]]:
    """(input name, source node, source slot) for each linked input of a node."""
    for name, value in prompt[node_id]["inputs"].items():
        if is_link(value):
            yield name, value[0], int(value[1])


def input_entry(types: InputTypes, name: str) -> tuple[str, Any, dict[str, Any]] | None:
    """(group, type, options) of a declared input, None for an undeclared one."""
    for group in ("required", "optional"):
        entry = types.get(group, {}).get(name)
        if entry is not None:
            return group, entry[0], entry[1] if len(entry) > 1 else {}
    return None


def upstream(prompt: Prompt, node_ids: Iterable[str]) -> list[str]:
    """These nodes and all that they depend on, sources first."""
    order: dict[str, None] = {}
    stack = [(node_id, False) for node_id in reversed(list(node_ids))]
    while stack:
        node_id, ready = stack.pop()
        if node_id in order:
            continue
        if ready:
            order[node_id] = None
            continue
        stack.append((node_id, True))
        stack.extend((source, False) for _, source, _ in links_of(prompt, node_id) if source not in order)
    return list(order)


def find_cycle(prompt: Prompt, start: str) -> list[str] | None:
    """A cycle that `start` depends on, its first node repeated at the end; None where there is none.

    Links to nodes that the prompt lacks are passed over: they are another error.
    """
    finished: set[str] = set()
    path: list[str] = []
    on_path: set[str] = set()
    stack: list[tuple[str, bool]] = [(start, False)]
    while stack:
        node_id, leaving = stack.pop()
        if leaving:
            path.pop()
            on_path.discard(node_id)
            finished.add(node_id)
            continue
        if node_id in on_path:
            return [*path[path.index(node_id) :], node_id]
        if node_id in finished or node_id not in prompt:
            continue
        path.append(node_id)
        on_path.add(node_id)
        stack.append((node_id, True))
        stack.extend((source, False) for _, source, _ in links_of(prompt, node_id))
    return None
