"""Which checkpoint a run uses, and one message for every model file that the server lacks."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import Problem, RequestError
from ..graphs.graph import Graph, Workflow, label, title_of
from ..graphs.inputs import offered, specs_of
from ..graphs.overrides import Setting
from .fetch import can_generate
from .models import Model, by_file, checkpoint_loaders, files_named, path_of, settings_for, table

#: Nodes that give a latent its noise mask.
MASKING = ("DefectForgeMaskedContent", "SetLatentNoiseMask", "VAEEncodeForInpaint")


@dataclass
class Choice:
    """Settings to apply, files to write first (embedded server only), and what the user is told."""

    settings: list[Setting] = field(default_factory=list)
    generate: list[Model] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def choose(
    graph: Graph,
    object_info: dict[str, Any],
    name: str | None,
    embedded_models: Path | None,
    fixed: Collection[str] = (),
) -> Choice:
    """Apply `--model NAME`, or stand in for a checkpoint that the embedded server lacks, aloud.

    Args:
        name: what the user asked for with --model, or None.
        embedded_models: the models folder if the server is our own, else None. Only there may a file be written,
            and only there does the miniature stand in: on somebody's server a missing file is an error.
        fixed: titles of loaders whose file the user set with --set; they are left alone.
    """
    choice = Choice()
    if name is not None:
        choice.settings = settings_for(name, graph)
    elif embedded_models is not None:
        choice = _stand_in(graph, object_info, embedded_models, fixed)
    if embedded_models is not None:
        chosen = {setting.value for setting in choice.settings if isinstance(setting.value, str)}
        chosen |= {file for _, _, file in checkpoint_loaders(graph)} if name is None and not choice.settings else set()
        for file in sorted(chosen - _offered(graph, object_info)):
            model = by_file(file)
            if model is not None and model.is_generated and can_generate(model):
                choice.generate.append(model)
                choice.notes.append(f"writing {model.file} ({model.note}) to {path_of(model, embedded_models).parent}")
    return choice


def _stand_in(graph: Graph, object_info: dict[str, Any], folder: Path, fixed: Collection[str]) -> Choice:
    there = _offered(graph, object_info)
    for node_id, _, file in checkpoint_loaders(graph):
        model = by_file(file)
        if file in there or model is None or model.is_generated:
            continue
        if not {title_of(graph, node_id), f"#{node_id}"}.isdisjoint(fixed):
            continue
        for other in stand_ins(model.kind, inpaints(graph)):
            if can_generate(other):
                note = (
                    f"{file} is not in {folder / model.folder}; using --model {other.name} ({other.note}). "
                    f"Say --model {model.name} to insist."
                )
                return Choice(settings_for(other.name, graph), [], [note])
    return Choice()


def inpaints(graph: Graph) -> bool:
    """Whether a latent gets a noise mask, which an inpainting model reads as its own mask."""
    return any(node["class_type"] in MASKING for node in graph.values())


def stand_ins(kind: str, inpaints: bool = False) -> list[Model]:
    """Models that this program writes itself, the best one first.

    Where a plain model inpaints, the trained inpainting variant comes before the plain ones.
    """
    generated = [model for model in table() if model.is_generated and model.kind == kind]
    best_first = sorted(generated, key=lambda model: model.family != "miniature")
    if kind == "sd15" and inpaints:
        return [*(model for model in stand_ins("sd15-inpaint") if model.family == "miniature"), *best_first]
    return best_first


def _offered(graph: Graph, object_info: dict[str, Any]) -> set[str]:
    """Every checkpoint that the loaders of this graph can choose on that server."""
    files: set[str] = set()
    for node_id, name, _ in checkpoint_loaders(graph):
        files |= offered(object_info.get(graph[node_id]["class_type"], {}), name)
    return files


def missing_models(
    graph: Graph,
    object_info: dict[str, Any],
    url: str,
    workflow: Workflow | None = None,
    models_folder: str = "models",
    refused: Collection[tuple[str, str]] = (),
) -> tuple[list[Problem], set[tuple[str, str]]]:
    """(one problem a missing file, the inputs that name one: they need no second complaint).

    `refused` are inputs whose file would not help if it were there.
    """
    problems: list[Problem] = []
    named: set[tuple[str, str]] = set()
    for node_id, name, folder, file in files_named(graph):
        spec = specs_of(object_info.get(graph[node_id]["class_type"], {})).get(name)
        if spec is None or spec.choices is None or file in spec.choices or (node_id, name) in refused:
            continue
        named.add((node_id, name))
        model = by_file(file)
        told = _told_by_workflow(workflow, file)
        source = (model.url if model else None) or told.get("url") or ""
        sha = (model.sha256 if model else None) or told.get("hash") or ""
        size = f", {model.bytes} bytes" if model and model.bytes else ""
        mend = f"download {source} into {models_folder}/{folder}" if source else f"put it into {models_folder}/{folder}"
        if source and not source.partition("?")[0].endswith(f"/{file}"):
            mend += f" as {file}"
        if model is not None and model.is_generated:
            mend = f"defectforge models fetch {model.name}"
            if not can_generate(model):
                mend = "this installation does not hold its weights; use --model random-sd15 to try out the machinery"
        elif folder == "checkpoints" and _fits("miniature", graph):
            mend += ", or use --model miniature"
        problems.append(
            Problem(
                "model.missing",
                f"the server has no {folder} file '{file}'",
                where=f"{label(graph, node_id)}, input '{name}'; server {url}",
                expected=f"the file at {models_folder}/{folder}/{file}{size}"
                + (f", sha256 {sha}" if sha else ", sha256 not pinned"),
                mend=mend,
            )
        )
    return problems, named


def _fits(name: str, graph: Graph) -> bool:
    """Whether `--model NAME` would be taken in this graph."""
    try:
        return bool(settings_for(name, graph))
    except RequestError:
        return False


def _told_by_workflow(workflow: Workflow | None, file: str) -> dict[str, Any]:
    """What the window form says about a file it needs (properties.models)."""
    if workflow is None or workflow.form != "window":
        return {}
    for node in workflow.data["nodes"]:
        for entry in ((node or {}).get("properties") or {}).get("models") or []:
            if isinstance(entry, dict) and entry.get("name") == file:
                return entry
    return {}


def raise_if(problems: list[Problem]) -> None:
    if problems:
        raise RequestError(problems)
