"""The reference nodes on a random checkpoint in the embedded server: what they refuse, warn of and sample."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from defectforge.runner.embedded.api import standin

standin.install()
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from defectforge.nodes.reference_nodes import DefectForgeReferenceCache, DefectForgeReferenceOnly  # noqa: E402
from reference_harness import CONTEXT, Embedded  # noqa: E402

SIDE = 64


class MeanVae:
    """Stands for the autoencoder: the mean colour of each latent cell, with a fourth channel."""

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        cells = torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), 8)
        return torch.cat([cells, cells.mean(dim=1, keepdim=True)], dim=1)


@pytest.fixture(scope="module")
def harness() -> Embedded:
    return Embedded()


@pytest.fixture(scope="module")
def model(harness: Embedded) -> Any:
    return harness.model()[0]


@pytest.fixture
def photo() -> torch.Tensor:
    return torch.rand(1, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def spot() -> torch.Tensor:
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, 20:40, 24:44] = 1.0
    return mask


def reference_only(model: Any, image: torch.Tensor, **given: Any) -> Any:
    """The node's output, with its default for everything not given."""
    defaults = {i.id: i.default for i in DefectForgeReferenceOnly.define_schema().inputs if hasattr(i, "default")}
    values = {**{k: v for k, v in defaults.items() if v is not None}, "vae": MeanVae(), **given}
    return DefectForgeReferenceOnly.execute(model=model, image=image, **values).result[0]


