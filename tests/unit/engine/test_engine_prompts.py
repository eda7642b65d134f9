"""CLIP's tokens and ComfyUI's prompt syntax."""

from __future__ import annotations

import pytest
import torch
from defectforge.runner.embedded.engine.encoders.prompt import (
    empty_chunk,
    has_weights,
    prompt_chunks,
    weighted_segments,
)
from defectforge.runner.embedded.engine.encoders.vocabulary import (
    END_TOKEN,
    START_TOKEN,
    clip_tokenizer,
    padded_ids,
    vocabulary,
)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", []),
        ("a photo of a cat", [320, 1125, 539, 320, 2368]),
        ("A  PHOTO\nof a cat", [320, 1125, 539, 320, 2368]),
        ("defective hazelnut with hole", [4148, 9313, 35816, 593, 5341]),
        ("Méret Oppenheim", [21890, 10048, 2020, 524, 9768]),
        ("it's 50mm f/1.4!", [585, 568, 276, 271, 2848, 325, 270, 272, 269, 275, 256]),
    ],
)
def test_ids_are_those_of_clip_l(text: str, ids: list[int]) -> None:
    assert clip_tokenizer()(text)["input_ids"] == [START_TOKEN, *ids, END_TOKEN]


def test_the_vocabulary_is_complete() -> None:
    assert sorted(vocabulary().values()) == list(range(49408))
    assert vocabulary()["hole</w>"] == 5341


def test_padded_ids_end_with_an_end_token_however_long_the_text() -> None:
    ids = padded_ids(["a cat", "hole " * 200], pad_token=0)
    assert ids.shape == (2, 77)
    assert ids[0].tolist() == [START_TOKEN, 320, 2368, END_TOKEN, *[0] * 73]
    assert ids[1, -1] == END_TOKEN


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("a nut", [("a nut", 1.0)]),
        ("a (nut)", [("a ", 1.0), ("nut", 1.1)]),
        ("a (nut:1.3) b", [("a ", 1.0), ("nut", 1.3), (" b", 1.0)]),
        ("((nut))", [("nut", 1.1 * 1.1)]),
        # An explicit weight is absolute, whatever surrounds it.
        ("(a (nut:0.5) b)", [("a ", 1.1), ("nut", 0.5), (" b", 1.1)]),
        ("(time 12:30:0.8)", [("time 12:30", 0.8)]),
        ("(ratio:wide)", [("ratio:wide", 1.1)]),
        (r"a \(nut\)", [("a (nut)", 1.0)]),
        ("(open", [("(open", 1.0)]),
        ("close)", [("close)", 1.0)]),
        ("", []),
    ],
)
def test_weighting_syntax(text: str, segments: list[tuple[str, float]]) -> None:
    found = weighted_segments(text)
    assert [piece for piece, _ in found] == [piece for piece, _ in segments]
    assert [w for _, w in found] == pytest.approx([w for _, w in segments])


def test_a_short_prompt_is_one_padded_chunk() -> None:
    (chunk,) = prompt_chunks("a (cat:1.5)", pad_token=0)
    assert [t.value for t in chunk[:5]] == [START_TOKEN, 320, 2368, END_TOKEN, 0]
    assert [t.weight for t in chunk[:4]] == [1.0, 1.0, 1.5, 1.0]
    assert len(chunk) == 77
    assert has_weights([chunk])
    assert not has_weights([empty_chunk()])


def test_a_long_group_is_cut_and_a_short_one_moves_whole() -> None:
    cut = prompt_chunks("hole " * 80)
    assert [len(c) for c in cut] == [77, 77]
    assert [c[-1].value for c in cut] == [END_TOKEN, END_TOKEN]
    moved = prompt_chunks("hole " * 73 + "(a cat, a dog:1.2)")
    assert [t.value for t in moved[0][-4:]] == [5341, END_TOKEN, END_TOKEN, END_TOKEN]
    assert [t.weight for t in moved[1][:6]] == [1.0, *[1.2] * 5]


def test_textual_inversions_take_the_place_of_tokens() -> None:
    vectors = torch.arange(6.0).reshape(2, 3)
    (chunk,) = prompt_chunks("a embedding:rust, cat", lookup=lambda name: vectors if name == "rust" else None)
    assert [t.value for t in (chunk[0], chunk[1], chunk[4], chunk[5])] == [START_TOKEN, 320, 267, 2368]
    assert torch.equal(torch.stack([chunk[2].value, chunk[3].value]), vectors)


def test_an_unknown_textual_inversion_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    (chunk,) = prompt_chunks("a embedding:nothing cat", lookup=lambda name: None)
    assert [t.value for t in chunk[:4]] == [START_TOKEN, 320, 2368, END_TOKEN]
    assert "nothing" in caplog.text
