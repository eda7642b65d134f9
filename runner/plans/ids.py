"""Ids of jobs: sha256 over what is computed from what, the filled-in graph, the input files, the expected outputs.

A plan has many jobs of one workflow. Its graph's canonical text is cut once at every input that a job sets; a job's
text is those pieces with its own values between them, the same bytes as those of its filled-in graph.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ..graphs.graph import Graph, canonical, copied
from .job import Assignment, Input

Hole = tuple[str, str]  # node id, input


class IdTemplate:
    """Ids of the jobs that set exactly `holes` (and the saver's prefix) in `graph`."""

    def __init__(self, graph: Graph, saver: str, holes: Sequence[Hole]) -> None:
        """`holes` in the order in which jobs set them; of several values of one input the last one counts."""
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
        last = {hole: place for place, hole in enumerate(holes)}
        self._cut = [(piece, last[hole]) for piece, hole in zip(self._pieces, self._order, strict=True)]

    def id(self, assignments: Sequence[Assignment], inputs: Sequence[Input]) -> str:
        """Of a job. `assignments` set the holes, in their order."""
        text = "".join([piece + as_json(assignments[place][2]) for piece, place in self._cut])
        graph = hashlib.sha256((text + self._rest).encode("ascii")).hexdigest()
        read = ", ".join([_read(item.node_id, item.checked.sha256, item.checked.mask_sha256) for item in inputs])
        content = f'{{"graph": "{graph}", "inputs": [{read}], "outputs": ["image", "mask"]}}'
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def skeleton(self) -> str:
        """What jobs of one template have in common; two workflows that compute the same have the same one."""
        holes = "".join(f"{piece}<{hole}>" for piece, hole in zip(self._pieces, self._order, strict=True))
        return hashlib.sha256((holes + self._rest).encode()).hexdigest()


@lru_cache(maxsize=4096)
def _read(node_id: str, sha256: str, mask_sha256: str | None) -> str:
    return json.dumps([node_id, sha256, mask_sha256])


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
