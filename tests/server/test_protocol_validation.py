"""Prompts that must not run: ComfyUI's error types, where they are reported, and that nothing is queued."""

from __future__ import annotations

import json

import pytest


def image(**inputs):
    good = {"width": 64, "height": 64, "batch_size": 1, "color": 0}
    return {"class_type": "EmptyImage", "inputs": {**good, **inputs}}


def scale(**inputs):
    good = {"image": ["1", 0], "upscale_method": "area", "width": 8, "height": 8, "crop": "disabled"}
    return {"class_type": "ImageScale", "inputs": {**good, **inputs}}


def save(source="1", slot=0):
    return {"class_type": "PreviewImage", "inputs": {"images": [source, slot]}}


def without(node, name):
    return {**node, "inputs": {key: value for key, value in node["inputs"].items() if key != name}}


#: what: (prompt, the node that is blamed, error type, words of the details)
BAD_NODES = {
    "missing input": (
        {"1": without(image(), "width"), "9": save()},
        "1",
        "required_input_missing",
        "width",
    ),
    "missing input of the output": (
        {"1": image(), "9": without(save(), "images")},
        "9",
        "required_input_missing",
        "images",
    ),
    "link of three": ({"1": image(), "2": scale(image=["1", 0, 0]), "9": save("2")}, "2", "bad_linked_input", "image"),
    "wrong output type": (
        {"1": {"class_type": "SolidMask", "inputs": {"value": 1, "width": 8, "height": 8}}, "9": save()},
        "9",
        "return_type_mismatch",
        "received_type(MASK) mismatch input_type(IMAGE)",
    ),
    "not a number": ({"1": image(width="wide"), "9": save()}, "1", "invalid_input_type", "width, wide, "),
    "null for a number": ({"1": image(width=None), "9": save()}, "1", "invalid_input_type", "width, None, "),
    "too small": ({"1": image(width=0), "9": save()}, "1", "value_smaller_than_min", "width"),
    "too big": ({"1": image(width=99999), "9": save()}, "1", "value_bigger_than_max", "width"),
    "unknown choice": (
        {"1": image(), "2": scale(upscale_method="magic"), "9": save("2")},
        "2",
        "value_not_in_list",
        "upscale_method: 'magic' not in ['nearest-exact', 'bilinear', 'area', 'bicubic', 'lanczos']",
    ),
    "missing file": (
        {"1": {"class_type": "LoadImage", "inputs": {"image": "nope.png"}}, "9": save()},
        "1",
        "custom_validation_failed",
        "image - Invalid image file: nope.png",
    ),
    "file outside the folder": (
        {"1": {"class_type": "LoadImage", "inputs": {"image": "../../../../etc/passwd"}}, "9": save()},
        "1",
        "custom_validation_failed",
        "Invalid image file",
    ),
    "link to a missing node": ({"1": save("404")}, "1", "exception_during_validation", "node '404'"),
    "inner link to a missing node": (
        {"1": scale(image=["404", 0]), "9": save()},
        "1",
        "exception_during_inner_validation",
        "node '404'",
    ),
    "link to a missing slot": ({"1": image(), "9": save("1", 3)}, "9", "exception_during_validation", "output 3"),
    "inner link to a missing slot": (
        {"1": image(), "2": scale(image=["1", 7]), "9": save("2")},
        "2",
        "exception_during_inner_validation",
        "output 7",
    ),
    "a cycle": (
        {"1": scale(image=["2", 0]), "2": scale(image=["1", 0]), "9": save("2")},
        "9",
        "dependency_cycle",
        "2 -> 1 -> 2",
    ),
    "a node linked to itself": ({"1": scale(image=["1", 0]), "9": save()}, "9", "dependency_cycle", "1 -> 1"),
}


