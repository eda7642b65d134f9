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