def sample(harness: Embedded, model: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    prompts = [[[torch.randn(1, 12, CONTEXT, generator=generator), {}]] for _ in range(2)]
    guider = harness.guider(model, {"positive": prompts[0], "negative": prompts[1]}, 5.0)
    noise = torch.randn(1, 4, 8, 8, generator=generator)
    result: torch.Tensor = guider.sample(
        noise, torch.zeros_like(noise), harness.sampler(), torch.tensor([5.0, 1.0, 0.0]), None, None, True, 1
    )
    return result


def test_a_reference_changes_what_is_sampled(harness: Embedded, model: Any, photo: torch.Tensor) -> None:
    plain = sample(harness, model)
    assert not torch.allclose(sample(harness, reference_only(model, photo)), plain, atol=1e-3)
    assert torch.equal(sample(harness, model), plain), "the input model was changed"


def test_a_chain_of_nodes_reads_as_a_batch_does(harness: Embedded, model: Any, photo: torch.Tensor) -> None:
    other = photo.flip(1)
    chained = reference_only(reference_only(model, photo, weight=0.5), other)
    batch = reference_only(model, torch.cat([photo, other]), batch_weights="0.5, 1")
    assert torch.allclose(sample(harness, chained), sample(harness, batch), atol=1e-4)
    assert not torch.allclose(sample(harness, chained), sample(harness, reference_only(model, photo)), atol=1e-3)


def test_a_shared_cache_serves_another_seed_and_two_nodes(harness: Embedded, model: Any, photo: torch.Tensor) -> None:
    cache = DefectForgeReferenceCache.execute(64, "main memory", 4, False).result[0]
    first = sample(harness, reference_only(model, photo, cache=cache))
    misses = cache[0].misses
    assert torch.equal(sample(harness, reference_only(model, photo, cache=cache)), first)
    assert cache[0].misses == misses > 0


@pytest.mark.parametrize("clear", [True, False])
def test_a_cache_is_made_anew_only_when_asked(clear: bool) -> None:
    marks = [DefectForgeReferenceCache.fingerprint_inputs(memory_limit=64, clear=clear) for _ in range(2)]
    assert (marks[0] == marks[1]) is not clear


def test_a_weight_that_selects_no_layer_warns(
    model: Any, photo: torch.Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        reference_only(model, photo, weight=0.0)
    assert "selects no layer" in caplog.text


def masked(value: float, side: int = SIDE, count: int = 1) -> torch.Tensor:
    return torch.full((count, side, side), value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"reference_mask": masked(0.0)}, "mask 0 is empty"),
        ({"reference_mask": masked(1.0)}, "covers the whole reference"),
        ({"reference_mask": masked(0.5, side=32)}, "mask is 32 x 32 pixels, but the reference image is 64 x 64"),
        ({"reference_mask": masked(0.5, count=2)}, "1 reference images but 2 reference masks"),
        ({"width": 60, "height": 64}, "60 x 64 pixels, which does not fit the latent grid"),
        ({"batch_weights": "1, 0.5"}, "1 reference images but 2 batch_weights"),
        ({"batch_weights": "much"}, "expected numbers separated by commas"),
        ({"batch_weights": "3"}, "between 0 and 2"),
        ({"start": 0.8, "end": 0.2}, "start 0.8 is after end 0.2"),
        ({"mode": "reference"}, "mode 'reference' is unknown"),
        ({"vae": SimpleNamespace(encode=lambda pixels: torch.zeros(1, 16, 8, 8))}, "use the VAE that belongs"),
    ],
)
def test_bad_input_is_refused_before_sampling(
    model: Any, photo: torch.Tensor, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        reference_only(model, photo, **given)


def test_an_own_size_off_the_latent_grid_is_refused_with_sizes_that_fit(model: Any) -> None:
    with pytest.raises(ValueError, match="for instance 104 x 96"):
        reference_only(model, torch.rand(1, 97, 101, 3))


@pytest.mark.parametrize(
    ("kind", "config", "reason"),
    [
        ("Flux", {"image_model": "flux", "in_channels": 16}, "not a UNet"),
        ("WAN21_T2V", {"image_model": "wan2.1"}, "not a UNet"),
        ("SVD_img2vid", {"in_channels": 8, "use_temporal_attention": True}, "video model"),
        ("SD_X4Upscaler", {"in_channels": 7}, "7 channels"),
    ],
)
def test_other_architectures_are_refused_by_name(
    model: Any, photo: torch.Tensor, kind: str, config: dict[str, Any], reason: str
) -> None:
    full = config if "image_model" in config else {**model.model.model_config.unet_config, **config}
    other = SimpleNamespace(model=SimpleNamespace(model_config=type(kind, (), {"unet_config": full})()))
    with pytest.raises(ValueError, match=f"this model is {kind}: .*{reason}"):
        reference_only(other, photo)


def test_the_mask_follows_the_crop(model: Any, spot: torch.Tensor) -> None:
    wide = torch.rand(1, SIDE, 3 * SIDE, 3)
    mask = torch.zeros(1, SIDE, 3 * SIDE)
    mask[:, :, -20:] = 1.0
    reference_only(model, wide, width=SIDE, height=SIDE, reference_mask=mask)
    with pytest.raises(ValueError, match="still be in view"):
        reference_only(model, wide, width=SIDE, height=SIDE, reference_mask=mask, crop="centre")


def test_a_node_that_runs_again_because_its_output_was_dropped_changes_nothing(
    harness: Embedded, model: Any, photo: torch.Tensor, spot: torch.Tensor
) -> None:
    """ComfyUI drops outputs when memory runs short and runs their nodes again, in any part of the graph."""
    kept = DefectForgeReferenceCache.execute(512, "main memory", 4, False).result[0]
    first = reference_only(model, photo, reference_mask=spot, target_mask=spot, cache=kept)
    expected = sample(harness, first)
    again = reference_only(model, photo, reference_mask=spot, target_mask=spot, cache=kept)
    assert torch.equal(sample(harness, again), expected), "the reference-only node alone"
    anew = DefectForgeReferenceCache.execute(512, "main memory", 4, False).result[0]
    last = reference_only(model, photo, reference_mask=spot, target_mask=spot, cache=anew)
    assert torch.equal(sample(harness, last), expected), "the cache too: its features are computed once more"
    assert len(anew[0]) == len(kept[0]) > 0


def test_half_precision_pictures_are_read(
    harness: Embedded, model: Any, photo: torch.Tensor, spot: torch.Tensor
) -> None:
    """As they come with --fp16-intermediates."""
    rounded = photo.half()
    full = sample(harness, reference_only(model, rounded.float(), reference_mask=spot))
    half = sample(harness, reference_only(model, rounded, reference_mask=spot.half()))
    assert float((full - half).abs().max()) <= 5e-3 * float(full.abs().max())