@pytest.mark.parametrize("what", BAD_NODES)
def test_a_bad_node_is_named_with_type_and_details(client, what):
    prompt, blamed, kind, details = BAD_NODES[what]
    answer = client.submit(prompt)
    assert answer.status_code == 400
    body = answer.json()
    assert body["error"]["type"] == "prompt_outputs_failed_validation"
    assert set(body["error"]) == {"type", "message", "details", "extra_info"}
    assert list(body["node_errors"]) == [blamed]
    entry = body["node_errors"][blamed]
    assert entry["class_type"] == prompt[blamed]["class_type"]
    assert len(entry["dependent_outputs"]) == 1
    assert [error["type"] for error in entry["errors"]] == [kind]
    assert set(entry["errors"][0]) == {"type", "message", "details", "extra_info"}
    assert details in entry["errors"][0]["details"]
    assert client.get("/prompt").json() == {"exec_info": {"queue_remaining": 0}}


BAD_PROMPTS = {
    "nothing": ({}, "prompt_no_outputs", ""),
    "no output node": ({"1": image()}, "prompt_no_outputs", ""),
    "no class": ({"1": {"inputs": {}}, "2": {"inputs": {}}}, "missing_node_type", "Node ID '#1', Node ID '#2'"),
    "no inputs": ({"1": {"class_type": "PreviewImage"}}, "invalid_prompt", "Node ID '#1'"),
    "a node that is a number": ({"1": 5}, "missing_node_type", "Node ID '#1'"),
    "a list": ([], "invalid_prompt", ""),
    "null": (None, "invalid_prompt", ""),
}


@pytest.mark.parametrize("what", BAD_PROMPTS)
def test_a_prompt_that_is_none_is_refused_as_a_whole(client, what):
    prompt, kind, details = BAD_PROMPTS[what]
    answer = client.submit(prompt)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == kind
    assert answer.json()["error"]["details"] == details
    assert answer.json()["node_errors"] == {}


def test_a_body_without_a_prompt_is_no_prompt(client):
    answer = client.post("/prompt", {"client_id": "x"})
    assert answer.status_code == 400
    assert answer.json() == {
        "error": {
            "type": "no_prompt",
            "message": "No prompt provided",
            "details": "No prompt provided",
            "extra_info": {},
        },
        "node_errors": {},
    }


def test_every_unknown_node_is_named_at_once(client):
    prompt = {
        "1": {"class_type": "KSamplerOfTomorrow", "inputs": {}, "_meta": {"title": "My sampler"}},
        "2": {"class_type": "UltimateUpscale", "inputs": {}},
        "3": {"class_type": "KSamplerOfTomorrow", "inputs": {}},
        "9": save("2"),
    }
    answer = client.submit(prompt)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "missing_node_type"
    assert error["extra_info"] == {
        "node_id": "1",
        "class_type": "KSamplerOfTomorrow",
        "node_title": "My sampler",
        "class_types": ["KSamplerOfTomorrow", "UltimateUpscale"],
    }
    assert "KSamplerOfTomorrow, UltimateUpscale" in error["message"]
    assert "need a ComfyUI server" in error["message"]
    assert error["details"] == "Node ID '#1', Node ID '#2', Node ID '#3'"
    node_errors = answer.json()["node_errors"]
    assert list(node_errors) == ["1", "2", "3"]
    assert node_errors["1"]["errors"][0]["extra_info"]["node_title"] == "My sampler"


def test_a_missing_input_is_told_even_where_the_node_checks_it_itself(client):
    prompt = {"1": {"class_type": "LoadImage", "inputs": {}}, "9": save()}
    errors = client.submit(prompt).json()["node_errors"]["1"]["errors"]
    assert [error["type"] for error in errors] == ["required_input_missing"]


def test_several_errors_of_one_node_come_together(client):
    prompt = {"1": without(image(width=0, color=-1), "height"), "9": save()}
    errors = client.submit(prompt).json()["node_errors"]["1"]["errors"]
    assert sorted(error["type"] for error in errors) == [
        "required_input_missing",
        "value_smaller_than_min",
        "value_smaller_than_min",
    ]


