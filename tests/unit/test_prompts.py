"""A caption of a photo becomes the prompt of a defect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from defectforge.nodes.algorithms.prompts import caption_to_prompt


@pytest.mark.parametrize(
    ("caption", "find", "replace", "prompt"),
    [
        ("a close up of a nut", "nut", "broken nut", "a close up of a broken nut"),
        ("a  Nut,\n a nutcracker", "nut", "hole", "a hole, a nutcracker"),
        ("a walnut", "nut", "nut with hole", "nut with hole, a walnut"),
        ("a nut", "", "unused", "a nut"),
        ("a nut", "nut", r"\1 literally", r"a \1 literally"),
        ("", "nut", "nut with hole", "nut with hole"),
    ],
)
def test_the_word_is_replaced_and_the_defect_never_lost(caption, find, replace, prompt):
    assert caption_to_prompt(caption, find, replace) == prompt


@pytest.fixture
def captioning_model(embedded_host: Path, write_captioner: Callable[[Path], None]) -> str:
    """The name of a tiny captioning model in its folder."""
    folder = embedded_host / "models" / "caption" / "tiny"
    write_captioner(folder)
    return folder.name


def test_a_captioning_model_on_disk_describes_a_picture(captioning_model):
    import torch
    from defectforge.nodes.prompt_nodes import DefectForgeImageToPrompt

    assert DefectForgeImageToPrompt.validate_inputs(captioning_model) is True
    picture = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(1))
    prompt, caption = DefectForgeImageToPrompt.execute(picture, captioning_model, "nowhere", "a hole", 8).result
    assert caption
    assert prompt == f"a hole, {caption}"


@pytest.mark.parametrize("name", ["absent", "", "../outside"])
def test_a_missing_captioning_model_is_named_with_its_place(tmp_path, name):
    from defectforge.nodes.prompt_nodes import caption_folder

    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        caption_folder(name, [tmp_path / "caption"])
