"""ControlNets: both ways to write a file give the same answers, a hint counts, and other kinds are refused by name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from defectforge.runner.embedded.engine.loading.checkpoint import Checkpoint
from defectforge.runner.embedded.engine.loading.controlnet import Control, load_controlnet
from defectforge.runner.embedded.engine.state_dicts import UnsupportedModelError
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import random_controlnet

CPU = torch.device("cpu")
UNET = "model.diffusion_model."


@pytest.fixture(scope="module")
def unet(checkpoint_file: Path) -> dict[str, Any]:
    return {k[len(UNET) :]: v.numpy() for k, v in load_file(checkpoint_file).items() if k.startswith(UNET)}


def written(path: Path, tensors: dict[str, Any]) -> Path:
    save_file({k: torch.from_numpy(v.copy()).contiguous() for k, v in tensors.items()}, str(path))
    return path


@pytest.fixture
def answer(checkpoint: Checkpoint) -> Any:
    def ask(control: Control, hint: torch.Tensor, strength: float = 1.0, **more: Any) -> Any:
        made = control.with_hint(hint, strength, more.get("percents", (0.0, 1.0)), more.get("previous"))
        model = checkpoint.model.model
        made.pre_run(model, model.model_sampling.percent_to_sigma)
        x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
        cond = {"c_crossattn": torch.randn(2, 77, 64, generator=torch.Generator().manual_seed(2))}
        return made.get_control(x, torch.tensor([3.0, 3.0]), cond, 2)

    return ask


@pytest.fixture
def hint() -> torch.Tensor:
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def test_both_ways_to_write_it_are_the_same_network(unet: Any, answer: Any, hint: torch.Tensor, tmp_path: Path) -> None:
    ldm = load_controlnet(written(tmp_path / "ldm.safetensors", random_controlnet.ldm(unet)), CPU, torch.float32)
    other = written(tmp_path / "diffusers.safetensors", random_controlnet.diffusers(unet))
    one, two = answer(ldm, hint), answer(load_controlnet(other, CPU, torch.float32), hint)
    assert len(one["output"]) == len(unet_blocks(unet)) and len(one["middle"]) == 1
    for key in ("output", "middle"):
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(one[key], two[key], strict=True))


def unet_blocks(unet: dict[str, Any]) -> set[str]:
    return {k.split(".")[1] for k in unet if k.startswith("input_blocks.")}


def test_hint_strength_range_and_chain_count(unet: Any, answer: Any, hint: torch.Tensor, tmp_path: Path) -> None:
    control = load_controlnet(written(tmp_path / "c.safetensors", random_controlnet.ldm(unet)), CPU, torch.float32)
    plain = answer(control, hint)
    assert not torch.allclose(plain["output"][-1], answer(control, 1 - hint)["output"][-1], atol=1e-3)
    assert torch.allclose(answer(control, hint, 0.5)["output"][2], 0.5 * plain["output"][2], atol=1e-6)
    assert answer(control, hint, percents=(0.9, 1.0)) is None
    before = control.with_hint(hint, 1.0, (0.0, 1.0), None)
    assert torch.allclose(answer(control, hint, previous=before)["middle"][0], 2 * plain["middle"][0], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {**t, "lora_controlnet": t[next(iter(t))]}, "is a Control-LoRA"),
        (lambda t: {**t, "task_embedding": t[next(iter(t))]}, "is a union ControlNet"),
        (lambda t: {"x": t[next(iter(t))]}, "is no ControlNet"),
        (lambda t: {k: v for k, v in t.items() if "zero_convs.1." not in k}, "tensors are missing"),
        (lambda t: {**t, "control_model.strange.weight": t[next(iter(t))]}, "belongs to no plain ControlNet"),
    ],
)
def test_other_files_are_refused_by_what_they_are(unet: Any, change: Any, message: str, tmp_path: Path) -> None:
    file = written(tmp_path / "odd.safetensors", change(random_controlnet.ldm(unet)))
    with pytest.raises(UnsupportedModelError, match=rf"odd\.safetensors.*{message}"):
        load_controlnet(file, CPU, torch.float32)


def test_one_for_another_family_is_refused_before_anything_runs(
    unet: Any, checkpoint: Checkpoint, hint: torch.Tensor, tmp_path: Path
) -> None:
    control = load_controlnet(written(tmp_path / "c.safetensors", random_controlnet.ldm(unet)), CPU, torch.float32)
    control.context_dim = 1024
    with pytest.raises(UnsupportedModelError, match="different families"):
        control.with_hint(hint, 1.0, (0.0, 1.0), None).pre_run(checkpoint.model.model, lambda percent: 1.0)
