"""Which family of models each part of a graph belongs to, and what of that does not go together.

ComfyUI says so in the middle of a run, as shapes of matrices; some mixtures it runs in silence. Families are known by
the names of files in the table; what it does not hold, nothing is said of.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import Problem
from ..graphs.graph import Graph, is_link, label
from ..graphs.inputs import specs_of
from .models import Model, by_file, files_named

SD1, SD2, SDXL, FLUX2 = "Stable Diffusion 1.x", "Stable Diffusion 2.x", "SDXL", "FLUX.2"
FAMILY_OF_KIND = {
    **dict.fromkeys(("sd15", "sd15-inpaint", "sd15-ip2p"), SD1),
    "sd21-unclip": SD2,
    **dict.fromkeys(("sdxl", "sdxl-inpaint"), SDXL),
    **dict.fromkeys(("flux2", "flux2-text", "flux2-vae"), FLUX2),
}
#: What the embedded server runs.
EMBEDDED = (SD1, SD2)
#: Files of a shape that ComfyUI knows no model of: image embeddings go with the wide text encoder of 2.x there.
NOT_IN_COMFYUI = {"miniature-unclip.safetensors"}
#: Types of links that belong to one family of models; pictures and masks belong to none.
TYPES = ("MODEL", "CLIP", "VAE", "CONDITIONING", "LATENT", "GUIDER")
READS_REFERENCES = "DefectForgeReferenceOnly"
DRAWS_NOISE = "DefectForgeMaskedContent"

Families = dict[tuple[str, int], tuple[str, str]]


def family_of(model: Model | None) -> str | None:
    return None if model is None else FAMILY_OF_KIND.get(model.kind)


def misfits(graph: Graph, object_info: dict[str, Any], embedded: bool) -> tuple[list[Problem], set[tuple[str, str]]]:
    """(what does not go together, the inputs whose file is refused: they need no second complaint).

    `embedded` says that the server is ours, which runs few families.
    """
    problems: list[Problem] = []
    refused: set[tuple[str, str]] = set()
    for node_id, name, _, file in files_named(graph):
        family = family_of(by_file(file))
        if embedded and family is not None and family not in EMBEDDED:
            refused.add((node_id, name))
            problems.append(_needs_comfyui(graph, node_id, name, file, family))
        if not embedded and file in NOT_IN_COMFYUI:
            refused.add((node_id, name))
            problems.append(_needs_our_server(graph, node_id, name, file))
    families = _families(graph, object_info)
    for node_id in graph:
        problems += _at(graph, node_id, object_info, families)
    return problems, refused


def _needs_comfyui(graph: Graph, node_id: str, name: str, file: str, family: str) -> Problem:
    mend = "add --server URL of a ComfyUI server"
    if family == SDXL and name == "ckpt_name":
        mend += ", or --model miniature to try the workflow out"
    return Problem(
        "model.needs_comfyui",
        f"the embedded server does not run {family}",
        where=f"{label(graph, node_id)}, {name} = '{file}'",
        expected=f"a model of {' or '.join(EMBEDDED)}",
        mend=mend,
    )


def _needs_our_server(graph: Graph, node_id: str, name: str, file: str) -> Problem:
    return Problem(
        "model.needs_embedded",
        "ComfyUI does not know models of this shape",
        where=f"{label(graph, node_id)}, {name} = '{file}'",
        expected="on a ComfyUI server, an unCLIP model of Stable Diffusion 2.1",
        mend="leave --server away, or use sd21-unclip-h.ckpt (--model sd21-unclip-h)",
    )


def _families(graph: Graph, object_info: dict[str, Any]) -> Families:
    """(node id, output) -> (family, the file it is known by), passed on from loaders along the links."""
    found: Families = {}
    for node_id, _, _, file in files_named(graph):
        family = family_of(by_file(file))
        if family is not None:
            outputs = object_info.get(graph[node_id]["class_type"], {}).get("output") or []
            found |= {(node_id, slot): (family, file) for slot, kind in enumerate(outputs) if kind in TYPES}
    loaders = {node_id for node_id, _ in found}
    growing = True
    while growing:
        growing = False
        for node_id, node in graph.items():
            if node_id in loaders:
                continue
            fed = next((found[(origin, slot)] for _, _, origin, slot in _links(graph, node_id, object_info)
                        if (origin, slot) in found), None)  # fmt: skip
            outputs = object_info.get(node["class_type"], {}).get("output") or []
            for slot, kind in enumerate(outputs if fed is not None else ()):
                if kind in TYPES and (node_id, slot) not in found and fed is not None:
                    found[(node_id, slot)] = fed
                    growing = True
    return found


def _links(graph: Graph, node_id: str, object_info: dict[str, Any]) -> Iterator[tuple[str, str, str, int]]:
    """(input, its type, origin, slot) of a node's links that belong to a family."""
    specs = specs_of(object_info.get(graph[node_id]["class_type"], {}))
    for name, value in graph[node_id]["inputs"].items():
        spec = specs.get(name)
        if is_link(value) and spec is not None and spec.type in TYPES:
            yield name, spec.type, value[0], value[1]


def _at(graph: Graph, node_id: str, object_info: dict[str, Any], families: Families) -> Iterator[Problem]:
    node = graph[node_id]
    inputs = {name: families[(origin, slot)] for name, _, origin, slot in _links(graph, node_id, object_info)
              if (origin, slot) in families}  # fmt: skip
    where = label(graph, node_id)
    if len({family for family, _ in inputs.values()}) > 1:
        given = ", ".join(f"{name} is {family} ('{file}')" for name, (family, file) in inputs.items())
        yield Problem(
            "model.mixed_families",
            "models of different families meet",
            where=f"{where}: {given}",
            expected="model, text encoder and VAE of one family",
            mend="load the files that belong together; `defectforge models` lists them",
        )
        return
    family, file = next(iter(inputs.values()), ("", ""))
    if node["class_type"] == READS_REFERENCES and family == FLUX2:
        yield Problem(
            "model.no_unet",
            f"reference-only reads the attention of a UNet, and '{file}' ({family}) has none",
            where=where,
            expected=f"a model of {SD1}, {SD2} or {SDXL}",
            mend="load such a model, or use the workflow klein_defect_local: FLUX.2 reads reference latents",
        )
    noise = node["class_type"] == DRAWS_NOISE and node["inputs"].get("mode") == "latent noise"
    if noise and family not in ("", *EMBEDDED) and not is_link(node["inputs"].get("model")):
        yield Problem(
            "model.noise_scale",
            f"latent noise would be drawn at the scale of Stable Diffusion 1.x, but '{file}' is {family}",
            where=where,
            expected="the model, linked to this node's input 'model'",
            mend="link it, or use the workflow sdxl_inpaint or sdxl_reference_local",
        )