def test_the_good_output_runs_and_the_bad_one_is_told(client):
    """200 with node_errors: ComfyUI runs what validates, so a client has to look at both."""
    prompt = {"1": image(), "2": image(width=0), "8": save("1"), "9": save("2")}
    answer = client.submit(prompt)
    assert answer.status_code == 200
    body = answer.json()
    assert body["node_errors"]["2"]["errors"][0]["type"] == "value_smaller_than_min"
    assert body["node_errors"]["2"]["dependent_outputs"] == ["9"]
    outcome = client.finish(body["prompt_id"])
    assert list(outcome.history["outputs"]) == ["8"]
    assert outcome.history["prompt"][4] == ["8"]


def test_an_error_names_every_output_that_depends_on_it(client):
    prompt = {"1": image(width=0), "8": save("1"), "9": save("1")}
    assert client.submit(prompt).json()["node_errors"]["1"]["dependent_outputs"] == ["8", "9"]


def test_constants_are_converted_as_comfyui_does(client):
    prompt = {"1": image(width="8", height=8.9), "9": save()}
    kept = client.run(prompt).history["prompt"][2]["1"]["inputs"]
    assert (kept["width"], kept["height"]) == (8, 8)


def test_a_wrapped_list_is_a_constant(client):
    prompt = {"1": image(width={"__value__": 8}), "9": save()}
    assert client.run(prompt).history["prompt"][2]["1"]["inputs"]["width"] == 8


@pytest.mark.parametrize("number", ["NaN", "Infinity"])
def test_numbers_that_are_none_are_refused(client, number):
    mask = {"class_type": "SolidMask", "inputs": {"value": float(number), "width": 8, "height": 8}}
    prompt = {"1": mask, "2": {"class_type": "MaskToImage", "inputs": {"mask": ["1", 0]}}, "9": save("2")}
    answer = client.http.post(client.url + "/prompt", data=json.dumps({"prompt": prompt}), timeout=30)
    errors = answer.json()["node_errors"]["1"]["errors"]
    assert [error["type"] for error in errors] == ["invalid_input_type"]


def test_an_exception_in_a_nodes_own_validation_is_reported(client):
    prompt = {
        "1": {"class_type": "ProbeBadValidation", "inputs": {"value": 1}},
        "2": {"class_type": "ProbeShow", "inputs": {"value": ["1", 0]}},
    }
    error = client.submit(prompt).json()["node_errors"]["1"]["errors"][0]
    assert error["type"] == "exception_during_inner_validation"
    assert error["extra_info"]["exception_type"] == "ZeroDivisionError"


@pytest.mark.parametrize(
    "extra",
    [{"extra_data": None}, {"extra_data": {}}, {}, {"client_id": None}],
    ids=["null", "empty", "none", "nobody"],
)
def test_missing_extra_data_does_not_end_the_worker(client, extra):
    """In ComfyUI `"extra_data": null` answers 200 and stops all execution for ever."""
    client.post("/prompt", {"prompt": {"1": image(), "9": save()}, **extra})
    assert client.run({"1": image(), "9": save()}).history["status"]["completed"] is True


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/prompt", b"{not json"),
        ("/prompt", b"[]"),
        ("/prompt", b'{"prompt": {}, "extra_data": []}'),
        ("/prompt", b'{"prompt": {}, "number": "first"}'),
        ("/prompt", b'{"prompt": {}, "partial_execution_targets": "9"}'),
        ("/queue", b"5"),
        ("/queue", b'{"delete": "all"}'),
        ("/history", b""),
        ("/free", b""),
    ],
)
def test_a_body_that_is_not_what_it_should_be_is_a_400_that_says_so(client, path, body):
    answer = client.http.post(client.url + path, data=body, timeout=30)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request"
    assert answer.json()["error"]["message"]


def test_a_body_above_the_limit_is_refused(client):
    limit = client.get("/features").json()["max_upload_size"]
    answer = client.http.post(client.url + "/prompt", data=b" " * (limit + 1), timeout=60)
    assert answer.status_code == 413
