"""CLIP's byte-pair vocabulary, offline.

To get the ids of a text:

    from defectforge.runner.embedded.engine.encoders.vocabulary import clip_tokenizer, padded_ids
    clip_tokenizer()("a hazelnut with a hole")["input_ids"]   # [49406, ..., 49407]: start, words, end
    padded_ids(["a hazelnut", ""])                            # int64 tensor [2, 77], as the text encoder takes it

The file is the vocabulary that OpenAI published with CLIP (MIT, see data/); the ids are those of CLIP-L.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import CLIPTokenizer

VOCABULARY_FILE = Path(__file__).with_name("data") / "clip_bpe_vocabulary.txt.gz"
START_TOKEN, END_TOKEN = 49406, 49407
CONTEXT_LENGTH = 77
VOCABULARY_SIZE = 49408


def byte_symbols() -> list[str]:
    """The 256 printable characters that stand for the bytes, in CLIP's (and GPT-2's) order.

    Printable bytes stand for themselves and come first; each other byte gets the next code point from 256 up.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = 256 - len(printable)
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(rest)]


@lru_cache(maxsize=1)
def merges() -> list[tuple[str, str]]:
    """The 48,894 byte-pair merges that CLIP uses: the file holds more, and a header line."""
    with gzip.open(VOCABULARY_FILE, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")
    count = VOCABULARY_SIZE - 2 * 256 - 2
    pairs = [line.split() for line in lines[1 : count + 1]]
    return [(left, right) for left, right in pairs]


@lru_cache(maxsize=1)
def vocabulary() -> dict[str, int]:
    """Token -> id: bytes, bytes that end a word, merges, then the two special tokens."""
    symbols = byte_symbols()
    tokens = symbols + [s + "</w>" for s in symbols] + ["".join(pair) for pair in merges()]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: index for index, token in enumerate(tokens)}


@lru_cache(maxsize=1)
def clip_tokenizer() -> CLIPTokenizer:
    """CLIP-L's tokenizer without any download. Calling it gives {"input_ids": [49406, ..., 49407], ...}."""
    from transformers import CLIPTokenizer

    # The tokenizer's annotation says list[str]; what it takes is pairs.
    pairs: Any = merges()
    return CLIPTokenizer(vocab=vocabulary(), merges=pairs)


def padded_ids(texts: Sequence[str], pad_token: int = END_TOKEN) -> torch.Tensor:
    """Ids of plain texts (no weighting syntax), cut and padded to 77: int64 [len(texts), 77].

    SD 1.x pads with the end token; SD 2.x with 0 (`pad_token=0`).
    """
    import torch

    rows = []
    for text in texts:
        ids = list(clip_tokenizer()(text)["input_ids"])[: CONTEXT_LENGTH - 1]
        if ids[-1] != END_TOKEN:
            ids.append(END_TOKEN)
        rows.append(ids + [pad_token] * (CONTEXT_LENGTH - len(ids)))
    return torch.tensor(rows, dtype=torch.long)
