"""One table of models: what --model changes, what stands in aloud, and what a missing file's message says."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from defectforge.runner.checkpoints import choose_model
from defectforge.runner.checkpoints.choose_model import choose, missing_models, stand_ins
from defectforge.runner.checkpoints.fetch import check_hash, fetch
from defectforge.runner.checkpoints.models import find, path_of, settings_for, table
from defectforge.runner.errors import RequestError
from defectforge.runner.graphs.export import api_path
from defectforge.runner.graphs.overrides import Setting
from defectforge.runner.outputs import hashes
from defectforge.runner.outputs.hashes import remembered_sha256


def test_the_table_is_sound() -> None:
    names = [model.name for model in table()]
    assert len(names) == len(set(names))
    for model in table():
        assert model.native_size in (128, 384, 512, 768, 1024)
        # The exact size of SDXL's inpainting UNet is not told on the page that tells its hash.
        assert model.sha256 is None or (len(model.sha256) == 64 and (model.bytes or model.name == "sdxl-inpainting"))
        assert model.is_generated == (model.family in ("miniature", "random-sd15"))
        assert model.licence != "Apache-2.0" or model.is_generated or model.family == "klein"


def test_model_sets_file_and_working_size_together(with_checkpoint: Any) -> None:
    assert settings_for("miniature", with_checkpoint) == [
        Setting("Checkpoint", "ckpt_name", "miniature.safetensors"),
        Setting("Working crop", "size", 128),
    ]


def test_a_family_name_takes_the_kind_that_the_workflow_needs(with_checkpoint: Any) -> None:
    with_checkpoint["6"]["inputs"]["ckpt_name"] = find("instruct-pix2pix").file
    assert settings_for("miniature", with_checkpoint)[0].value == "miniature-ip2p.safetensors"
    with pytest.raises(RequestError, match=r"'sd15x'.*\n.*\n.*did you mean 'sd15'"):
        settings_for("sd15x", with_checkpoint)


def test_a_workflow_without_a_checkpoint_has_no_model_to_choose(graph: Any) -> None:
    with pytest.raises(RequestError, match="the workflow loads no checkpoint"):
        settings_for("miniature", graph)


@pytest.fixture
def can_generate_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose_model, "can_generate", lambda model: model.is_generated)


@pytest.mark.usefixtures("can_generate_all")
class TestStandIn:
    def test_on_our_own_server_the_miniature_stands_in_aloud(self, with_checkpoint: Any, object_info: Any) -> None:
        choice = choose(with_checkpoint, object_info, None, Path("/models"))
        assert choice.settings[0].value == "miniature.safetensors"
        assert "Say --model sd15 to insist" in choice.notes[0]

    def test_where_a_plain_model_inpaints_the_inpainting_variant_stands_in(
        self, with_checkpoint: Any, object_info: Any
    ) -> None:
        with_checkpoint["8"] = {"class_type": "DefectForgeMaskedContent", "inputs": {}, "_meta": {"title": "Content"}}
        choice = choose(with_checkpoint, object_info, None, Path("/models"))
        assert choice.settings[0].value == "miniature-inpaint.safetensors"

    def test_it_never_does_on_somebody_s_server(self, with_checkpoint: Any, object_info: Any) -> None:
        assert choose(with_checkpoint, object_info, None, None).settings == []

    def test_it_does_not_where_the_user_chose(self, with_checkpoint: Any, object_info: Any) -> None:
        assert choose(with_checkpoint, object_info, None, Path("/models"), {"Checkpoint"}).settings == []
        insisted = choose(with_checkpoint, object_info, "sd15", Path("/models"))
        assert insisted.settings[0].value == "v1-5-pruned-emaonly-fp16.safetensors"
        assert insisted.notes == []


def test_a_missing_checkpoint_is_one_message_with_all_one_needs(with_checkpoint: Any, object_info: Any) -> None:
    problems, named = missing_models(with_checkpoint, object_info, "http://somewhere:8188")
    assert named == {("6", "ckpt_name")}
    (problem,) = problems
    for part in ("v1-5-pruned-emaonly-fp16.safetensors", "checkpoints", "http://somewhere:8188", "https://huggingface"):
        assert part in problem.text()
    assert "e9476a13728cd75d8279f6ec8bad753a66a1957ca375a1464dc63b37db6e3916" in problem.expected
    assert "--model miniature" in problem.mend


def test_a_broken_file_is_named_with_both_hashes(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "model.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"whole")
    pinned = hashlib.sha256(b"whole").hexdigest()
    model = replace(find("sd15"), file="model.safetensors", sha256=pinned, bytes=5)
    check_hash(model, path)
    path.write_bytes(b"wrong")
    with pytest.raises(RequestError) as caught:
        check_hash(model, path)
    text = caught.value.text()
    assert pinned in text and hashlib.sha256(b"wrong").hexdigest() in text and str(path) in text
    with pytest.raises(RequestError):
        fetch(model, tmp_path)


def test_a_hash_is_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFECTFORGE_MODELS", str(tmp_path / "models"))
    path = tmp_path / "big.safetensors"
    path.write_bytes(b"first")
    assert remembered_sha256(path) == hashlib.sha256(b"first").hexdigest()
    with monkeypatch.context() as patched:
        patched.setattr(hashes, "sha256_of", lambda path: "read again")
        assert remembered_sha256(path) == hashlib.sha256(b"first").hexdigest()
    path.write_bytes(b"second one")
    assert remembered_sha256(path) == hashlib.sha256(b"second one").hexdigest()


@pytest.mark.parametrize("kind", ["sd15", "sd15-inpaint", "sd15-ip2p", "sd21-unclip"])
def test_every_kind_has_a_stand_in_and_the_trained_one_comes_first(kind: str) -> None:
    names = [model.family for model in stand_ins(kind)]
    assert names == ["miniature", "random-sd15"]


def test_an_inpainting_model_is_taken_where_a_plain_one_is_named(with_checkpoint: Any) -> None:
    assert settings_for("miniature-inpaint", with_checkpoint)[0].value == "miniature-inpaint.safetensors"
    assert settings_for("sd-v1-5-inpainting", with_checkpoint) == [
        Setting("Checkpoint", "ckpt_name", find("sd-v1-5-inpainting").file),
        Setting("Working crop", "size", 512),
    ]


def test_plain_models_of_two_families_do_for_each_other(with_checkpoint: Any) -> None:
    assert settings_for("sdxl", with_checkpoint) == [
        Setting("Checkpoint", "ckpt_name", "sd_xl_base_1.0.safetensors"),
        Setting("Working crop", "size", 1024),
    ]
    with_checkpoint["6"]["inputs"]["ckpt_name"] = find("sdxl").file
    assert settings_for("miniature-inpaint", with_checkpoint)[0].value == "miniature-inpaint.safetensors"
    with_checkpoint["6"]["inputs"]["ckpt_name"] = find("instruct-pix2pix").file
    with pytest.raises(RequestError, match=r"is of kind sdxl; the workflow needs sd15-ip2p"):
        settings_for("sdxl", with_checkpoint)


def test_a_diffusion_model_by_itself_is_chosen_with_the_size_of_all_that_has_one() -> None:
    graph = json.loads(api_path("klein_defect_local").read_text(encoding="utf-8"))
    settings = settings_for("klein-4b", graph)
    assert settings[0] == Setting("Diffusion model", "unet_name", "flux-2-klein-4b-fp8.safetensors")
    sized = {(setting.title, setting.input): setting.value for setting in settings[1:]}
    areas = [("Steps", "width"), ("Steps", "height")]
    assert sized == dict.fromkeys(
        [(t, "size") for t in ("Working crop", "Reference crop", "Denoise mask")] + areas, 1024
    )
    with pytest.raises(RequestError, match=r"is of kind sd15; the workflow needs flux2(.|\n)*--model klein-4b"):
        settings_for("sd15", graph)


def test_a_checkpoint_is_no_diffusion_model_by_itself() -> None:
    graph = json.loads(api_path("sdxl_inpaint_unet").read_text(encoding="utf-8"))
    assert [setting.value for setting in settings_for("sdxl", graph)][:2] == [
        "sd_xl_base_1.0.safetensors",
        "sd_xl_inpainting_0.1.fp16.safetensors",
    ]
    with pytest.raises(RequestError, match="'Inpainting UNet'"):
        settings_for("miniature", graph)


def test_a_generated_file_that_is_not_right_is_written_again(tmp_path: Path) -> None:
    model = find("miniature")
    target = path_of(model, tmp_path)
    target.parent.mkdir(parents=True)
    target.write_bytes(b"an older one")
    with pytest.raises(RequestError, match=rf"'miniature' is broken(.|\n)*{model.sha256}(.|\n)*models fetch miniature"):
        check_hash(model, target)
    fetch(model, tmp_path)
    check_hash(model, target)


def test_the_random_checkpoint_is_written_by_a_process_of_its_own(tmp_path: Path) -> None:
    target = fetch(find("random-sd15"), tmp_path)
    assert target.stat().st_size > 10**8
