"""The queue forms of the shipped workflows, made from their window forms.

The window form is the source, `workflows/api/NAME.json` is what comes out: a pipeline can POST it without a converter.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..checkpoints.models import files_named
from .convert import queue_form
from .graph import SHIPPED, Graph, load, shipped_workflows, title_of
from .schema import validate


def api_path(name: str, folder: Path = SHIPPED) -> Path:
    return folder / "api" / f"{name}.json"


def text_of(graph: Graph) -> str:
    """The committed spelling: nodes by number, their titles, two spaces, UTF-8, one newline at the end."""
    ordered = {
        node_id: {**graph[node_id], "_meta": {"title": title_of(graph, node_id)}}
        for node_id in sorted(graph, key=_by_number)
    }
    return json.dumps(ordered, indent=2, ensure_ascii=False) + "\n"


def core_nodes() -> dict[str, Any]:
    """Nodes of ComfyUI that shipped workflows use and the embedded server lacks, as 0.28.1 describes them."""
    described: dict[str, Any] = json.loads((Path(__file__).parent / "core_nodes.json").read_text(encoding="utf-8"))
    return described


def exported(object_info: dict[str, Any], folder: Path = SHIPPED) -> dict[str, str]:
    """{name: text} of every shipped workflow's queue form.

    `object_info` is what a server with DefectForge answers at /object_info; it names the widgets in their order. Any
    server will do, whichever of ComfyUI's own nodes it has.

    Raises:
        RequestError: a workflow that cannot be converted, or that the server would refuse (its model files aside).
    """
    texts = {}
    object_info = {**object_info, **core_nodes()}
    for name in shipped_workflows():
        graph = queue_form(load(folder / f"{name}.json"), object_info)
        validate(graph, object_info, exempt=_machine_dependent(graph))
        texts[name] = text_of(graph)
    return texts


def stale(object_info: dict[str, Any], folder: Path = SHIPPED) -> list[str]:
    """Names of the workflows whose committed queue form is missing or not what the window form gives."""
    return [name for name, text in exported(object_info, folder).items() if _read(api_path(name, folder)) != text]


def write(object_info: dict[str, Any], folder: Path = SHIPPED) -> list[Path]:
    """Write every queue form that is stale; remove those without a window form. Returns what was touched."""
    texts = exported(object_info, folder)
    touched = []
    (folder / "api").mkdir(exist_ok=True)
    for name, text in texts.items():
        path = api_path(name, folder)
        if _read(path) != text:
            path.write_text(text, encoding="utf-8")
            touched.append(path)
    for path in sorted((folder / "api").glob("*.json")):
        if path.stem not in texts:
            path.unlink()
            touched.append(path)
    return touched


def _machine_dependent(graph: Graph) -> set[tuple[str, str]]:
    """Which model files a server has is no fault of the workflow."""
    return {(node_id, name) for node_id, name, _, _ in files_named(graph)}


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _by_number(node_id: str) -> tuple[int, str]:
    return (int(node_id), "") if node_id.isdigit() else (1 << 31, node_id)
