"""What a node gave last time, kept while the next prompts ask for the very same thing.

As in ComfyUI's default cache, only what the latest prompt contains is kept. A node's key is the hash of its class, its
constants, its fingerprint and the keys of all that it depends on: node ids do not matter, so a re-numbered graph still
finds its results.
"""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Iterable
from typing import Any

from ..protocol.links import Prompt, input_entry, is_link, upstream
from .registry import HIDDEN, NodeResult, NodeType, Registry

log = logging.getLogger(__name__)


def frozen(value: Any) -> Any:
    """A JSON-able image of a constant or a fingerprint. What equals nothing, not even itself, gets a unique mark."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if value == value else ["nan", uuid.uuid4().hex]
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    if isinstance(value, dict):
        return {"dict": sorted([[str(key), frozen(entry)] for key, entry in value.items()], key=lambda pair: pair[0])}
    if isinstance(value, (list, tuple)):
        return [frozen(entry) for entry in value]
    if isinstance(value, (set, frozenset)):
        return {"set": sorted(json.dumps(frozen(entry)) for entry in value)}
    return ["object", uuid.uuid4().hex]


def keys(prompt: Prompt, node_ids: Iterable[str], registry: Registry) -> dict[str, str]:
    """The key of each of these nodes and of all that they depend on."""
    found: dict[str, str] = {}
    for node_id in upstream(prompt, node_ids):
        node = registry[prompt[node_id]["class_type"]]
        signature: list[Any] = [node.node_id, frozen(_fingerprint(node_id, node, prompt))]
        types = node.input_types()
        if node.not_idempotent or any("UNIQUE_ID" in entry for entry in types.get("hidden", {}).values()):
            signature.append(["node", node_id])
        for name, value in sorted(prompt[node_id]["inputs"].items()):
            signature.append([name, "link", found[value[0]], value[1]] if is_link(value) else [name, frozen(value)])
        found[node_id] = hashlib.sha256(json.dumps(signature).encode()).hexdigest()
    return found


def _fingerprint(node_id: str, node: NodeType, prompt: Prompt) -> Any:
    if not node.has_fingerprint:
        return None
    types = node.input_types()
    constants = {
        name: None if is_link(value) else value
        for name, value in prompt[node_id]["inputs"].items()
        if input_entry(types, name) is not None
    }
    try:
        return node.fingerprint(constants, dict.fromkeys(HIDDEN) | {"UNIQUE_ID": node_id})
    except Exception as problem:
        log.warning("fingerprint of node %s (%s) failed, so it runs again: %s", node_id, node.node_id, problem)
        return float("nan")


class OutputCache:
    """Results by key, for the nodes of the prompt in hand."""

    def __init__(self) -> None:
        self._results: dict[str, NodeResult] = {}
        self._models: set[str] = set()
        self._keys: dict[str, str] = {}

    def set_prompt(self, node_keys: dict[str, str]) -> None:
        """Take up a prompt; results that it has no use for are dropped."""
        self._keys = node_keys
        wanted = set(node_keys.values())
        self._results = {key: result for key, result in self._results.items() if key in wanted}
        self._models &= wanted

    def get(self, node_id: str) -> NodeResult | None:
        return self._results.get(self._keys.get(node_id, ""))

    def set(self, node_id: str, result: NodeResult, holds_models: bool = False) -> None:
        key = self._keys[node_id]
        self._results[key] = result
        if holds_models:
            self._models.add(key)

    def node_ids(self) -> list[str]:
        return list(self._keys)

    def drop_models(self) -> None:
        """Forget the results that hold models; pictures computed with them stay."""
        for key in self._models:
            self._results.pop(key, None)
        self._models.clear()

    def clear(self) -> None:
        self._results.clear()
        self._models.clear()
