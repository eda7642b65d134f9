"""The WORKFLOW argument: any encoding, pictures, standard input; anything else is told what it is."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from defectforge.runner.errors import RequestError
from defectforge.runner.graphs.graph import load, parse
from PIL import Image, PngImagePlugin

QUEUE = {"1": {"class_type": "LoadImage", "inputs": {"image": "é.png"}}}
WINDOW = {"nodes": [{"id": 1, "type": "LoadImage", "widgets_values": ["é.png"]}], "links": [], "version": 0.4}
PICTURE = Image.new("RGB", (2, 2))


def png(**texts: Any) -> bytes:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        if name == "compressed":
            info.add_itxt("workflow", text, zip=True)
        else:
            info.add_text(name, text)
    buffer = io.BytesIO()
    PICTURE.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def webp(**texts: Any) -> bytes:
    exif = Image.Exif()
    for tag, (name, text) in zip((0x010F, 0x0110), texts.items(), strict=False):
        exif[tag] = f"{name}:{text}"
    buffer = io.BytesIO()
    PICTURE.save(buffer, "WEBP", exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("data", [QUEUE, WINDOW], ids=["queue", "window"])
def test_any_unicode_encoding_is_read(encoding, data):
    assert parse(json.dumps(data, ensure_ascii=False).encode(encoding), Path("theirs.json")).data == data


@pytest.mark.parametrize("form", [png, webp])
def test_a_picture_gives_the_workflow_it_was_saved_with(form, tmp_path):
    path = tmp_path / "ComfyUI_00001_.img"
    path.write_bytes(form(prompt=json.dumps(QUEUE), workflow=json.dumps(WINDOW)))
    assert (load(path).form, load(path).data) == ("window", WINDOW)
    path.write_bytes(form(prompt=json.dumps(QUEUE)))
    assert (load(path).form, load(path).data) == ("queue", QUEUE)


def test_a_compressed_text_is_read():
    assert parse(png(compressed=json.dumps(WINDOW, ensure_ascii=False)), Path("a.png")).data == WINDOW


def test_the_same_workflow_in_two_pictures_is_the_same_workflow():
    text = json.dumps(WINDOW)
    assert parse(png(workflow=text, other="x"), Path("a.png")).sha256 == parse(webp(workflow=text), Path("b")).sha256


def test_standard_input_is_a_workflow():
    program = "import sys; sys.path.insert(0, sys.argv[1]); import conftest\n"
    program += "from defectforge.runner.graphs.graph import load\n"
    program += "print(load('-').form, load('-').path)"
    tests = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program, str(tests)], input=json.dumps(WINDOW).encode("utf-16"), capture_output=True
    )
    assert done.stdout.split() == [b"window", b"standard", b"input"], done.stderr.decode()


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"\xff\xd8\xff\xe0\x00", "JPEG"),
        (b"GIF89a", "GIF"),
        (b"PK\x03\x04rest", "ZIP"),
        (b"%PDF-1.7", "PDF"),
        (b"<!doctype html>", "web page"),
        (b"\xef\xbb\xbf  <svg/>", "XML"),
        (struct.pack("<Q", 2) + b"{}" + b"\x00" * 9, "safetensors"),
        (b"steps: 20\n", "not JSON"),
        (b"\x7fELF\x02\x01\x00\xd0\xd1", "binary data"),
        ("Größe".encode("latin-1"), "not in a Unicode encoding"),
        (png(), "no workflow"),
        (png(parameters="a nut\nSteps: 20"), "another program"),
        (webp(), "no workflow"),
        (png(workflow="{"), "ends in the middle"),
        (b"[" * 100_000, "deep"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "cannot be read as JSON"),
        (rb'{"nodes": [], "links": [], "x": "\ud800"}', "halves of characters"),
    ],
)
def test_anything_else_is_told_what_it_is(raw, what):
    with pytest.raises(RequestError) as caught:
        parse(raw, Path("theirs"))
    (problem,) = caught.value.problems
    assert what in problem.what, problem.text()
    assert "theirs" in problem.where


@pytest.mark.parametrize("name", ["", ".", "no such name", "x" * 5_000, "a\x00b", "/"])
def test_a_path_that_cannot_be_read_is_one_error(name):
    with pytest.raises(RequestError):
        load(name)


@pytest.mark.parametrize("cut", [0, 7, 8, 20, 33, 40, 60, 80])
@pytest.mark.parametrize("form", [png, webp])
def test_a_cut_picture_is_one_error_or_whole(form, cut):
    raw = form(workflow=json.dumps(WINDOW))[: 8 + cut]
    with pytest.raises(RequestError):
        parse(raw, Path("cut"))


def test_a_text_that_swells_does_not_fill_the_memory():
    body = b"workflow\x00\x00" + zlib.compress(b" " * 10_000_000)
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + b"\x00" * 4
    with pytest.raises(RequestError):
        parse(b"\x89PNG\r\n\x1a\n" + chunk, Path("bomb.png"))
