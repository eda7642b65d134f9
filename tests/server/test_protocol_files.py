"""Uploads, `/view`, and the nodes that read and write pictures."""

from __future__ import annotations

import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image


def png(colour=(10, 20, 30), size=(8, 6), mode="RGB"):
    buffer = BytesIO()
    Image.new(mode, size, colour).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def upload(client, request):
    """Upload a file into a subfolder of the test's own."""
    folder = f"tests/{request.node.name}"

    def send(data, name="nut.png", path="/upload/image", **fields):
        files = {"image": (name, data, "image/png")}
        return client.http.post(client.url + path, files=files, data={"subfolder": folder, **fields}, timeout=30)

    send.folder = folder
    return send


def test_an_upload_is_stored_where_it_says(upload, client, server_folders):
    answer = upload(png())
    assert answer.json() == {"name": "nut.png", "subfolder": upload.folder, "type": "input"}
    assert (server_folders["input"] / upload.folder / "nut.png").read_bytes() == png()
    seen = client.get("/view", filename="nut.png", subfolder=upload.folder, type="input")
    assert seen.content == png()
    assert seen.headers["Content-Type"] == "image/png"


def test_head_tells_whether_a_file_is_there(upload, client):
    upload(png())
    where = {"subfolder": upload.folder, "type": "input"}
    for name, status in (("nut.png", 200), ("other.png", 404)):
        answer = client.http.head(client.url + "/view", params={**where, "filename": name}, timeout=30)
        assert (answer.status_code, answer.content) == (status, b"")


def test_the_same_bytes_again_are_stored_once_and_others_get_a_new_name(upload, server_folders):
    names = [upload(data).json()["name"] for data in (png(), png(), png((1, 1, 1)), png((1, 1, 1)), png((2, 2, 2)))]
    assert names == ["nut.png", "nut.png", "nut (1).png", "nut (1).png", "nut (2).png"]
    stored = sorted(path.name for path in (server_folders["input"] / upload.folder).iterdir())
    assert stored == ["nut (1).png", "nut (2).png", "nut.png"]


@pytest.mark.parametrize("yes", ["true", "1"])
def test_overwrite_replaces_the_file(upload, server_folders, yes):
    upload(png())
    assert upload(png((9, 9, 9)), overwrite=yes).json()["name"] == "nut.png"
    assert (server_folders["input"] / upload.folder / "nut.png").read_bytes() == png((9, 9, 9))


@pytest.mark.parametrize(
    "fields",
    [
        {"subfolder": "../outside"},
        {"subfolder": "/etc"},
        {"subfolder": "tests/../../.."},
        {"type": "models"},
    ],
    ids=["parent", "absolute", "winding", "unknown type"],
)
def test_an_upload_never_leaves_its_folder(upload, server_folders, fields):
    before = sorted(server_folders["input"].parent.iterdir())
    assert upload(png(), **fields).status_code == 400
    assert sorted(server_folders["input"].parent.iterdir()) == before


def test_an_upload_whose_name_leads_out_is_refused(upload):
    assert upload(png(), name="../../../../evil.png").status_code == 400


def test_an_upload_without_a_file_is_refused(client):
    assert client.http.post(client.url + "/upload/image", data={"image": "text"}, timeout=30).status_code == 400


def test_an_uploaded_mask_becomes_the_pictures_alpha(upload, client):
    upload(png((200, 100, 50)))
    mask = BytesIO()
    Image.new("RGBA", (8, 6), (0, 0, 0, 77)).save(mask, format="PNG")
    reference = json.dumps({"filename": "nut.png", "subfolder": upload.folder, "type": "input"})
    answer = upload(mask.getvalue(), name="masked.png", path="/upload/mask", original_ref=reference)
    assert answer.json()["name"] == "masked.png"
    seen = client.get("/view", filename="masked.png", subfolder=upload.folder, type="input")
    assert Image.open(BytesIO(seen.content)).getpixel((3, 3)) == (200, 100, 50, 77)


