"""A CLIP-L text encoder with frozen random weights, the same bits everywhere.

The miniature checkpoint was trained against it: its U-Net learnt what these random contexts mean. It is too large to
ship (246 MB), so it is drawn again. The draw takes raw bytes of NumPy's legacy generator, whose stream is frozen by
policy (NEP 19), and maps them by one exact subtraction and one IEEE multiplication: no function of a mathematics
library is involved, so every machine gets the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

WIDTH, LAYERS, TOKENS, LENGTH = 768, 12, 49408, 77
SEED = 20231117
PREFIX = "cond_stage_model.transformer.text_model."

# Spreads of the weights. Token embeddings are large against what the layers add, so that a context still says which
# word stands there; queries and keys are large enough for attention to choose, so that later positions
# tell prompts apart.
_TOKEN, _POSITION, _CHOICE, _CARRY = 1.0, 0.35, 2.0, 0.6


def uniform(stream: np.random.RandomState, shape: tuple[int, ...], std: float) -> NDArray[np.float16]:
    """Uniform values of mean 0 and deviation ``std``, from 16 raw bits each."""
    count = int(np.prod(shape))
    bits = np.frombuffer(stream.bytes(2 * count), dtype="<u2").astype(np.float32)
    scale = np.float32(std) * np.float32(12**0.5 / 65536.0)
    return ((bits - np.float32(32767.5)) * scale).astype(np.float16).reshape(shape)


def tensors() -> Iterator[tuple[str, NDArray[np.float16]]]:
    """Name (with the checkpoint's prefix) and fp16 values of every tensor, in drawing order."""
    stream = np.random.RandomState(SEED)
    unit = float(WIDTH) ** -0.5
    yield f"{PREFIX}embeddings.token_embedding.weight", uniform(stream, (TOKENS, WIDTH), _TOKEN)
    yield f"{PREFIX}embeddings.position_embedding.weight", uniform(stream, (LENGTH, WIDTH), _POSITION)
    for index in range(LAYERS):
        layer = f"{PREFIX}encoder.layers.{index}"
        for name, gain in (("q_proj", _CHOICE), ("k_proj", _CHOICE), ("v_proj", 1.0), ("out_proj", _CARRY)):
            yield f"{layer}.self_attn.{name}.weight", uniform(stream, (WIDTH, WIDTH), gain * unit)
            yield f"{layer}.self_attn.{name}.bias", np.zeros(WIDTH, np.float16)
        yield f"{layer}.mlp.fc1.weight", uniform(stream, (4 * WIDTH, WIDTH), unit)
        yield f"{layer}.mlp.fc1.bias", np.zeros(4 * WIDTH, np.float16)
        yield f"{layer}.mlp.fc2.weight", uniform(stream, (WIDTH, 4 * WIDTH), _CARRY * 0.5 * unit)
        yield f"{layer}.mlp.fc2.bias", np.zeros(WIDTH, np.float16)
        for norm in ("layer_norm1", "layer_norm2"):
            yield f"{layer}.{norm}.weight", np.ones(WIDTH, np.float16)
            yield f"{layer}.{norm}.bias", np.zeros(WIDTH, np.float16)
    yield f"{PREFIX}final_layer_norm.weight", np.ones(WIDTH, np.float16)
    yield f"{PREFIX}final_layer_norm.bias", np.zeros(WIDTH, np.float16)
