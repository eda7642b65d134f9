"""Rebuilding the miniature checkpoints: exact, the same bits every time, and loud about broken files."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from defectforge.runner.checkpoints import miniature, random_text_encoder, safetensors_file
from defectforge.runner.errors import RequestError
from safetensors.numpy import load_file

RNG = np.random.default_rng(0)


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A folder like runner/data with a base of two weights and one variant, and no text encoder to wait for."""
    monkeypatch.setattr(random_text_encoder, "tensors", lambda: iter([("text.weight", np.ones(3, np.float16))]))
    weight = RNG.integers(-127, 128, (6, 5, 3, 3)).astype(np.int8)
    base = {
        "unet.out.weight": weight,
        "unet.out.weight.scale": RNG.random(6).astype(np.float32),
        "unet.in.weight": RNG.random((4, 2)).astype(np.float16),
        "vae.taesd_encoder.0.weight": RNG.random((2, 2)).astype(np.float16),
    }
    variant = {
        "set.in.weight": RNG.random((4, 9)).astype(np.float16),
        "rows.out.weight": RNG.integers(-127, 128, (6, 2)).astype(np.int8),
        "columns.out.weight": RNG.integers(-127, 128, (2, 45)).astype(np.int8),
        "out_scale.out.weight": RNG.random(6).astype(np.float32),
        "in_scale.out.weight": RNG.random(45).astype(np.float32),
    }
    hashes = {
        name: safetensors_file.write(tmp_path / name, tensors, {})
        for name, tensors in (("base.safetensors", base), ("variant.safetensors", variant))
    }
    table = {
        "base": {"files": {"base.safetensors": hashes["base.safetensors"]}, "sha256": "", "bytes": 0},
        "variant": {"files": hashes, "sha256": "", "bytes": 0},
    }
    (tmp_path / miniature.TABLE).write_text(json.dumps(table))
    for name in table:
        made = miniature.assemble(name, tmp_path)
        table[name]["sha256"] = safetensors_file.write(tmp_path / "made", made, miniature.metadata(name))
    (tmp_path / miniature.TABLE).write_text(json.dumps(table))
    return tmp_path


def test_the_result_is_a_checkpoint_in_stable_diffusions_layout(shipped):
    miniature.write_checkpoint("base", shipped / "made", shipped)
    tensors = load_file(shipped / "made")
    assert set(tensors) == {
        "model.diffusion_model.out.weight",
        "model.diffusion_model.in.weight",
        "first_stage_model.taesd_encoder.0.weight",
        "first_stage_model.vae_scale",
        "text.weight",
    }
    assert tensors["first_stage_model.vae_scale"] == np.float32(0.18215)


def test_rebuilding_twice_gives_the_same_bytes(shipped):
    for path in (shipped / "a", shipped / "b"):
        miniature.write_checkpoint("variant", path, shipped)
    assert (shipped / "a").read_bytes() == (shipped / "b").read_bytes()


def test_a_variant_adds_its_low_rank_difference_and_replaces_what_changed_shape(shipped):
    plain, changed = miniature.assemble("base", shipped), miniature.assemble("variant", shipped)
    name = miniature.UNET + "out.weight"
    raw = {key: load_file(shipped / "variant.safetensors")[f"{key}.out.weight"] for key in ("rows", "columns")}
    scales = {key: load_file(shipped / "variant.safetensors")[f"{key}.out.weight"] for key in ("out_scale", "in_scale")}
    expected = (raw["rows"].astype(float) * scales["out_scale"][:, None]) @ (raw["columns"] * scales["in_scale"])
    assert np.allclose(changed[name] - plain[name], expected.reshape(6, 5, 3, 3), rtol=2e-3, atol=1)
    assert changed[miniature.UNET + "in.weight"].shape == (4, 9)


def test_scales_belong_to_output_channels():
    values, scale = np.array([[2, 4], [2, 4]], np.int8), np.array([0.5, 10], np.float32)
    assert miniature.expand(values, scale).tolist() == [[1, 2], [20, 40]]


@pytest.mark.parametrize("damage", ["truncated", "one bit"])
def test_a_broken_file_is_named_with_both_hashes_and_a_command(shipped, damage):
    file = shipped / "base.safetensors"
    good, content = hashlib.sha256(file.read_bytes()).hexdigest(), bytearray(file.read_bytes())
    if damage == "truncated":
        content = content[:-10]
    else:
        content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(RequestError) as caught:
        miniature.write_checkpoint("base", shipped / "made", shipped)
    text = str(caught.value)
    assert all(part in text for part in (str(file), good, hashlib.sha256(content).hexdigest(), "git checkout"))


def test_a_missing_file_is_named(shipped):
    (shipped / "variant.safetensors").unlink()
    assert not miniature.available("variant", shipped)
    with pytest.raises(RequestError, match=r"variant\.safetensors"):
        miniature.write_checkpoint("variant", shipped / "made", shipped)


def test_a_result_with_another_hash_is_not_left_behind(shipped):
    table = miniature.table(shipped)
    table["base"]["sha256"] = "0" * 64
    (shipped / miniature.TABLE).write_text(json.dumps(table))
    with pytest.raises(RequestError, match="0000000"):
        miniature.write_checkpoint("base", shipped / "made", shipped)
    assert not (shipped / "made").exists()


def test_an_unknown_name_lists_the_known_ones(shipped):
    with pytest.raises(RequestError, match="base, variant"):
        miniature.write_checkpoint("large", shipped / "made", shipped)


def test_the_text_encoder_is_the_one_that_was_trained_with():
    drawn = random_text_encoder.tensors()
    name, value = next(drawn)
    assert name == "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
    assert value.shape == (49408, 768) and value.dtype == np.float16
    assert hashlib.sha256(value.tobytes()).hexdigest() == TOKENS_SHA256


TOKENS_SHA256 = "24e3bf301e36c8ae3fad43ecfefb583719c54767f5656a1f2cd1bf676abb8979"


@pytest.mark.parametrize("name", sorted(miniature.table()))
def test_shipped_weights_are_the_tables(name):
    """The files under runner/data, without writing the quarter gigabyte that they unfold to."""
    entry = miniature.table()[name]
    for file, sha256 in entry["files"].items():
        assert hashlib.sha256((miniature.DATA / file).read_bytes()).hexdigest() == sha256


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(miniature.table()))
def test_shipped_weights_unfold_to_the_pinned_file(name, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    assert miniature.write_checkpoint(name, path) == miniature.table()[name]["sha256"]
    assert path.stat().st_size == miniature.table()[name]["bytes"]
