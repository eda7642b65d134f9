"""LoRA files under the names that trainers write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from defectforge.runner.embedded.engine.loading.checkpoint import Checkpoint
from defectforge.runner.embedded.engine.loading.lora import apply_lora
from defectforge.runner.embedded.engine.model.model import EmbeddedModel, applied_weights
from defectforge.runner.embedded.engine.state_dicts import UnsupportedModelError
from safetensors.torch import save_file

UNET_WEIGHT = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0.weight"
TEXT_WEIGHT = "text_model.encoder.layers.0.self_attn.q_proj.weight"
KOHYA = ("lora_unet_{}.lora_up.weight", "lora_unet_{}.lora_down.weight")


def low_rank(rows: int, columns: int, rank: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, rank, generator=generator), torch.randn(rank, columns, generator=generator)


def written(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    save_file({k: v.clone().contiguous() for k, v in tensors.items()}, str(path))
    return path


def weight_of(model: EmbeddedModel, name: str) -> torch.Tensor:
    with applied_weights(model.model.diffusion_model, model.weight_patches):
        return model.model.diffusion_model.get_parameter(name).detach().clone()


@pytest.mark.parametrize(
    ("up_name", "down_name"),
    [
        tuple(k.format("down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0") for k in KOHYA),
        tuple(k.format("input_blocks_1_1_transformer_blocks_0_attn1_to_out_0") for k in KOHYA),
        (
            "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora.up.weight",
            "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora.down.weight",
        ),
        (
            "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0.lora_B.weight",
            "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0.lora_A.weight",
        ),
    ],
    ids=["kohya, diffusers' words", "kohya, LDM's words", "diffusers", "PEFT"],
)
def test_the_change_is_up_times_down(checkpoint: Checkpoint, tmp_path: Path, up_name: str, down_name: str) -> None:
    up, down = low_rank(32, 32)
    file = written(tmp_path / "l.safetensors", {up_name: up, down_name: down})
    patched, _ = apply_lora(checkpoint.model, None, file, 0.5, 0.0)
    before = checkpoint.model.model.diffusion_model.get_parameter(UNET_WEIGHT).detach().clone()
    assert torch.allclose(weight_of(patched, UNET_WEIGHT), before + 0.5 * up @ down, atol=1e-5)
    assert torch.equal(checkpoint.model.model.diffusion_model.get_parameter(UNET_WEIGHT), before)
    assert patched.patches_uuid != checkpoint.model.patches_uuid


def test_alpha_scales_by_the_rank_and_strengths_add_up(checkpoint: Checkpoint, tmp_path: Path) -> None:
    up, down = low_rank(32, 32)
    key = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0"
    tensors = {f"{key}.lora_up.weight": up, f"{key}.lora_down.weight": down, f"{key}.alpha": torch.tensor(1.0)}
    file = written(tmp_path / "l.safetensors", tensors)
    once, _ = apply_lora(checkpoint.model, None, file, 1.0, 0.0)
    twice, _ = apply_lora(once, None, file, 0.5, 0.0)
    before = checkpoint.model.model.diffusion_model.get_parameter(UNET_WEIGHT).detach()
    assert torch.allclose(weight_of(twice, UNET_WEIGHT), before + 1.5 * (up @ down) / 2, atol=1e-5)


def test_convolutions_are_changed_too(checkpoint: Checkpoint, tmp_path: Path) -> None:
    key = "lora_unet_down_blocks_0_resnets_0_conv1"
    up, down = torch.randn(32, 2, 1, 1), torch.randn(2, 32, 3, 3)
    file = written(tmp_path / "l.safetensors", {f"{key}.lora_up.weight": up, f"{key}.lora_down.weight": down})
    patched, _ = apply_lora(checkpoint.model, None, file, 1.0, 0.0)
    name = "unet.down_blocks.0.resnets.0.conv1.weight"
    before = checkpoint.model.model.diffusion_model.get_parameter(name).detach()
    expected = torch.einsum("oi,ijhw->ojhw", up.flatten(1), down)
    assert torch.allclose(weight_of(patched, name) - before, expected, atol=1e-5)


def test_the_text_encoder_is_changed_for_its_clone_only(checkpoint: Checkpoint, tmp_path: Path) -> None:
    assert checkpoint.clip is not None
    up, down = low_rank(64, 64)
    key = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    file = written(tmp_path / "l.safetensors", {f"{key}.lora_up.weight": up, f"{key}.lora_down.weight": down})
    before = checkpoint.clip.encode("a hole")[0][0]
    _, clip = apply_lora(checkpoint.model, checkpoint.clip, file, 1.0, 1.0)
    assert clip is not None
    assert not torch.allclose(clip.encode("a hole")[0][0], before, atol=1e-3)
    assert torch.equal(checkpoint.clip.encode("a hole")[0][0], before)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"blocks.0.hada_w1_a": (2, 2)}, "of the hada_w1_a kind"),
        ({"lora_unet_nowhere.lora_up.weight": (2, 2)}, "no name in it fits"),
    ],
)
def test_another_kind_of_file_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, tensors: dict[str, Any], reason: str
) -> None:
    file = written(tmp_path / "odd.safetensors", {k: torch.zeros(v) for k, v in tensors.items()})
    with pytest.raises(UnsupportedModelError, match=rf"odd\.safetensors is not a LoRA .*{reason}"):
        apply_lora(checkpoint.model, None, file, 1.0, 1.0)


def test_a_lora_that_fits_in_part_is_refused_with_the_number_of_what_does_not(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """ComfyUI leaves out what does not fit: one of SDXL on an SD 1.x checkpoint, or of another layout."""
    up, down = low_rank(32, 32)
    tensors = {}
    for module in ("down_blocks_0", "down_blocks_7"):
        names = [k.format(f"{module}_attentions_0_transformer_blocks_0_attn1_to_out_0") for k in KOHYA]
        tensors |= dict(zip(names, (up, down), strict=True))
    file = written(tmp_path / "half.safetensors", tensors)
    with pytest.raises(UnsupportedModelError, match=r"half\.safetensors .*1 of its 2 changed modules .*down_blocks_7"):
        apply_lora(checkpoint.model, None, file, 1.0, 1.0)


def test_half_of_a_pair_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    name = KOHYA[0].format("down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0")
    file = written(tmp_path / "torn.safetensors", {name: low_rank(32, 32)[0]})
    with pytest.raises(UnsupportedModelError, match=r"torn\.safetensors is not a LoRA for this checkpoint"):
        apply_lora(checkpoint.model, None, file, 1.0, 1.0)


def test_changes_of_a_text_encoder_are_left_out_where_none_is_connected(checkpoint: Checkpoint, tmp_path: Path) -> None:
    up, down = low_rank(32, 32)
    names = [k.format("down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0") for k in KOHYA]
    text = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    wide = low_rank(64, 64)
    both = {**dict(zip(names, (up, down), strict=True))}
    both |= {f"{text}.lora_up.weight": wide[0], f"{text}.lora_down.weight": wide[1]}
    patched, clip = apply_lora(checkpoint.model, None, written(tmp_path / "both.safetensors", both), 1.0, 1.0)
    assert clip is None and list(patched.weight_patches) == [UNET_WEIGHT]
    alone = written(tmp_path / "text.safetensors", {k: v for k, v in both.items() if k.startswith("lora_te_")})
    with pytest.raises(UnsupportedModelError, match="changes a text encoder only, and no CLIP is connected"):
        apply_lora(checkpoint.model, None, alone, 1.0, 1.0)


def test_a_lora_for_another_size_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    up, down = low_rank(320, 320)
    names = [k.format("down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0") for k in KOHYA]
    file = written(tmp_path / "big.safetensors", dict(zip(names, (up, down), strict=True)))
    with pytest.raises(UnsupportedModelError, match=r"big\.safetensors does not fit this checkpoint.*320 x 320"):
        apply_lora(checkpoint.model, None, file, 1.0, 1.0)
