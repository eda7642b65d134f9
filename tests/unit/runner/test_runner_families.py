"""Models that do not go together are named before anything is queued; ComfyUI would say it in shapes of matrices."""

from __future__ import annotations

import json
from typing import Any

import pytest
from defectforge.runner.checkpoints.families import misfits
from defectforge.runner.checkpoints.models import find
from defectforge.runner.errors import Problem
from defectforge.runner.graphs.export import api_path, core_nodes
from defectforge.runner.graphs.graph import by_title, shipped_workflows

Graph = dict[str, Any]


@pytest.fixture(scope="module")
def object_info(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a server with all these nodes says of them."""
    from defectforge.runner.embedded import folders
    from defectforge.runner.embedded.protocol.app import load_registry

    base = tmp_path_factory.mktemp("server")
    places = folders.Folders(**{kind: base / kind for kind in ("input", "output", "temp")}, models=[base / "models"])
    places.create()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "_current", places)
        return {**{node.node_id: node.info() for node in load_registry()}, **core_nodes()}


def graph_of(name: str) -> Graph:
    graph: Graph = json.loads(api_path(name).read_text(encoding="utf-8"))
    return graph


def inputs(graph: Graph, title: str) -> dict[str, Any]:
    given: dict[str, Any] = graph[by_title(graph, title)]["inputs"]
    return given


def problems(graph: Graph, object_info: dict[str, Any], embedded: bool = False) -> list[Problem]:
    return misfits(graph, object_info, embedded)[0]


@pytest.mark.parametrize("name", shipped_workflows())
def test_every_shipped_workflow_goes_together(name: str, object_info: dict[str, Any]) -> None:
    assert problems(graph_of(name), object_info) == []


def test_the_embedded_server_names_what_it_does_not_run(object_info: dict[str, Any]) -> None:
    found, refused = misfits(graph_of("sdxl_inpaint"), object_info, embedded=True)
    assert [problem.code for problem in found] == ["model.needs_comfyui"]
    assert "does not run SDXL" in found[0].what and "--server URL" in found[0].mend and "miniature" in found[0].mend
    assert len(refused) == 1
    found, refused = misfits(graph_of("klein_defect_local"), object_info, embedded=True)
    assert {problem.what for problem in found} == {"the embedded server does not run FLUX.2"}
    assert len(refused) == 3
    assert misfits(graph_of("reference_local"), object_info, embedded=True) == ([], set())


def test_the_miniature_s_image_embedding_variant_is_refused_where_comfyui_does_not_know_it(
    object_info: dict[str, Any],
) -> None:
    graph = graph_of("reimagine_defect")
    inputs(graph, "Checkpoint")["ckpt_name"] = find("miniature-unclip").file
    found, refused = misfits(graph, object_info, embedded=False)
    assert [problem.code for problem in found] == ["model.needs_embedded"]
    assert "leave --server away" in found[0].mend and len(refused) == 1
    assert misfits(graph, object_info, embedded=True) == ([], set())


def test_files_of_two_families_are_named_where_they_meet(object_info: dict[str, Any]) -> None:
    graph = graph_of("klein_defect_local")
    inputs(graph, "Diffusion model")["unet_name"] = find("sdxl-inpainting").file
    text = "\n".join(problem.text() for problem in problems(graph, object_info))
    assert "models of different families meet" in text and "'Guidance'" in text
    assert "SDXL ('sd_xl_inpainting" in text and "FLUX.2 ('qwen_3_4b" in text


def test_a_second_checkpoint_of_another_family(object_info: dict[str, Any]) -> None:
    graph = graph_of("sdxl_inpaint_unet")
    inputs(graph, "Checkpoint")["ckpt_name"] = find("sd15").file
    assert {problem.code for problem in problems(graph, object_info)} == {"model.mixed_families"}


def test_files_that_the_table_does_not_hold_are_not_judged(object_info: dict[str, Any]) -> None:
    graph = graph_of("klein_defect_local")
    inputs(graph, "Diffusion model")["unet_name"] = "mine.safetensors"
    assert problems(graph, object_info) == []


def test_latent_noise_of_another_family_needs_the_model(object_info: dict[str, Any]) -> None:
    """Without it the noise would have the scale of SD 1.x: a picture, and a wrong one."""
    graph = graph_of("inpaint_latent_noise")
    inputs(graph, "Checkpoint")["ckpt_name"] = find("sdxl").file
    (problem,) = problems(graph, object_info)
    assert problem.code == "model.noise_scale" and "sdxl_inpaint" in problem.mend
    inputs(graph, "Masked content")["model"] = [by_title(graph, "Checkpoint"), 0]
    assert problems(graph, object_info) == []
    del inputs(graph, "Masked content")["model"]
    inputs(graph, "Masked content")["mode"] = "fill"
    assert problems(graph, object_info) == []


def test_reference_only_has_nothing_to_read_in_flux(object_info: dict[str, Any]) -> None:
    graph = graph_of("klein_defect_local")
    link = [by_title(graph, "Diffusion model"), 0]
    graph["90"] = {"class_type": "DefectForgeReferenceOnly", "inputs": {"model": link}, "_meta": {"title": "Ours"}}
    (problem,) = problems(graph, object_info)
    assert problem.code == "model.no_unet" and "klein_defect_local" in problem.mend
