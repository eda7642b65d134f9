"""Core nodes around the sampling, called as the executor calls them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from defectforge.runner.embedded import core_nodes, folders
from defectforge.runner.embedded.engine.loading.checkpoint import Checkpoint
from defectforge.runner.embedded.engine.state_dicts import UnsupportedModelError
from safetensors.torch import save_file

from .conftest import RecordingHost


@pytest.fixture
def models(checkpoint_file: Path, tmp_path: Path, recording_host: RecordingHost) -> Iterator[Path]:
    """A server's folders with the tiny checkpoint under two names."""
    root = tmp_path / "models"
    for folder in ("checkpoints", "vae", "embeddings"):
        (root / folder).mkdir(parents=True)
    for name in ("a.safetensors", "b.safetensors"):
        (root / "checkpoints" / name).symlink_to(checkpoint_file)
    before = folders._current
    folders.use(folders.Folders(tmp_path / "input", tmp_path / "output", tmp_path / "temp", [root]))
    yield root
    folders._current = before


def call(node_id: str, **inputs: Any) -> Any:
    """A node's outputs; a single one comes without its tuple."""
    values = core_nodes.load()[node_id].run(inputs, {}).values
    return values[0] if len(values) == 1 else values


def test_two_loaders_of_one_file_share_its_weights(models: Path) -> None:
    first, second = (call("CheckpointLoaderSimple", ckpt_name="a.safetensors") for _ in range(2))
    other = call("CheckpointLoaderSimple", ckpt_name="b.safetensors")
    assert first[0].model is second[0].model
    assert first[0].model is not other[0].model


def test_a_checkpoint_stays_loaded_while_one_part_of_it_is_used(models: Path) -> None:
    model, _, vae = call("CheckpointLoaderSimple", ckpt_name="a.safetensors")
    weights = id(model.model)
    del model
    gc.collect()
    again, *_ = call("CheckpointLoaderSimple", ckpt_name="a.safetensors")
    assert id(again.model) == weights
    assert vae.checkpoint is again.checkpoint


def test_a_loader_offers_the_files_of_its_folder(models: Path) -> None:
    inputs = core_nodes.load()["CheckpointLoaderSimple"].input_types()
    assert inputs["required"]["ckpt_name"] == (["a.safetensors", "b.safetensors"],)


def test_a_missing_text_encoder_is_explained(models: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="holds no text encoder"):
        call("CLIPTextEncode", clip=None, text="a hole")


def test_a_prompt_finds_textual_inversions_in_their_folder(models: Path) -> None:
    vector = torch.randn(1, 64)
    save_file({"emb_params": vector}, str(models / "embeddings" / "rust.safetensors"))
    _, clip, _ = call("CheckpointLoaderSimple", ckpt_name="a.safetensors")
    (chunk,) = clip.tokenize("a embedding:rust hole")
    assert torch.equal(chunk[2].value, vector[0])
    with_it, without = (call("CLIPTextEncode", clip=clip, text=t)[0][0] for t in ("a embedding:rust", "a"))
    assert not torch.allclose(with_it, without, atol=1e-3)


@pytest.fixture
def photo() -> torch.Tensor:
    return torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def hole() -> torch.Tensor:
    mask = torch.zeros(1, 64, 64)
    mask[:, 16:40, 24:48] = 1.0
    return mask


def test_an_empty_latent_has_an_eighth_of_the_pixels() -> None:
    assert call("EmptyLatentImage", width=72, height=64, batch_size=2)["samples"].shape == (2, 4, 8, 9)


def test_an_inpainting_model_sees_the_greyed_photo(
    checkpoint: Checkpoint, prompts: Any, photo: torch.Tensor, hole: torch.Tensor
) -> None:
    inputs = {"positive": prompts[0], "negative": prompts[1], "vae": checkpoint.vae, "pixels": photo, "mask": hole}
    positive, negative, latent = call("InpaintModelConditioning", **inputs, noise_mask=True)
    greyed = torch.where(hole[..., None] > 0.5, 0.5, photo)
    assert checkpoint.vae is not None
    expected = checkpoint.vae.encode(greyed)
    assert torch.allclose(positive[0][1]["concat_latent_image"], expected, atol=1e-5)
    assert torch.equal(negative[0][1]["concat_mask"], hole[:, None])
    assert torch.equal(latent["samples"], checkpoint.vae.encode(photo))
    assert torch.equal(latent["noise_mask"], hole[:, None])
    assert "concat_mask" not in prompts[0][0][1]
    *_, without = call("InpaintModelConditioning", **inputs, noise_mask=False)
    assert "noise_mask" not in without


