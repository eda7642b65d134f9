"""Ids of jobs: sha256 over what is computed from what, the filled-in graph, the input files, the expected outputs.

A plan has many jobs of one workflow. Its graph's canonical text is cut once at every input that a job sets; a job's
text is those pieces with its own values between them, the same bytes as those of its filled-in graph.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from ..graphs.graph import Graph, canonical, copied
from .job import Assignment, Input

Hole = tuple[str, str]  # node id, input


class IdTemplate:
    """Ids of the jobs that set exactly `holes` (and the saver's prefix) in `graph`."""

    def __init__(self, graph: Graph, saver: str, holes: Iterable[Hole]) -> None:
        marks = {hole: f"<{secrets.token_hex(16)}>" for hole in dict.fromkeys(holes)}
        marked = copied(graph)
        for (node_id, name), mark in marks.items():
            marked[node_id]["inputs"][name] = mark
        marked[saver]["inputs"]["filename_prefix"] = ""
        text = canonical(marked)
        found = sorted((text.index(f'"{mark}"'), hole, len(mark) + 2) for hole, mark in marks.items())
        self._order = [hole for _, hole, _ in found]
        self._pieces: list[str] = []
        begin = 0
        for position, _, length in found:
            self._pieces.append(text[begin:position])
            begin = position + length
        self._rest = text[begin:]

    def id(self, assignments: Sequence[Assignment], inputs: Sequence[Input]) -> str:
        """Of a job. Of several assignments of one input the last one counts."""
        values = {(node_id, name): value for node_id, name, value in assignments}
        text = "".join(piece + as_json(values[hole]) for piece, hole in zip(self._pieces, self._order, strict=True))
        graph = hashlib.sha256((text + self._rest).encode("ascii")).hexdigest()
        read = [[item.node_id, item.checked.sha256, item.checked.mask_sha256] for item in inputs]
        content = {"graph": graph, "inputs": read, "outputs": ["image", "mask"]}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def skeleton(self) -> str:
        """What jobs of one template have in common; two workflows that compute the same have the same one."""
        holes = "".join(f"{piece}<{hole}>" for piece, hole in zip(self._pieces, self._order, strict=True))
        return hashlib.sha256((holes + self._rest).encode()).hexdigest()


def as_json(value: Any) -> str:
    """A value as the canonical text of a graph holds it."""
    if type(value) is int:
        return str(value)
    try:
        return _remembered(value)
    except TypeError:  # not hashable
        return _dumped(value)


def _dumped(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


_remembered = lru_cache(maxsize=4096, typed=True)(_dumped)
