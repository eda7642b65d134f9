"""A small CLIP-shaped vision tower with frozen random weights: the eyes of the image-embedding miniature.

Random features still tell pictures apart by their colours and coarse arrangement, which is as much as a variation of a
picture needs. Drawn from NumPy's frozen legacy stream as the text encoder is; OpenCLIP's tensor names, 64 px pictures
in 16 px patches, an embedding of 256 numbers.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .random_text_encoder import uniform

WIDTH, LAYERS, PATCH, SIDE, EMBEDDING = 128, 2, 16, 64, 256
SEED = 20231118
PREFIX = "embedder.model.visual."


def tensors() -> Iterator[tuple[str, NDArray[np.float16]]]:
    """Name (with the checkpoint's prefix) and fp16 values of every tensor, in drawing order."""
    stream = np.random.RandomState(SEED)
    unit = float(WIDTH) ** -0.5
    patch = (3 * PATCH * PATCH) ** -0.5
    yield f"{PREFIX}class_embedding", uniform(stream, (WIDTH,), 1.0)
    # Photos are mostly dark: a large gain keeps what differs between their patches above the positions.
    yield f"{PREFIX}conv1.weight", uniform(stream, (WIDTH, 3, PATCH, PATCH), 2.0 * patch)
    yield f"{PREFIX}positional_embedding", uniform(stream, ((SIDE // PATCH) ** 2 + 1, WIDTH), 0.5)
    yield from _norm("ln_pre")
    for index in range(LAYERS):
        layer = f"transformer.resblocks.{index}."
        yield f"{PREFIX}{layer}attn.in_proj_weight", uniform(stream, (3 * WIDTH, WIDTH), 1.4 * unit)
        yield f"{PREFIX}{layer}attn.in_proj_bias", np.zeros(3 * WIDTH, np.float16)
        yield f"{PREFIX}{layer}attn.out_proj.weight", uniform(stream, (WIDTH, WIDTH), 1.4 * unit)
        yield f"{PREFIX}{layer}attn.out_proj.bias", np.zeros(WIDTH, np.float16)
        yield f"{PREFIX}{layer}mlp.c_fc.weight", uniform(stream, (4 * WIDTH, WIDTH), 1.4 * unit)
        yield f"{PREFIX}{layer}mlp.c_fc.bias", np.zeros(4 * WIDTH, np.float16)
        yield f"{PREFIX}{layer}mlp.c_proj.weight", uniform(stream, (WIDTH, 4 * WIDTH), 0.7 * unit)
        yield f"{PREFIX}{layer}mlp.c_proj.bias", np.zeros(WIDTH, np.float16)
        yield from _norm(f"{layer}ln_1")
        yield from _norm(f"{layer}ln_2")
    yield from _norm("ln_post")
    yield f"{PREFIX}proj", uniform(stream, (WIDTH, EMBEDDING), 3.0 * unit)


def _norm(name: str) -> Iterator[tuple[str, NDArray[np.float16]]]:
    yield f"{PREFIX}{name}.weight", np.ones(WIDTH, np.float16)
    yield f"{PREFIX}{name}.bias", np.zeros(WIDTH, np.float16)
