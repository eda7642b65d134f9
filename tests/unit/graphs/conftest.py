"""Graphs with the answers that ComfyUI's window gave for them, and what its server said of their classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from defectforge.runner.graphs.convert import queue_form
from defectforge.runner.graphs.graph import Workflow, parse

HERE = Path(__file__).parent
Converted = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def object_info() -> dict[str, Any]:
    """ComfyUI 0.28.1's description of the classes in `cases/`."""
    found: dict[str, Any] = json.loads((HERE / "object_info.json").read_text(encoding="utf-8"))
    return found


def workflow(data: dict[str, Any]) -> Workflow:
    return parse(json.dumps(data).encode(), Path("theirs.json"))


@pytest.fixture
def converted(object_info: dict[str, Any]) -> Converted:
    """The queue form of a graph as the window's answers hold it: {id: [class, inputs]}; {a|b} gives a."""

    def convert(graph: dict[str, Any], **more: Any) -> dict[str, Any]:
        more.setdefault("choose", lambda where, count: 0)
        queue = queue_form(workflow(graph), object_info, **more)
        return {id_: [node["class_type"], node["inputs"]] for id_, node in json.loads(json.dumps(queue)).items()}

    return convert


@pytest.fixture
def case() -> Callable[[str], dict[str, Any]]:
    """A graph of `cases/` by name."""

    def read(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((HERE / "cases" / f"{name}.json").read_text(encoding="utf-8"))
        graph: dict[str, Any] = found["graph"]
        return graph

    return read
