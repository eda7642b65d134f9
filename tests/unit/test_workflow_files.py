"""Workflow files as they come from other people: read right, or refused with one clear message."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from defectforge.runner.errors import RequestError
from defectforge.runner.graphs.convert import queue_form
from defectforge.runner.graphs.graph import Workflow, load, parse
from defectforge.runner.graphs.schema import validate

IMAGE = ["IMAGE", {}]
OBJECT_INFO: dict[str, Any] = {
    "LoadImage": {
        "input": {"required": {"image": [["a.png"], {"image_upload": True}]}},
        "output": ["IMAGE", "MASK"],
        "display_name": "Load Image",
    },
    "ImageBlur": {
        "input": {
            "required": {
                "image": IMAGE,
                "blur_radius": ["INT", {"default": 1, "min": 1, "max": 31}],
                "sigma": ["FLOAT", {"default": 1.0, "min": 0.1, "max": 10.0}],
            }
        },
        "output": ["IMAGE"],
        "display_name": "Image Blur",
    },
    "ImageAddNoise": {
        "input": {
            "required": {
                "image": IMAGE,
                "seed": ["INT", {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}],
                "strength": ["FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0}],
            }
        },
        "output": ["IMAGE"],
        "display_name": "Add Noise to Image",
    },
    "SaveImage": {
        "input": {"required": {"images": IMAGE, "filename_prefix": ["STRING", {"default": "ComfyUI"}]}},
        "output": [],
        "output_node": True,
        "display_name": "Save Image",
    },
}


def node(
    id_: int, type_: str, link: int | None = None, widgets: list[Any] | None = None, **more: Any
) -> dict[str, Any]:
    """One window node with at most one linked input, as the editor saves it."""
    name = {"SaveImage": "images", "Reroute": ""}.get(type_, "image")
    inputs = [{"name": name, "type": "*" if type_ == "Reroute" else "IMAGE", "link": link}]
    outputs = [] if type_ == "SaveImage" else [{"name": "IMAGE", "type": "IMAGE", "links": []}]
    return {
        "id": id_,
        "type": type_,
        "pos": [0, 0],
        "size": [200, 100],
        "flags": {},
        "order": id_,
        "mode": 0,
        "inputs": [] if type_ == "LoadImage" else inputs,
        "outputs": outputs,
        "properties": {},
        "widgets_values": widgets or [],
        **more,
    }


def window(nodes: list[dict[str, Any]], links: list[list[Any]], **more: Any) -> dict[str, Any]:
    return {
        "last_node_id": 99,
        "last_link_id": 99,
        "nodes": nodes,
        "links": links,
        "groups": [],
        "version": 0.4,
        **more,
    }


@pytest.fixture
def chain() -> dict[str, Any]:
    """Load -> noise -> blur -> save; every node has a title."""
    return window(
        [
            node(1, "LoadImage", widgets=["a.png", "image"], title="Good photo"),
            node(2, "ImageAddNoise", 1, [7, "fixed", 0.25], title="Noise"),
            node(3, "ImageBlur", 2, [5, 2.0], title="Blur"),
            node(4, "SaveImage", 3, ["out"], title="Save"),
        ],
        [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"], [3, 3, 0, 4, 0, "IMAGE"]],
    )


def workflow(data: dict[str, Any]) -> Workflow:
    return parse(json.dumps(data).encode(), Path("theirs.json"))


def converted(data: dict[str, Any]) -> dict[str, Any]:
    """{title: inputs} of the queue form, links as [title, slot]."""
    graph = queue_form(workflow(data), OBJECT_INFO)
    validate(graph, OBJECT_INFO)
    title = {id_: entry["_meta"]["title"] for id_, entry in graph.items()}
    return {
        title[id_]: {
            name: [title[value[0]], value[1]] if isinstance(value, list) else value
            for name, value in entry["inputs"].items()
        }
        for id_, entry in graph.items()
    }


def refusal(data: dict[str, Any]) -> str:
    with pytest.raises(RequestError) as caught:
        converted(data)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_plain_graph_keeps_titles_values_and_links(chain):
    assert converted(chain) == {
        "Good photo": {"image": "a.png"},
        "Noise": {"image": ["Good photo", 0], "seed": 7, "strength": 0.25},
        "Blur": {"image": ["Noise", 0], "blur_radius": 5, "sigma": 2.0},
        "Save": {"images": ["Blur", 0], "filename_prefix": "out"},
    }


def test_unknown_nodes_of_another_pack_are_all_named_with_where_to_get_them(chain):
    chain["nodes"][1] |= {"type": "TheirNoise", "properties": {"cnr_id": "their-pack", "ver": "1.2.0"}}
    chain["nodes"][2] |= {"type": "OtherBlur", "properties": {"aux_id": "somebody/other-pack"}}
    message = refusal(chain)
    assert "'TheirNoise'" in message and "registry.comfy.org/nodes/their-pack" in message
    assert "'OtherBlur'" in message and "github.com/somebody/other-pack" in message


def test_an_unknown_node_that_is_muted_does_not_matter(chain):
    chain["nodes"].append(node(5, "TheirPreview", 3, title="Look", mode=2))
    assert "Look" not in converted(chain)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_told_from_a_wrong_one(chain, share):
    raw = json.dumps(chain).encode()
    with pytest.raises(RequestError, match=r"ends in the middle|is not JSON") as caught:
        parse(raw[: int(len(raw) * share)], Path("cut.json"))
    assert "cut.json" in str(caught.value) and "save or copy the file again" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'{"a": 1}', b'{"nodes": [], "groups": []}', b"\x89PNG\r\n"])
def test_what_is_no_workflow_is_refused(content):
    with pytest.raises(RequestError):
        parse(content, Path("photo.json"))


def test_the_form_is_told_from_the_content_not_from_the_name_or_folder(chain, tmp_path):
    """An API export under a window file's name, and the reverse, both run."""
    queue = queue_form(workflow(chain), OBJECT_INFO)
    (tmp_path / "api").mkdir()
    (tmp_path / "img2img.json").write_text(json.dumps(queue))
    (tmp_path / "api" / "img2img.json").write_text(json.dumps(chain))
    assert load(tmp_path / "img2img.json").form == "queue"
    assert load(tmp_path / "api" / "img2img.json").form == "window"
    assert queue_form(load(tmp_path / "img2img.json"), OBJECT_INFO) == queue
    assert queue_form(load(tmp_path / "api" / "img2img.json"), OBJECT_INFO) == queue


