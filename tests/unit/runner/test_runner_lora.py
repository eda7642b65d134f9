"""`--lora`: which file a run loads, and whether it was trained for the checkpoint that is loaded."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectforge.runner.checkpoints.choose_lora import lora_settings, strange_loras, trained_on
from defectforge.runner.checkpoints.lora_files import RECORD, metadata_of
from defectforge.runner.errors import RequestError
from safetensors.numpy import save_file

SD15 = "v1-5-pruned-emaonly-fp16.safetensors"
SDXL, KLEIN = "sd_xl_base_1.0.safetensors", "flux-2-klein-4b-fp8.safetensors"


def lora_file(path: Path, metadata: dict[str, str], rest: bytes = b"") -> Path:
    head = json.dumps({"__metadata__": metadata}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(head)) + head + rest)
    return path


def record(model: str) -> dict[str, str]:
    photos = [{"path": "hazelnut/test/hole/000.png", "sha256": "a" * 64}]
    good = [{"path": "hazelnut/train/good/000.png", "sha256": "b" * 64}]
    return {RECORD: json.dumps({"model": {"file": model}, "photos": photos, "good_photos": good})}


def graph(checkpoint: str = SD15, file: str = "defect-lora.safetensors", strength: float = 1.0) -> dict[str, Any]:
    loader = {"lora_name": file, "strength_model": strength, "strength_clip": 0.0, "model": ["1", 0], "clip": ["1", 1]}
    return {
        "1": {
            "class_type": "CheckpointLoaderSimple",
            "inputs": {"ckpt_name": checkpoint},
            "_meta": {"title": "Checkpoint"},
        },
        "2": {"class_type": "LoraLoader", "inputs": loader, "_meta": {"title": "LoRA"}},
    }


def silent(folder: str, file: str) -> dict[str, Any]:
    """A server that tells nothing of its files."""
    return {}


INFO = {"LoraLoader": {"input": {"required": {"lora_name": [["there.safetensors"], {}]}}}}


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    return tmp_path / "models"


def test_our_own_server_gets_a_copy_once(models: Path, tmp_path: Path) -> None:
    file, said = lora_file(tmp_path / "mine.safetensors", {}), []
    settings, is_new = lora_settings(str(file), graph(), INFO, models, silent, said.append)
    assert (settings[0].title, settings[0].input, settings[0].value) == ("LoRA", "lora_name", "mine.safetensors")
    assert is_new and (models / "loras" / "mine.safetensors").read_bytes() == file.read_bytes()
    assert "copied mine.safetensors" in said[0]
    assert lora_settings(str(file), graph(), INFO, models, silent, said.append)[1] is False
    assert len(said) == 1


def test_another_file_of_that_name_is_never_overwritten(models: Path, tmp_path: Path) -> None:
    old = lora_file(models / "loras" / "mine.safetensors", {}, b"old")
    file = lora_file(tmp_path / "mine.safetensors", {"title": "new"})
    with pytest.raises(RequestError, match=r"another LoRA is called mine\.safetensors"):
        lora_settings(str(file), graph(), INFO, models, silent, print)
    assert old.read_bytes().endswith(b"old")


def test_a_name_of_the_server_s_own_and_a_file_for_a_server_of_somebody_else(tmp_path: Path) -> None:
    (setting,), is_new = lora_settings("there.safetensors", graph(), INFO, None, silent, print)
    assert setting.value == "there.safetensors" and not is_new
    file = lora_file(tmp_path / "mine.safetensors", {})
    (setting,), is_new = lora_settings(str(file), graph(), INFO, None, silent, print)
    assert setting.value == "mine.safetensors" and not is_new


@pytest.mark.parametrize(("on_server", "said"), [("same", 0), ("other", None), ("silent", 1)])
def test_a_file_that_a_server_of_somebody_else_has_under_this_name_is_this_one(
    on_server: str, said: int | None, tmp_path: Path
) -> None:
    file = lora_file(tmp_path / "there.safetensors", record(SD15))
    told = {"same": record(SD15), "other": record("miniature.safetensors"), "silent": {}}[on_server]
    lines: list[str] = []
    if said is None:
        with pytest.raises(RequestError, match=r"another file of the name there\.safetensors"):
            lora_settings(str(file), graph(), INFO, None, lambda folder, name: told, lines.append)
        return
    (setting,), _ = lora_settings(str(file), graph(), INFO, None, lambda folder, name: told, lines.append)
    assert setting.value == "there.safetensors" and len(lines) == said


@pytest.mark.parametrize("content", [b"text", b"", struct.pack("<Q", 2) + b"{}" + b"too long", "cut"])
@pytest.mark.parametrize("is_ours", [True, False])
def test_what_is_no_whole_lora_is_refused_before_it_is_copied(
    content: bytes | str, is_ours: bool, models: Path, tmp_path: Path
) -> None:
    file = tmp_path / "there.safetensors"
    if content == "cut":
        save_file({"x.lora_up.weight": np.zeros((4, 4), np.float32)}, str(file))
        file.write_bytes(file.read_bytes()[:-1])
    else:
        assert isinstance(content, bytes)
        file.write_bytes(content)
    with pytest.raises(RequestError, match=r"there\.safetensors is no LoRA file"):
        lora_settings(str(file), graph(), INFO, models if is_ours else None, silent, print)
    assert not (models / "loras").exists()


@pytest.mark.parametrize(
    ("given", "in_graph", "message"),
    [
        ("nowhere/mine.safetensors", 1, "there is no file"),
        ("mine.safetensors", 0, "has no LoRA loader"),
        ("mine.safetensors", 2, "has 2 LoRA loaders"),
    ],
)
def test_what_cannot_be_is_said(given: str, in_graph: int, message: str, models: Path) -> None:
    built = graph()
    one = built.pop("2")
    built |= {str(n + 2): {**one, "_meta": {"title": f"LoRA {n}"}} for n in range(in_graph)}
    with pytest.raises(RequestError, match=message):
        lora_settings(given, built, INFO, models, silent, print)


@pytest.mark.parametrize(
    ("metadata", "checkpoint", "expected"),
    [
        (record(SD15), SD15, "fits"),
        (record("miniature.safetensors"), SD15, "refused"),
        (record(SD15), "miniature.safetensors", "refused"),
        (record("miniature.safetensors"), "miniature-inpaint.safetensors", "said"),
        (record("my-own.safetensors"), SD15, "said"),
        ({**record("my-own.safetensors"), "ss_base_model_version": "sd_v1"}, SD15, "said"),
        ({**record("my-own.safetensors"), "ss_base_model_version": "sd_v1"}, SDXL, "refused"),
        ({"ss_base_model_version": "sdxl_base_v1-0"}, SD15, "refused"),
        ({"modelspec.architecture": "stable-diffusion-v1/lora"}, SD15, "fits"),
        ({"modelspec.architecture": "flux-1-dev/lora"}, SD15, "refused"),
        ({"modelspec.architecture": "flux-1-dev/lora"}, KLEIN, "refused"),
        ({"modelspec.architecture": "Flux.2-dev/lora"}, KLEIN, "fits"),
        ({"ss_base_model_version": "sd_v1"}, "my-own.safetensors", "fits"),
        ({}, SD15, "fits"),
    ],
)
@pytest.mark.parametrize("where", ["our own server", "a ComfyUI"])
def test_a_lora_of_another_family_is_refused_on_every_server(
    metadata: dict[str, str], checkpoint: str, expected: str, where: str, models: Path
) -> None:
    if where == "our own server":
        lora_file(models / "loras" / "defect-lora.safetensors", metadata)
        here, ask = models, lambda folder, file: {}
    else:
        here, ask = None, lambda folder, file: metadata
    said: list[str] = []
    problems = strange_loras(graph(checkpoint), here, ask, said.append)
    assert ("refused" if problems else "said" if said else "fits") == expected
    if problems:
        assert problems[0].code == "lora.other_model" and checkpoint in problems[0].what


def test_a_lora_without_strength_is_of_no_matter(models: Path) -> None:
    lora_file(models / "loras" / "defect-lora.safetensors", record("miniature.safetensors"))
    assert strange_loras(graph(strength=0.0), models, lambda *_: {}, print) == []


def test_what_it_has_seen_is_read_from_the_file_or_the_server(models: Path) -> None:
    lora_file(models / "loras" / "x.safetensors", record(SD15))
    seen = {
        "photos": [{"path": "hazelnut/test/hole/000.png", "sha256": "a" * 64}],
        "good_photos": ["b" * 64],
    }
    assert trained_on("x.safetensors", models, lambda *_: {}) == seen
    assert trained_on("x.safetensors", None, lambda *_: record(SD15)) == seen
    assert trained_on("y.safetensors", models, lambda *_: {}) == {}


@pytest.mark.parametrize("content", [b"", b"12", struct.pack("<Q", 1 << 40), struct.pack("<Q", 4) + b"[]  "])
def test_a_file_that_is_none_is_told_from_one(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r".+"):
        metadata_of(path)
