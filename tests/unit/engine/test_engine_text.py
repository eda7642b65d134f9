"""The text encoder: weights, layers, long prompts."""

from __future__ import annotations

import pytest
import torch
from defectforge.runner.embedded.engine.encoders.clip import Clip
from defectforge.runner.embedded.engine.loading.checkpoint import Checkpoint


@pytest.fixture
def clip(checkpoint: Checkpoint) -> Clip:
    assert checkpoint.clip is not None
    return checkpoint.clip.clone()


def tokens(clip: Clip, text: str) -> torch.Tensor:
    result: torch.Tensor = clip.encode(text)[0][0]
    return result


def test_a_prompt_is_77_tokens_and_a_long_one_a_multiple(clip: Clip) -> None:
    assert tokens(clip, "a hole").shape == (1, 77, 64)
    assert tokens(clip, "hole " * 80).shape == (1, 154, 64)


def test_a_weight_moves_a_token_away_from_the_empty_prompt(clip: Clip) -> None:
    plain, empty = tokens(clip, "a hole"), tokens(clip, "")
    weighted = tokens(clip, "a (hole:1.5)")
    assert torch.allclose(weighted[0, 2], empty[0, 2] + 1.5 * (plain[0, 2] - empty[0, 2]), atol=1e-4)
    rest = [i for i in range(77) if i != 2]
    assert torch.allclose(weighted[0, rest], plain[0, rest], atol=1e-5)


def test_a_token_only_sees_those_before_it(clip: Clip) -> None:
    a, b = tokens(clip, "a hole in a nut"), tokens(clip, "a hole in a cat")
    assert torch.allclose(a[0, :5], b[0, :5], atol=1e-5)
    assert not torch.allclose(a[0, 5], b[0, 5], atol=1e-3)


def test_stopping_early_changes_the_tokens_and_too_early_does_not(clip: Clip) -> None:
    last = tokens(clip, "a hole")
    clip.clip_layer(-1)
    assert torch.equal(tokens(clip, "a hole"), last)
    clip.clip_layer(-2)
    assert not torch.allclose(tokens(clip, "a hole"), last, atol=1e-3)
    clip.clip_layer(-24)  # deeper than this encoder: the last layer, as in ComfyUI
    assert torch.equal(tokens(clip, "a hole"), last)


def test_the_pooled_vector_is_that_of_the_end_token(clip: Clip) -> None:
    text, options = clip.encode("a hole")[0]
    assert torch.allclose(options["pooled_output"], text[:, 3], atol=1e-5)


def test_a_clone_keeps_its_own_layer(clip: Clip) -> None:
    other = clip.clone()
    other.clip_layer(-2)
    assert clip.layer_idx is None
