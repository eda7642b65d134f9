"""`defectforge lora`: what it writes, that it goes on where it was stopped, and what it refuses."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from defectforge.runner.checkpoints.lora_files import RECORD, metadata_of, training_record
from defectforge.runner.embedded.engine.loading.checkpoint import load_checkpoint
from defectforge.runner.embedded.engine.loading.lora import apply_lora
from defectforge.runner.embedded.engine.model.model import applied_weights
from defectforge.runner.embedded.engine.random_weights.random_checkpoint import write
from PIL import Image
from safetensors.torch import load_file

from .conftest import Train, layout

pytest.importorskip("peft", reason="the extra `lora` is not installed")


def said(result: Any) -> str:
    return str(result.stderr or "") + str(result.stdout or "")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loras") / "stain.safetensors"


@pytest.fixture
def lora(trained: Path, train: Train) -> Path:
    """A file that was trained for six steps; made once."""
    if not trained.is_file():
        result = train(trained, "--steps", 6)
        assert result.return_value == 0, said(result)
    return trained


def test_the_file_names_weights_as_comfyui_reads_them(lora: Path) -> None:
    tensors = load_file(lora)
    key = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0"
    assert tensors[f"{key}.lora_down.weight"].shape == (4, 32)
    assert tensors[f"{key}.lora_up.weight"].shape == (32, 4)
    assert float(tensors[f"{key}.alpha"]) == 4.0
    assert all(name.startswith("lora_unet_") for name in tensors)


def test_the_record_names_photos_settings_and_model(lora: Path, nuts: Path, checkpoint_file: Path) -> None:
    from defectforge.runner.outputs.hashes import sha256_of

    record = training_record(metadata_of(lora))
    assert record is not None
    first = record["photos"][0]
    assert first["path"] == "hazelnut/test/stain/000.png"
    assert first["sha256"] == sha256_of(nuts / first["path"])
    assert first["mask_sha256s"] == [sha256_of(nuts / "hazelnut/ground_truth/stain/000_mask.png")]
    assert [entry["path"] for entry in record["good_photos"]] == [f"hazelnut/train/good/00{i}.png" for i in range(3)]
    assert record["model"] == {"file": "tiny.safetensors", "sha256": sha256_of(checkpoint_file)}
    assert record["settings"]["rank"] == 4 and record["settings"]["prompt"] == "defective hazelnut with stain"
    assert record["version"]


def test_the_embedded_server_takes_the_file_whole_and_draws_otherwise_with_it(
    lora: Path, checkpoint_file: Path
) -> None:
    checkpoint = load_checkpoint(checkpoint_file)
    patched, _ = apply_lora(checkpoint.model, checkpoint.clip, lora, 1.0, 1.0)
    assert len(patched.weight_patches) == len([name for name in load_file(lora) if name.endswith(".alpha")])
    network = patched.model.diffusion_model
    given = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([500.0])
    context = torch.randn(1, 77, 64, generator=torch.Generator().manual_seed(2))
    before = network(*given, context=context)
    with applied_weights(network, patched.weight_patches):
        after = network(*given, context=context)
    assert not torch.allclose(before, after, atol=1e-4)


def test_what_was_trained_is_what_the_file_says(train: Train, tmp_path: Path, checkpoint_file: Path) -> None:
    """The adapters in the network and the file's changes added to the weights give the same answer."""
    from defectforge.runner.lora.adapters import Adapters

    checkpoint = load_checkpoint(checkpoint_file)
    network, clip = checkpoint.model.model.diffusion_model, checkpoint.clip
    assert clip is not None
    adapters = Adapters(network.unet, clip.encoder, 4, 0)
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)) * 0.1)
    given = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([300.0])
    tokens = clip.tokens_with_gradient("a stain")
    inside = network(*given, context=tokens).detach()
    from safetensors.torch import save_file

    save_file(adapters.state(), str(tmp_path / "random.safetensors"))
    fresh = load_checkpoint(checkpoint_file)
    patched, patched_clip = apply_lora(fresh.model, fresh.clip, tmp_path / "random.safetensors", 1.0, 1.0)
    assert patched_clip is not None
    with applied_weights(patched.model.diffusion_model, patched.weight_patches):
        outside = patched.model.diffusion_model(*given, context=patched_clip.encode("a stain")[0][0])
    assert torch.allclose(inside, outside, atol=2e-3)
    assert not torch.allclose(inside, fresh.model.model.diffusion_model(*given, context=tokens), atol=1e-2)


def test_samples_lie_beside_the_file(lora: Path) -> None:
    sheets = sorted(lora.with_name(lora.name + ".training").glob("step-*.png"))
    assert [sheet.name for sheet in sheets] == ["step-00000.png", "step-00002.png", "step-00004.png", "step-00006.png"]
    assert Image.open(sheets[0]).size == (3 * 68 - 4, 2 * 68 - 4)


def test_the_same_command_again_does_nothing_and_another_one_overwrites_nothing(lora: Path, train: Train) -> None:
    before = lora.read_bytes()
    again = train(lora, "--steps", 6)
    assert again.return_value == 0 and "is there already" in said(again)
    other = train(lora, "--steps", 7)
    assert other.return_value == 2 and "another file is there" in said(other)
    assert lora.read_bytes() == before