def test_a_saved_request_body_is_a_queue_form(chain):
    queue = queue_form(workflow(chain), OBJECT_INFO)
    assert queue_form(workflow({"prompt": queue, "client_id": "x"}), OBJECT_INFO) == queue


def test_a_muted_node_cuts_its_links_and_the_gap_is_named(chain):
    chain["nodes"][2]["mode"] = 2
    message = refusal(chain)
    assert "'images'" in message and "'Save'" in message and "muted" in message


def test_a_muted_output_is_simply_left_out(chain):
    chain["nodes"].append(node(5, "SaveImage", 3, ["second"], title="Save too", mode=2))
    assert set(converted(chain)) == {"Good photo", "Noise", "Blur", "Save"}


def test_a_bypassed_node_lets_its_input_through(chain):
    chain["nodes"][1]["mode"] = chain["nodes"][2]["mode"] = 4
    assert converted(chain) == {
        "Good photo": {"image": "a.png"},
        "Save": {"images": ["Good photo", 0], "filename_prefix": "out"},
    }


def test_nothing_left_to_run_is_said(chain):
    for entry in chain["nodes"]:
        entry["mode"] = 2
    assert "nothing of the workflow is left to run" in refusal(chain)


def test_a_chain_of_reroutes_is_looked_through(chain):
    chain["nodes"] += [node(5, "Reroute", 2), node(6, "Reroute", 4)]
    chain["links"][1] = [2, 2, 0, 5, 0, "IMAGE"]
    chain["links"] += [[4, 5, 0, 6, 0, "IMAGE"], [5, 6, 0, 3, 0, "IMAGE"]]
    chain["nodes"][2]["inputs"][0]["link"] = 5
    assert converted(chain)["Blur"]["image"] == ["Noise", 0]


