"""`defectforge convert` against our own server: from a name, a picture, standard input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from defectforge.runner.graphs.graph import SHIPPED
from PIL import Image, PngImagePlugin

NAME = "inpaint_latent_noise"
WINDOW = SHIPPED / f"{NAME}.json"
COMMITTED = json.loads((SHIPPED / "api" / f"{NAME}.json").read_text(encoding="utf-8"))


def bare(graph: dict[str, Any]) -> dict[str, Any]:
    return {id_: [node["class_type"], node["inputs"], node["_meta"]["title"]] for id_, node in graph.items()}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A PNG with the workflow in it, as ComfyUI saves one."""
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", WINDOW.read_text(encoding="utf-8"))
    path = tmp_path / "ComfyUI_00001_.png"
    Image.new("RGB", (2, 2)).save(path, pnginfo=info)
    return path


def test_a_shipped_workflow_and_a_picture_give_the_committed_queue_form(cli, embedded_server, picture, tmp_path):
    for workflow in (NAME, picture):
        out = tmp_path / "queue.json"
        done = cli("convert", workflow, "--server", embedded_server.url, "-o", out)
        assert done.returncode == 0, done.stderr
        assert bare(json.loads(out.read_text(encoding="utf-8"))) == bare(COMMITTED)


def test_standard_input_to_standard_output_without_a_word_between(environment, embedded_server):
    command = [sys.executable, "-m", "defectforge.runner", "convert", "-", "--server", embedded_server.url]
    done = subprocess.run(command, input=WINDOW.read_bytes(), env=environment, capture_output=True, timeout=300)
    assert bare(json.loads(done.stdout)) == bare(COMMITTED), done.stderr


def test_a_queue_form_needs_no_server(cli):
    done = cli("convert", SHIPPED / "api" / f"{NAME}.json")
    assert json.loads(done.stdout) == COMMITTED
    assert done.stderr == ""


def test_what_cannot_be_written_is_one_message(cli, tmp_path):
    done = cli("convert", SHIPPED / "api" / f"{NAME}.json", "-o", tmp_path / "absent" / "queue.json")
    assert done.returncode == 1
    assert "cannot be written" in done.stderr and "Traceback" not in done.stderr


def test_check_names_what_a_picture_without_a_workflow_is(cli, tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (2, 2)).save(path)
    done = cli("check", path)
    assert done.returncode == 2
    assert "PNG holds no workflow" in done.stderr and "Traceback" not in done.stderr