def test_the_same_seed_gives_the_same_file_and_another_one_another(lora: Path, train: Train, tmp_path: Path) -> None:
    train(tmp_path / "a.safetensors", "--steps", 6)
    train(tmp_path / "b.safetensors", "--steps", 6, "--seed", 1)
    assert (tmp_path / "a.safetensors").read_bytes() == lora.read_bytes()
    assert load_file(tmp_path / "b.safetensors").keys() == load_file(lora).keys()
    assert (tmp_path / "b.safetensors").read_bytes() != lora.read_bytes()


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_and_gives_what_an_undisturbed_one_gives(
    train: Train, nuts: Path, checkpoint_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed.safetensors"
    steps = 60
    line = [sys.executable, "-m", "defectforge.runner", "lora", "--data", nuts, "--type", "stain", "--out", out]
    line += ["--model", checkpoint_file, "--threads", 1, "--size", 64, "--batch", 1, "--rank", 4, "--device", "cpu"]
    line += ["--learning-rate", 0.01, "--steps", steps]
    state = out.with_name(out.name + ".training") / "state.pt"
    running = subprocess.Popen([str(part) for part in line], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 300
    while not state.is_file() and running.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL and state.is_file() and not out.exists()
    result = train(out, "--steps", steps)
    assert result.return_value == 0 and "going on at step" in said(result), said(result)
    assert not state.exists()
    train(tmp_path / "whole.safetensors", "--steps", steps)
    assert out.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_an_inpainting_model_and_a_text_encoder_learn_too(train: Train, tmp_path: Path) -> None:
    model = write(tmp_path / "tiny-inpaint.safetensors", layout=layout(in_channels=9))
    out = tmp_path / "inpaint.safetensors"
    result = train(out, "--steps", 2, "--text-encoder", model=model)
    assert result.return_value == 0, said(result)
    assert any(name.startswith("lora_te_text_model_encoder_layers_0_self_attn_q_proj") for name in load_file(out))
    checkpoint = load_checkpoint(model)
    _, clip = apply_lora(checkpoint.model, checkpoint.clip, out, 1.0, 1.0)
    assert clip is not None and clip.weight_patches


def test_one_photo_is_enough_and_it_is_said(train: Train, tmp_path: Path) -> None:
    out = tmp_path / "one.safetensors"
    result = train(out, "--steps", 1, "--photos", "001", "--prior", 0)
    assert result.return_value == 0, said(result)
    assert "only one photo" in said(result)
    record = json.loads(metadata_of(out)[RECORD])
    assert [entry["path"] for entry in record["photos"]] == ["hazelnut/test/stain/001.png"]
    assert record["good_photos"] == []


def empty_mask(root: Path) -> None:
    Image.fromarray(np.zeros((96, 96), np.uint8)).save(root / "hazelnut/ground_truth/stain/001_mask.png")


def no_masks(root: Path) -> None:
    shutil.rmtree(root / "hazelnut/ground_truth")


@pytest.mark.parametrize(
    ("spoil", "options", "code"),
    [
        (empty_mask, {}, "marks nothing|one level|constant|empty"),
        (no_masks, {}, "no photo of defect type 'stain' has a ground-truth mask"),
        (None, {"type_": "scratch"}, "has no defect type 'scratch'"),
        (None, {"more": ["--photos", "007"]}, "no photo '007' with a mask"),
        (None, {"more": ["--rank", "0"]}, "--rank 0"),
        (None, {"more": ["--learning-rate", "nan"]}, "--learning-rate nan"),
        (None, {"more": ["--size", "60"]}, "--size 60"),
        (None, {"model": "sd21-unclip-h"}, "of kind sd21-unclip"),
        (None, {"model": "sd15"}, "the file of model 'sd15' is not here"),
        (None, {"model": "nowhere.safetensors"}, "no model file 'nowhere.safetensors'"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value))[:40],
)
def test_bad_input_is_one_clear_message(
    spoil: Any, options: dict[str, Any], code: str, train: Train, nuts: Path, tmp_path: Path
) -> None:
    import re

    data = Path(shutil.copytree(nuts, tmp_path / "nuts"))
    if spoil is not None:
        spoil(data)
    more = options.pop("more", [])
    result = train(tmp_path / "x.safetensors", "--steps", 1, *more, data=data, **options)
    assert result.return_value == 2, said(result)
    assert re.search(code, said(result)), said(result)
    assert "Traceback" not in said(result)
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize("kind", ["another family", "a LoRA", "no model"])
def test_a_model_of_another_family_is_refused(kind: str, train: Train, lora: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    if kind == "a LoRA":
        model = lora
    else:
        name = "model.diffusion_model.double_blocks.0.img_attn.qkv.weight" if kind == "another family" else "x"
        model = tmp_path / "other.safetensors"
        save_file({name: torch.zeros(2, 2)}, str(model))
    result = train(tmp_path / "x.safetensors", "--steps", 1, model=model)
    assert result.return_value == 2, said(result)
    assert model.name in said(result) and "Stable Diffusion 1" in said(result)


@pytest.mark.parametrize("out", ["x.ckpt", "inside"])
def test_a_place_that_cannot_be_is_refused(out: str, train: Train, nuts: Path, tmp_path: Path) -> None:
    place = tmp_path / out if out == "x.ckpt" else nuts / "hazelnut" / "x.safetensors"
    result = train(place, "--steps", 1)
    assert result.return_value == 2 and "--out" in said(result)


def test_another_training_in_the_same_place_is_refused(train: Train, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    folder = out.with_name(out.name + ".training")
    folder.mkdir()
    torch.save({"fingerprint": "another", "step": 3}, folder / "state.pt")
    result = train(out, "--steps", 1)
    assert result.return_value == 2 and "another training has begun there" in said(result)
    (folder / "state.pt").write_bytes(b"no state")
    assert "cannot be read" in said(train(out, "--steps", 1))


def test_help_stays_light() -> None:
    code = (
        "import sys\nfrom defectforge.runner.cli import cli\n"
        "try: cli(['lora', '--help'])\nexcept SystemExit: pass\n"
        "print({'torch', 'peft', 'diffusers', 'numpy'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr.strip() == "set()"
