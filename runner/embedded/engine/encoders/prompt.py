"""Prompts as ComfyUI reads them: "(word:1.2)" weights, textual inversion embeddings, chunks of 77 tokens.

A token is an id, or an embedding vector [width]; each has a weight. Nothing here knows a model.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from .vocabulary import CONTEXT_LENGTH, END_TOKEN, START_TOKEN, clip_tokenizer

EMBEDDING_PREFIX = "embedding:"
# A group of this many tokens or more may be cut at the end of a chunk; a shorter one moves to the next chunk whole.
LONG_GROUP = 8
_ESCAPES = {"\\)": "\0\1", "\\(": "\0\2"}

EmbeddingLookup = Callable[[str], "torch.Tensor | None"]


class Token(NamedTuple):
    """One position of a chunk: an id of the vocabulary or an embedding vector, and its weight."""

    value: int | torch.Tensor
    weight: float


def _segments(text: str) -> list[tuple[str, bool]]:
    """Top-level pieces of a text: (piece, whether it is a closed "(...)" group)."""
    pieces: list[tuple[str, bool]] = []
    start = depth = 0
    for index, char in enumerate(text):
        if char == "(":
            if depth == 0 and index > start:
                pieces.append((text[start:index], False))
                start = index
            depth += 1
        elif char == ")":
            depth -= 1
            if depth == 0:
                pieces.append((text[start : index + 1], text[start] == "("))
                start = index + 1
    if start < len(text):
        pieces.append((text[start:], False))
    return pieces


def weighted_segments(text: str, weight: float = 1.0) -> list[tuple[str, float]]:
    """Reads "(a)" as weight 1.1 times its surroundings and "(a:1.3)" as exactly 1.3; "\\(" is a plain bracket."""
    for escape, mark in _ESCAPES.items():
        text = text.replace(escape, mark)

    def read(part: str, current: float) -> list[tuple[str, float]]:
        found: list[tuple[str, float]] = []
        for piece, is_group in _segments(part):
            if not is_group:
                found.append((piece, current))
                continue
            inner, inner_weight = piece[1:-1], current * 1.1
            head, colon, tail = inner.rpartition(":")
            if colon and head:
                try:
                    inner, inner_weight = head, float(tail)
                except ValueError:
                    inner = piece[1:-1]
            found += read(inner, inner_weight)
        return found

    return [(_unescape(piece), w) for piece, w in read(text, weight)]


def _unescape(text: str) -> str:
    for escape, mark in _ESCAPES.items():
        text = text.replace(mark, escape[1])
    return text


def _words(segment: str) -> list[str]:
    """The segment, cut before each " embedding:NAME"."""
    first, *rest = re.split(f"[ \n]{EMBEDDING_PREFIX}", segment)
    return [word for word in [first, *(EMBEDDING_PREFIX + r for r in rest)] if word]


def _groups(text: str, lookup: EmbeddingLookup | None) -> list[list[Token]]:
    groups: list[list[Token]] = []
    for segment, weight in weighted_segments(text):
        for word in _words(segment):
            if lookup is not None and word.startswith(EMBEDDING_PREFIX):
                name, *rest = word[len(EMBEDDING_PREFIX) :].strip("\n").split() or [""]
                vectors = lookup(name)
                if vectors is None and name.rstrip(",") != name:
                    vectors = lookup(name.rstrip(","))
                    rest = [name[len(name.rstrip(",")) :], *rest]
                if vectors is None:
                    logging.getLogger(__name__).warning("embedding:%s does not exist; it is left out", name)
                else:
                    groups.append([Token(v, weight) for v in vectors.reshape(-1, vectors.shape[-1])])
                word = " ".join(rest)
                if not word:
                    continue
            ids: Any = clip_tokenizer()(word)["input_ids"]
            groups.append([Token(int(i), weight) for i in ids[1:-1]])
    return groups


def prompt_chunks(
    text: str, *, pad_token: int = END_TOKEN, lookup: EmbeddingLookup | None = None, length: int = CONTEXT_LENGTH
) -> list[list[Token]]:
    """The prompt as chunks of `length` tokens, each with its start and end token; never fewer than one chunk."""
    start, end, pad = Token(START_TOKEN, 1.0), Token(END_TOKEN, 1.0), Token(pad_token, 1.0)
    chunk = [start]
    chunks = [chunk]
    for group in _groups(text, lookup):
        may_cut = len(group) >= LONG_GROUP
        while group:
            room = length - 1 - len(chunk)
            if len(group) <= room:
                chunk += group
                break
            if may_cut:
                chunk += [*group[:room], end]
                group = group[room:]
            else:
                chunk += [end] + [pad] * room
            chunk = [start]
            chunks.append(chunk)
    chunk.append(end)
    chunk += [pad] * (length - len(chunk))
    return chunks


def has_weights(chunks: list[list[Token]]) -> bool:
    """Whether any token's weight differs from 1."""
    return any(token.weight != 1.0 for chunk in chunks for token in chunk)


def empty_chunk(*, pad_token: int = END_TOKEN, length: int = CONTEXT_LENGTH) -> list[Token]:
    """The chunk of an empty prompt: what weights are measured from."""
    return prompt_chunks("", pad_token=pad_token, length=length)[0]