def test_encoding_for_inpainting_greys_the_hole_and_grows_its_mask(
    checkpoint: Checkpoint, photo: torch.Tensor, hole: torch.Tensor
) -> None:
    latent = call("VAEEncodeForInpaint", pixels=photo, vae=checkpoint.vae, mask=hole, grow_mask_by=6)
    mask = latent["noise_mask"][0, 0]
    rows, columns = torch.where(mask > 0)
    assert [int(v) for v in (rows.min(), rows.max(), columns.min(), columns.max())] == [14, 42, 22, 50]
    plain = call("VAEEncodeForInpaint", pixels=photo, vae=checkpoint.vae, mask=hole, grow_mask_by=0)
    assert torch.equal(plain["noise_mask"], hole[:, None])


def test_instruct_pix2pix_starts_from_nothing_and_sees_the_photo(
    checkpoint: Checkpoint, prompts: Any, photo: torch.Tensor
) -> None:
    positive, negative, latent = call(
        "InstructPixToPixConditioning", positive=prompts[0], negative=prompts[1], vae=checkpoint.vae, pixels=photo
    )
    assert checkpoint.vae is not None
    seen = checkpoint.vae.encode(photo)
    assert torch.equal(positive[0][1]["concat_latent_image"], seen)
    assert torch.equal(negative[0][1]["concat_latent_image"], seen)
    assert torch.count_nonzero(latent["samples"]) == 0


def test_a_noise_mask_does_not_touch_the_latent_it_is_set_on(hole: torch.Tensor) -> None:
    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    assert call("SetLatentNoiseMask", samples=latent, mask=hole)["noise_mask"].shape == (1, 1, 64, 64)
    assert "noise_mask" not in latent


def test_parts_and_repeats_of_a_batch_keep_their_numbers_and_masks() -> None:
    latent = {"samples": torch.arange(3.0).view(3, 1, 1, 1), "noise_mask": torch.arange(3.0).view(3, 1, 1, 1)}
    part = call("LatentFromBatch", samples=latent, batch_index=1, length=9)
    assert part["samples"].flatten().tolist() == [1, 2]
    assert part["noise_mask"].flatten().tolist() == [1, 2]
    assert part["batch_index"] == [1, 2]
    twice = call("RepeatLatentBatch", samples=part, amount=2)
    assert twice["samples"].flatten().tolist() == [1, 2, 1, 2]
    assert twice["noise_mask"].flatten().tolist() == [1, 2, 1, 2]
    assert twice["batch_index"] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("width", "height", "shape"), [(128, 64, (8, 16)), (0, 128, (16, 32)), (256, 0, (16, 32)), (0, 0, (4, 8))]
)
def test_a_latent_is_scaled_in_pixels(width: int, height: int, shape: tuple[int, int]) -> None:
    latent = {"samples": torch.rand(1, 4, 4, 8)}
    scaled = call(
        "LatentUpscale", samples=latent, upscale_method="bilinear", width=width, height=height, crop="disabled"
    )
    assert scaled["samples"].shape[2:] == shape


def test_a_scheduler_node_gives_the_end_of_the_schedule(checkpoint: Checkpoint) -> None:
    inputs = {"model": checkpoint.model, "scheduler": "ddim_uniform", "steps": 6}
    assert len(call("BasicScheduler", **inputs, denoise=1.0)) == 7
    assert len(call("BasicScheduler", **inputs, denoise=0.0)) == 0


def test_a_picture_of_strength_zero_is_left_out(prompts: Any) -> None:
    inputs = {"conditioning": prompts[0], "clip_vision_output": None, "noise_augmentation": 0.0}
    assert call("unCLIPConditioning", **inputs, strength=0.0) is prompts[0]
    once = call("unCLIPConditioning", **inputs, strength=1.0)
    twice = call("unCLIPConditioning", **{**inputs, "conditioning": once}, strength=0.5)
    assert [i["strength"] for i in twice[0][1]["unclip_conditioning"]] == [1.0, 0.5]
    assert "unclip_conditioning" not in prompts[0][0][1]
