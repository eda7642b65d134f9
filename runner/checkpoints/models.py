"""The one table of models: which file, which folder, from where, with which hash, at which size it works.

It feeds `--model NAME`, `defectforge models`, `check` and the loaders' metadata in the shipped workflows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..embedded.folders import default_models_directory, model_roots
from ..errors import did_you_mean, request_error
from ..graphs.graph import Graph, address_of, title_of
from ..graphs.overrides import Setting
from . import miniature

# Nodes that are told the working size: one side, or width and height.
WORKING_SIZE = ("DefectForgeCropForDefect", "DefectForgeDenoiseMask")
WORKING_AREA = ("EmptyLatent", "EmptyFlux2Latent", "Flux2Scheduler")
# Loader class -> the input that names its file: whole checkpoints, and diffusion models by themselves.
CHECKPOINT_LOADERS = {
    "CheckpointLoaderSimple": "ckpt_name",
    "unCLIPCheckpointLoader": "ckpt_name",
    "UNETLoader": "unet_name",
}
FOLDER_OF_INPUT = {
    "ckpt_name": "checkpoints",
    "unet_name": "diffusion_models",
    "clip_name": "text_encoders",
    "clip_name1": "text_encoders",
    "clip_name2": "text_encoders",
    "lora_name": "loras",
    "vae_name": "vae",
    "control_net_name": "controlnet",
}
# The same input name means another folder in some loaders.
FOLDER_OF_LOADER = {"CLIPVisionLoader": "clip_vision"}
#: Kind that a graph names -> kinds that do its work as well. Plain models of both families take the same nodes; a
#: 9-channel UNet takes the noise mask of a plain inpainting graph as its own mask.
DOES_AS_WELL = {"sd15": ("sd15-inpaint", "sdxl"), "sdxl": ("sd15", "sd15-inpaint")}


@dataclass(frozen=True)
class Model:
    """One line of the table. `sha256` None means that the file's hash is not pinned."""

    name: str
    family: str
    kind: str
    file: str
    folder: str
    url: str | None
    sha256: str | None
    bytes: int | None
    native_size: int
    licence: str
    note: str

    @property
    def is_generated(self) -> bool:
        """True for models that DefectForge writes itself instead of downloading them."""
        return self.url is None

    def how_to_get(self) -> str:
        if self.is_generated:
            return f"defectforge models fetch {self.name}"
        return f"download {self.url} (or: defectforge models fetch {self.name})"


@cache
def table() -> tuple[Model, ...]:
    entries = json.loads((Path(__file__).parent / "models.json").read_text(encoding="utf-8"))
    return tuple(Model(**{**entry, **_own_hash(entry["name"])}) for entry in entries)


def _own_hash(name: str) -> dict[str, Any]:
    """The pinned hash and size of a model that is rebuilt here come with its weights."""
    entry = miniature.table().get(name)
    return {"sha256": entry["sha256"], "bytes": entry["bytes"]} if entry else {}


def find(name: str) -> Model:
    for model in table():
        if model.name == name:
            return model
    raise request_error(
        "model.unknown",
        f"there is no model '{name}' in the table",
        expected="a name that `defectforge models` lists",
        mend=did_you_mean(name, (model.name for model in table())),
    )


def by_file(file: str) -> Model | None:
    return next((model for model in table() if model.file == file), None)


def models_directory(given: str | Path | None = None) -> Path:
    """Where `models fetch` writes and the embedded server looks first: --models, or that server's default."""
    return Path(given).expanduser() if given else default_models_directory()


def local_path(folder: str, file: str, given: str | Path | None = None) -> Path | None:
    """A model file in any folder that the embedded server searches, or None."""
    roots = model_roots([Path(given)] if given else [])
    return next((root / folder / file for root in roots if (root / folder / file).exists()), None)


def path_of(model: Model, directory: Path) -> Path:
    return directory / model.folder / model.file


def checkpoint_loaders(graph: Graph) -> Iterator[tuple[str, str, str]]:
    """(node id, input name, file name) of every loader of a checkpoint or of a diffusion model by itself."""
    for node_id, node in graph.items():
        name = CHECKPOINT_LOADERS.get(node["class_type"])
        if name is not None and isinstance(node["inputs"].get(name), str):
            yield node_id, name, node["inputs"][name]


def files_named(graph: Graph) -> Iterator[tuple[str, str, str, str]]:
    """(node id, input name, folder, file name) of every model file that the graph names."""
    for node_id, node in graph.items():
        for name, value in node["inputs"].items():
            if name in FOLDER_OF_INPUT and isinstance(value, str) and "Loader" in node["class_type"]:
                folder = FOLDER_OF_LOADER.get(node["class_type"], FOLDER_OF_INPUT[name])
                yield node_id, name, folder, value


def settings_for(name: str, graph: Graph) -> list[Setting]:
    """What `--model NAME` means in this graph: every checkpoint loader's file and the working size, together.

    A family name's other kinds are found by themselves: `miniature` in an instruct-pix2pix workflow takes
    `miniature-ip2p`, because the loader's present file says that it needs an 8-channel UNet.
    """
    model = find(name)
    loaders = list(checkpoint_loaders(graph))
    if not loaders:
        raise request_error(
            "model.no_loader",
            f"--model {name}: the workflow loads no checkpoint",
            expected=f"a node of class {' or '.join(CHECKPOINT_LOADERS)}",
            mend="leave --model away",
        )
    settings: list[Setting] = []
    chosen = model
    for node_id, input_name, file in loaders:
        chosen = _of_needed_kind(model, file, title_of(graph, node_id))
        settings.append(Setting(address_of(graph, node_id), input_name, chosen.file))
    return settings + size_settings(graph, chosen.native_size)


def _of_needed_kind(model: Model, present_file: str, title: str) -> Model:
    present = by_file(present_file)
    if present is None or present.kind == model.kind:
        return model
    if model.kind in DOES_AS_WELL.get(present.kind, ()) and model.folder == present.folder:
        return model
    for other in table():
        if other.family == model.family and other.kind == present.kind and other.folder == present.folder:
            return other
    fitting = [other.name for other in table() if other.kind == present.kind]
    raise request_error(
        "model.wrong_kind",
        f"--model {model.name} is of kind {model.kind}; the workflow needs {present.kind}",
        where=f"node '{title}', which names {present_file}",
        expected=f"a model of kind {present.kind}",
        mend=f"use --model {' or --model '.join(fitting)}",
    )


def size_settings(graph: Graph, native_size: int) -> list[Setting]:
    """The working size of every node that has one: the square crop, the empty latent, the scaling to working size."""
    settings: list[Setting] = []
    for node_id, node in graph.items():
        title, inputs, address = title_of(graph, node_id), node["inputs"], address_of(graph, node_id)
        if node["class_type"] in WORKING_SIZE and type(inputs.get("size")) is int:
            settings.append(Setting(address, "size", native_size))
        scales = node["class_type"].startswith(WORKING_AREA) or title.lower().startswith("working ")
        if scales and type(inputs.get("width")) is int and type(inputs.get("height")) is int:
            settings += [Setting(address, "width", native_size), Setting(address, "height", native_size)]
    return settings
