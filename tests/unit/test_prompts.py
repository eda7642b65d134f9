"""A caption of a photo becomes the prompt of a defect."""

from __future__ import annotations

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
def captioning_model(embedded_host: Path) -> str:
    """A captioning model of BLIP's kind in its folder: tiny, random, and so without anything sensible to say."""
    import torch
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    folder = embedded_host / "models" / "caption" / "tiny"
    folder.mkdir(parents=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *["a", "nut", "close", "up", "of", "with", "hole"]]
    (folder / "vocab.txt").write_text("\n".join(words))
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    special = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0, "sep_token_id": 3}
    config = BlipConfig(
        text_config={**size, **special, "vocab_size": len(words), "encoder_hidden_size": 32},
        vision_config={**size, "image_size": 32, "patch_size": 16},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BlipForConditionalGeneration(config).save_pretrained(folder)
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
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