@pytest.mark.parametrize("reference", ["", "5", "{}", '{"filename": "../nut.png"}'])
def test_a_mask_for_no_picture_is_refused(upload, reference):
    assert upload(png(), path="/upload/mask", original_ref=reference).status_code == 400


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"filename": "../embedded.log"}, 400),
        ({"filename": "/etc/passwd"}, 400),
        ({"filename": "passwd", "subfolder": "../../../../../../etc"}, 403),
        ({"filename": "passwd", "subfolder": "/etc"}, 403),
        ({"filename": "no\0pe.png"}, 404),
        ({"filename": "nope.png"}, 404),
        ({"filename": "nut.png", "type": "models"}, 400),
        ({"filename": ""}, 400),
        ({}, 400),
    ],
)
def test_view_shows_nothing_outside_its_folders(client, query, status):
    assert client.get("/view", **query).status_code == status


def test_view_takes_an_annotated_name(upload, client):
    upload(png())
    assert client.get("/view", filename="nut.png [input]", subfolder=upload.folder).content == png()


def test_view_gives_previews_and_channels(upload, client):
    upload(png((10, 20, 30, 40), mode="RGBA"))
    where = {"filename": "nut.png", "subfolder": upload.folder, "type": "input"}

    def seen(**how):
        return Image.open(BytesIO(client.get("/view", **where, **how).content))

    assert seen(channel="rgb").getpixel((0, 0)) == (10, 20, 30)
    assert seen(channel="a").getpixel((0, 0)) == (0, 0, 0, 40)
    assert seen(preview="webp;80").format == "WEBP"
    assert seen(preview="jpeg").format == "JPEG"


def test_view_never_serves_what_a_browser_would_run(upload, client):
    upload(b"<script>alert(1)</script>", name="page.html")
    seen = client.get("/view", filename="page.html", subfolder=upload.folder, type="input")
    assert seen.headers["Content-Type"] == "application/octet-stream"


def test_an_uploaded_picture_comes_back_unchanged_with_its_workflow(upload, client):
    pixels = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    upload(buffer.getvalue())
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": f"{upload.folder}/nut.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": f"{upload.folder}/out"}},
    }
    outcome = client.run(prompt, extra_data={"extra_pnginfo": {"workflow": {"nodes": ["ä"]}}})
    [reference] = outcome.history["outputs"]["2"]["images"]
    assert reference == {"filename": "out_00001_.png", "subfolder": upload.folder, "type": "output"}
    picture = Image.open(BytesIO(client.get("/view", **reference).content))
    assert np.array_equal(np.array(picture), pixels)
    assert json.loads(picture.text["prompt"]) == prompt
    assert json.loads(picture.text["workflow"]) == {"nodes": ["ä"]}


def test_saved_files_are_numbered_on(client, request):
    node = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 2, "color": 0}}
    numbers = []
    for colour in (1, 2):
        node = {**node, "inputs": {**node["inputs"], "color": colour}}
        prefix = f"{request.node.name}/%width%x%height%_n"
        saver = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}}
        outcome = client.run({"1": node, "2": saver})
        numbers += [image["filename"] for image in outcome.history["outputs"]["2"]["images"]]
    assert numbers == [f"8x8_n_{number:05}_.png" for number in (1, 2, 3, 4)]


def test_saving_outside_the_output_folder_fails(client):
    node = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}}
    saver = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "../../evil"}}
    failure = client.run({"1": node, "2": saver}).data("execution_error")[0]
    assert "leads out of the output folder" in failure["exception_message"]


def test_previews_go_to_the_temp_folder(client):
    node = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 255}}
    outcome = client.run({"1": node, "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}})
    [reference] = outcome.history["outputs"]["2"]["images"]
    assert reference["type"] == "temp"
    picture = Image.open(BytesIO(client.get("/view", **reference).content))
    assert picture.getpixel((0, 0)) == (0, 0, 255)
