"""What a checkpoint file is, and what becomes of one that is something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from defectforge.runner.embedded.engine.layout import UNetLayout
from defectforge.runner.embedded.engine.loading.checkpoint import Checkpoint, load_checkpoint
from defectforge.runner.embedded.engine.loading.detect import UNET_PREFIX, detect_prediction, detect_unet
from defectforge.runner.embedded.engine.random_weights.random_checkpoint import (
    SD15,
    SMALL,
    CheckpointLayout,
    parameter_count,
    random_state_dict,
    write,
)
from defectforge.runner.embedded.engine.random_weights.random_tensors import unet_shapes
from defectforge.runner.embedded.engine.state_dicts import UnsupportedModelError, read_state_dict
from safetensors.torch import save_file

from .conftest import TINY

LAYOUTS = {
    "sd15": SD15,
    "small": SMALL,
    "tiny": TINY,
    "inpaint": replace(TINY, in_channels=9),
    "one level": replace(TINY, channel_mult=(1,), num_res_blocks=(2,), transformer_depth=(1,)),
    "no attention below": replace(TINY, transformer_depth=(1, 0)),
    "unclip": replace(TINY, context_dim=1024, linear_projection=True, adm_channels=1536),
    "uneven": replace(TINY, channel_mult=(1, 2, 4), num_res_blocks=(1, 2, 3), transformer_depth=(0, 1, 1)),
}


def shapes_only(layout: UNetLayout) -> dict[str, torch.Tensor]:
    """A U-Net's tensors without any data."""
    return {UNET_PREFIX + s.name: torch.empty(s.shape, device="meta") for s in unet_shapes(layout)}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_layout_is_read_off_the_tensors(layout: UNetLayout) -> None:
    assert detect_unet(shapes_only(layout)) == layout


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_network_has_a_place_for_every_tensor(layout: UNetLayout) -> None:
    from defectforge.runner.embedded.engine.model.unet import converted_state_dict, diffusers_unet

    ldm = {k[len(UNET_PREFIX) :]: v for k, v in shapes_only(layout).items()}
    ours = {k: tuple(v.shape) for k, v in converted_state_dict(ldm, layout).items()}
    assert ours == {k: tuple(v.shape) for k, v in diffusers_unet(layout).state_dict().items()}


def test_sd15_has_its_published_size() -> None:
    layout = CheckpointLayout(SD15, vae="kl")
    assert parameter_count(layout, UNET_PREFIX) == 859_520_964
    assert parameter_count(layout, "first_stage_model.") == 83_653_863


@pytest.mark.parametrize(
    ("key", "family"),
    [
        ("model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight", "Stable Diffusion 3"),
        ("double_blocks.0.img_attn.qkv.weight", "Flux"),
        ("conditioner.embedders.1.model.ln_final.weight", "SDXL"),
        ("unet.down.lora_up.weight", "a LoRA"),
        ("something.else", "not a checkpoint"),
    ],
)
def test_other_families_are_refused_by_name(key: str, family: str) -> None:
    with pytest.raises(UnsupportedModelError, match=rf"file\.safetensors is .*{family}"):
        detect_unet({key: torch.zeros(1)}, "file.safetensors")


def test_sdxl_is_refused_although_its_u_net_looks_alike() -> None:
    state = shapes_only(replace(TINY, context_dim=2048, linear_projection=True, adm_channels=2816))
    with pytest.raises(UnsupportedModelError, match="2048"):
        detect_unet(state, "xl")


def test_a_wide_spread_of_one_bias_means_velocity() -> None:
    layout = replace(TINY, context_dim=1024, linear_projection=True)
    key = f"{UNET_PREFIX}output_blocks.11.1.transformer_blocks.0.norm1.bias"
    assert detect_prediction({key: torch.randn(32)}, layout) == "v"
    assert detect_prediction({key: torch.randn(32) * 0.01}, layout) == "eps"
    assert detect_prediction({}, layout) == "eps"
    assert detect_prediction({key: torch.randn(32)}, TINY) == "eps"


def test_a_truncated_file_is_explained(tmp_path: Path, checkpoint_file: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(checkpoint_file.read_bytes()[:100_000])
    with pytest.raises(UnsupportedModelError, match=r"broken\.safetensors is not a complete .*fetch it again"):
        read_state_dict(broken)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors"):
        read_state_dict(tmp_path / "nothing.safetensors")


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    torch.save({"state_dict": {"w": torch.zeros(1)}, "bomb": Bomb()}, tmp_path / "bad.ckpt")
    with pytest.raises(UnsupportedModelError, match=r"bad\.ckpt.*safetensors file instead"):
        read_state_dict(tmp_path / "bad.ckpt")
    assert not (tmp_path / "ran").exists()


def test_pickled_tensors_are_read(tmp_path: Path) -> None:
    torch.save({"state_dict": {"w": torch.ones(2)}, "epoch": 3}, tmp_path / "good.ckpt")
    assert torch.equal(read_state_dict(tmp_path / "good.ckpt")["w"], torch.ones(2))


def test_the_same_seed_writes_the_same_file(tmp_path: Path) -> None:
    layout = CheckpointLayout(replace(TINY, in_channels=9), text_layers=1)
    files = [write(tmp_path / name, seed=seed, layout=layout) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    contents = [f.read_bytes() for f in files]
    assert contents[0] == contents[1] != contents[2]


def test_an_impossible_number_of_channels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in_channels is 5"):
        write(tmp_path / "x.safetensors", in_channels=5)


def test_half_precision_files_are_computed_in_single_on_a_cpu(checkpoint: Checkpoint, checkpoint_file: Path) -> None:
    stored = read_state_dict(checkpoint_file)[UNET_PREFIX + "out.2.weight"]
    loaded = checkpoint.model.model.diffusion_model.unet.conv_out.weight
    assert stored.dtype == torch.float16
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded, stored.float())


def test_eight_bit_floats_are_computed_in_single_too(tmp_path: Path) -> None:
    layout = CheckpointLayout(TINY, text_layers=1)
    state = random_state_dict(layout)
    small = {k: v.to(torch.float8_e4m3fn) if k.startswith(UNET_PREFIX) else v for k, v in state.items()}
    save_file(small, str(tmp_path / "fp8.safetensors"))
    model = load_checkpoint(tmp_path / "fp8.safetensors").model
    key = "input_blocks.0.0.weight"
    expected = small[UNET_PREFIX + key].float()
    assert torch.equal(model.model.diffusion_model.unet.conv_in.weight, expected)


def test_pictures_come_back_from_the_tiny_autoencoder_at_their_size(checkpoint: Checkpoint) -> None:
    assert checkpoint.vae is not None
    latent = checkpoint.vae.encode(torch.rand(2, 20, 31, 3))
    assert latent.shape == (2, 4, 2, 3)
    pictures = checkpoint.vae.decode(latent)
    assert pictures.shape == (2, 16, 24, 3)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert pictures.std() > 0.01


@pytest.mark.slow
def test_a_kl_autoencoder_is_found_and_works(tmp_path: Path) -> None:
    file = write(tmp_path / "kl.safetensors", layout=CheckpointLayout(TINY, vae="kl", text_layers=1))
    vae = load_checkpoint(file).vae
    assert vae is not None
    latent = vae.encode(torch.rand(1, 16, 24, 3))
    assert latent.shape == (1, 4, 2, 3)
    assert vae.decode(latent).shape == (1, 16, 24, 3)
