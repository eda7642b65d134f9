"""From a caption to a prompt: the study took a caption of a nut and replaced one word."""

from __future__ import annotations

import re


def caption_to_prompt(caption: str, find: str, replace: str) -> str:
    """Put the defect into a caption: ``a close up of a nut`` -> ``a close up of a defective hazelnut with hole``.

    Args:
        caption: what the captioning model said.
        find: the word or phrase to replace, upper and lower case alike; empty leaves the caption as it is.
        replace: what to put there.

    Returns:
        The prompt. Where `find` does not occur, `replace` is put in front, so that the defect is never lost.
    """
    caption = " ".join(caption.split())
    if not find.strip():
        return caption
    prompt, hits = re.subn(rf"\b{re.escape(find.strip())}\b", lambda _: replace, caption, flags=re.IGNORECASE)
    return prompt if hits else ", ".join(part for part in (replace.strip(), caption) if part)


#: The study's first prompt, for any part and type.
TEMPLATE = "defective {part} with {type}"

#: How a reference photo is described: what is on it, without the word that asks for a defect.
REFERENCE_TEMPLATE = "a close up of a {part} with {type}"

#: Datasets' names of products in plain words, where the name itself is none (MVTec AD, MVTec AD 2, VisA).
PARTS = {
    "bottle": "glass bottle",
    "grid": "metal grid",
    "wood": "wooden surface",
    "tile": "floor tile",
    "leather": "piece of leather",
    "can": "drink can",
    "fruit jelly": "fruit jelly cup",
    "rice": "rice grains",
    "sheet metal": "sheet of metal",
    "vial": "glass vial",
    "walnuts": "walnut",
    "wallplugs": "wall plug",
    "candle": "wax candle",
    "capsules": "gel capsule",
    "cashew": "cashew nut",
    "chewinggum": "piece of chewing gum",
    "fryum": "wheel-shaped snack",
    "pipe fryum": "pipe-shaped snack",
    "macaroni1": "macaroni",
    "macaroni2": "macaroni",
    **{f"pcb{number}": "printed circuit board" for number in range(1, 5)},
}

#: Datasets' names of defects in plain words, where the name itself is none.
DEFECTS = {
    "broken large": "large broken edge",
    "broken small": "small chipped edge",
    "contamination": "contamination",
    "metal contamination": "metal splinter",
    "color": "discoloured spot",
    "thread": "loose thread",
    "glue": "drop of glue",
    "glue strip": "strip of glue",
    "gray stroke": "grey stroke",
    "oil": "oil stain",
    "liquid": "liquid stain",
    "rough": "rough patch",
    "print": "white print",
    "faulty imprint": "smudged imprint",
    "poke": "poked hole",
    "squeeze": "squeezed side",
    "bent": "bent edge",
    "broken": "broken wire",
    "fold": "fold",
    "cut inner insulation": "cut in the inner insulation",
    "cut outer insulation": "cut in the outer insulation",
    "poke insulation": "hole in the insulation",
    "missing cable": "missing cable",
    "missing wire": "missing wire",
    "thread side": "damaged thread",
    "thread top": "damaged thread",
    "scratch head": "scratched head",
    "scratch neck": "scratched neck",
    "damaged case": "cracked case",
    "broken teeth": "broken teeth",
    "split teeth": "split teeth",
    "squeezed teeth": "squeezed teeth",
    "fabric border": "torn fabric border",
    "fabric interior": "torn fabric",
    "discolor": "discolouration",
    "particle": "foreign particle",
    "chunk of wax missing": "missing chunk of wax",
    "chunk of gum missing": "missing chunk",
    "corner missing": "missing corner",
    "burnt": "burnt spot",
    "spot": "dark spot",
    "stain": "stain",
    "chip": "chipped edge",
    "missing part": "missing piece",
    "line break": "broken line",
    "thread pull": "pulled thread",
}

#: What a type of defect looks like, for templates with {words}; by plain type of Place Defect Mask.
WORDS = {
    "hole": "a dark opening with a chipped rim",
    "crack": "a thin jagged crack",
    "scratch": "a thin bright scratch",
    "cut": "a short deep cut",
    "spot": "a speck of foreign material",
    "stain": "a blurred stain",
    "dent": "a shallow dent with a soft shadow",
    "chip": "a piece broken off the edge",
    "missing part": "a whole piece missing",
    "line break": "an interrupted line",
    "thread pull": "a loose pulled thread",
}


def plain_name(name: str, known: dict[str, str]) -> str:
    """A dataset's name in words: ``metal_nut`` -> ``metal nut``, ``pcb1`` -> ``printed circuit board``."""
    words = " ".join(re.split(r"[\s_\-]+", name.strip()))
    return known.get(words.lower(), words)


def defect_prompt(template: str, part: str, type_: str, words: str) -> str:
    """Fill a template.

    Args:
        template: text with any of ``{part}``, ``{type}`` and ``{words}``.
        part: the product, as the dataset names it or in words.
        type_: the type of defect, likewise.
        words: what it looks like.

    Raises:
        ValueError: a placeholder that does not exist, or a brace alone; with the ones that do.
    """
    values = {"part": plain_name(part, PARTS), "type": plain_name(type_, DEFECTS), "words": words}
    # Not str.format: a template comes with the graph, and format reaches into objects.
    unknown = sorted(set(re.findall(r"{([^{}]*)}", template)) - set(values))
    if unknown or re.search(r"[{}]", re.sub(r"{[^{}]*}", "", template)):
        raise ValueError(
            f"template: {', '.join('{' + name + '}' for name in unknown) or 'a brace without its partner'} in "
            f"{template!r} stands for nothing; expected {{part}}, {{type}} and {{words}}"
        )
    for name, value in values.items():
        if f"{{{name}}}" in template and not value.strip():
            raise ValueError(f"{name}: it is empty, but the template {template!r} asks for it")
    return re.sub(r"{(part|type|words)}", lambda found: values[found[1]], template)