def test_a_primitive_gives_its_value(chain):
    primitive = node(5, "PrimitiveNode", widgets=[3, "fixed"])
    primitive |= {
        "inputs": [],
        "outputs": [{"name": "INT", "type": "INT", "links": [4], "widget": {"name": "blur_radius"}}],
    }
    chain["nodes"].append(primitive)
    chain["nodes"][2]["inputs"].append(
        {"name": "blur_radius", "type": "INT", "link": 4, "widget": {"name": "blur_radius"}}
    )
    chain["links"].append([4, 5, 0, 3, 1, "INT"])
    assert converted(chain)["Blur"]["blur_radius"] == 3


def test_notes_are_not_queued(chain):
    chain["nodes"] += [
        node(5, "Note", widgets=["set the photo first"]) | {"inputs": [], "outputs": []},
        node(6, "MarkdownNote", widgets=["# first"]) | {"inputs": [], "outputs": []},
    ]
    assert set(converted(chain)) == {"Good photo", "Noise", "Blur", "Save"}


def test_a_subgraph_is_flattened(chain):
    """Noise and blur, folded into one box by the editor."""
    definition = {
        "id": "3c9c8d2e-6a4b-4a51-8f0d-2f6c1b9d7e11",
        "version": 1,
        "state": {"lastNodeId": 4, "lastLinkId": 4, "lastGroupId": 0, "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": "Disturb",
        "inputNode": {"id": -10, "bounding": [0, 0, 1, 1]},
        "outputNode": {"id": -20, "bounding": [0, 0, 1, 1]},
        "inputs": [{"id": "in", "name": "image", "type": "IMAGE", "linkIds": [1]}],
        "outputs": [{"id": "out", "name": "IMAGE", "type": "IMAGE", "linkIds": [3]}],
        "widgets": [],
        "nodes": [copy.deepcopy(chain["nodes"][1]), copy.deepcopy(chain["nodes"][2])],
        "groups": [],
        "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 2, "target_slot": 0, "type": "IMAGE"},
            {"id": 2, "origin_id": 2, "origin_slot": 0, "target_id": 3, "target_slot": 0, "type": "IMAGE"},
            {"id": 3, "origin_id": 3, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "IMAGE"},
        ],
        "extra": {},
    }
    box = node(7, definition["id"], 10, title="Disturb")
    folded = window(
        [chain["nodes"][0], box, chain["nodes"][3] | {"inputs": [{"name": "images", "type": "IMAGE", "link": 11}]}],
        [[10, 1, 0, 7, 0, "IMAGE"], [11, 7, 0, 4, 0, "IMAGE"]],
        definitions={"subgraphs": [definition]},
    )
    assert converted(folded) == converted(chain)


def test_a_loop_is_named_node_by_node(chain):
    chain["links"][0] = [1, 3, 0, 2, 0, "IMAGE"]
    message = refusal(chain)
    assert "loop" in message and "Noise" in message and "Blur" in message


def test_a_node_that_feeds_itself_is_a_loop_too(chain):
    queue = queue_form(workflow(chain), OBJECT_INFO)
    queue["3"]["inputs"]["image"] = ["3", 0]
    with pytest.raises(RequestError, match="loop"):
        validate(queue, OBJECT_INFO)


def test_a_link_that_leads_nowhere_is_refused(chain):
    chain["links"] = chain["links"][1:]
    message = refusal(chain)
    assert "Noise" in message or "link" in message


def test_links_of_the_newer_file_version_are_read(chain):
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    newer = chain | {"version": 1, "links": [dict(zip(names, link, strict=True)) for link in chain["links"]]}
    assert converted(newer) == converted(chain)


def test_a_value_that_the_server_would_refuse_is_found_before_it_is_queued(chain):
    chain["nodes"][2]["widgets_values"] = [500, 2.0]
    message = refusal(chain)
    assert "blur_radius" in message and "31" in message
