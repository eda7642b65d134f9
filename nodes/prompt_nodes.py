"""Prompts: from a picture, or from a part and a type of defect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io

from .algorithms.placement.defects import type_named
from .algorithms.prompts import REFERENCE_TEMPLATE, TEMPLATE, WORDS, caption_to_prompt, defect_prompt
from .host import current, watched
from .schema import ADVANCED, newer

#: Kind of the model folder: ``models/caption/<name>/`` in transformers' layout.
FOLDER = "caption"


class DefectForgeImageToPrompt(io.ComfyNode):
    """Describe a picture with a captioning model, as the start of a prompt."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DefectForgeImageToPrompt",
            display_name="Image to Prompt",
            category="DefectForge/dataset",
            description="Describes a photo in words with a captioning model and puts the defect into the description, "
            "as the study did for its second prompt.",
            **newer(search_aliases=["caption", "BLIP", "interrogate", "describe image"]),
            inputs=[
                io.Image.Input("image", tooltip="The photo to describe; of a batch, the first."),
                io.String.Input(
                    "model",
                    default="blip-image-captioning-base",
                    tooltip="Folder under models/caption that holds a captioning model in transformers' layout "
                    "(config.json, model.safetensors, tokenizer files).",
                ),
                io.String.Input(
                    "find",
                    default="nut",
                    tooltip="Word of the caption to replace; empty leaves the caption as it is.",
                ),
                io.String.Input(
                    "replace",
                    default="defective hazelnut with hole",
                    tooltip="What to put in its place; in front of the caption where the word does not occur.",
                ),
                io.Int.Input(
                    "max_tokens",
                    default=40,
                    min=1,
                    max=200,
                    tooltip="Longest caption, in the model's tokens.",
                    **ADVANCED,
                ),
            ],
            outputs=[
                io.String.Output(display_name="prompt", tooltip="The caption with the defect in it."),
                io.String.Output(display_name="caption", tooltip="What the model said."),
            ],
        )

    @classmethod
    def validate_inputs(cls, model: str) -> bool | str:
        try:
            caption_folder(model, current().model_folders(FOLDER))
        except FileNotFoundError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, image: torch.Tensor, model: str, find: str, replace: str, max_tokens: int) -> io.NodeOutput:
        folder = caption_folder(model, current().model_folders(FOLDER))
        caption = _describe(folder, image[:1], max_tokens)
        return io.NodeOutput(caption_to_prompt(caption, find, replace), caption)


class DefectForgeDefectPrompt(io.ComfyNode):
    """Say in words which defect is on which part."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DefectForgeDefectPrompt",
            display_name="Defect Prompt",
            category="DefectForge/inpaint",
            description="Fills a template with the part and the type of defect in plain words: MVTec AD's and VisA's "
            "names of products and defects are translated, other names are taken as they are.",
            **newer(search_aliases=["words", "text", "prompt template"]),
            inputs=[
                io.String.Input("part", default="hazelnut", tooltip="The product: a dataset's name or plain words."),
                io.String.Input("type", default="hole", tooltip="The defect: a dataset's name or plain words."),
                io.String.Input(
                    "template",
                    default=TEMPLATE,
                    tooltip="The prompt, with {part}, {type} and {words} in the places of the names and of what the "
                    "defect looks like.",
                ),
                io.String.Input(
                    "words",
                    default="",
                    tooltip="What the defect looks like, for {words}. Empty: words that suit the type.",
                ),
                io.String.Input(
                    "reference_template",
                    default=REFERENCE_TEMPLATE,
                    tooltip="The same for a reference photo, where a workflow describes it on its own.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="prompt", tooltip="The template, filled in."),
                io.String.Output(display_name="reference_prompt", tooltip="The reference's template, filled in."),
            ],
        )

    @classmethod
    def execute(cls, part: str, type: str, template: str, words: str, reference_template: str) -> io.NodeOutput:
        looks = words.strip() or _words_of(type)
        return io.NodeOutput(
            defect_prompt(template, part, type, looks), defect_prompt(reference_template, part, type, looks)
        )


def _words_of(type: str) -> str:
    """What a type looks like; a name without a known type has no words of its own."""
    try:
        return WORDS[type_named(type)]
    except ValueError:
        return ""


def caption_folder(name: str, roots: list[Path]) -> Path:
    """Find the captioning model `name` under `roots`.

    Raises:
        FileNotFoundError: it is in none of them, or its name leads out of them.
    """
    for root in roots:
        folder = (root / name).resolve()
        if name and folder.is_relative_to(root.resolve()) and (folder / "config.json").is_file():
            return folder
    looked = ", ".join(str(root) for root in roots)
    raise FileNotFoundError(
        f"no captioning model {name!r}: expected a folder of that name with config.json, model.safetensors and "
        f"tokenizer files in {looked}. Download Salesforce/blip-image-captioning-base into it, or write the prompt "
        "by hand."
    )


def _describe(folder: Path, image: torch.Tensor, max_tokens: int) -> str:
    from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

    # A folder on this machine and nothing else: a server must not reach for a hub while a prompt runs.
    options: dict[str, Any] = {"local_files_only": True}
    device = current().device()
    for _ in watched(range(1), 1):
        model: Any = AutoModelForImageTextToText.from_pretrained(folder, **options)
        model.to(device).eval()
        processor = AutoImageProcessor.from_pretrained(folder, **options)
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        # Channels last, 0..1 floats: the processor would scale by 255 once more.
        pixels = processor(images=list(image.cpu().numpy()), do_rescale=False, return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            tokens = model.generate(pixel_values=pixels.to(device), max_new_tokens=max_tokens, do_sample=False)
    return str(tokenizer.decode(tokens[0], skip_special_tokens=True)).strip()


NODES = (DefectForgeImageToPrompt, DefectForgeDefectPrompt)
