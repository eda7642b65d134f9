"""Contexts of captions from the frozen random text encoder."""

from __future__ import annotations

import torch
from defectforge.runner.checkpoints import random_text_encoder
from defectforge.runner.embedded.engine.encoders.vocabulary import padded_ids
from transformers import CLIPTextConfig, CLIPTextModel


def text_encoder() -> CLIPTextModel:
    """CLIP-L's text model with the weights of ``runner/checkpoints/random_text_encoder.py``."""
    model = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            max_position_embeddings=77,
            hidden_act="quick_gelu",
            bos_token_id=49406,
            eos_token_id=49407,
            pad_token_id=49407,
        )
    ).eval()
    own = model.state_dict()
    cut = len(random_text_encoder.PREFIX) - (0 if next(iter(own)).startswith("embeddings.") else len("text_model."))
    model.load_state_dict(
        {name[cut:]: torch.from_numpy(value).float() for name, value in random_text_encoder.tensors()}
    )
    return model


@torch.no_grad()
def contexts(texts: list[str]) -> torch.Tensor:
    """Last hidden states after the final norm: float32 ``[len(texts), 77, 768]``."""
    model = text_encoder()
    return torch.cat([model(padded_ids(texts[i : i + 16])).last_hidden_state for i in range(0, len(texts), 16)])
