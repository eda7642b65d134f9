"""The text encoder: prompt -> CONDITIONING, as ComfyUI v0.3.64 encodes for SD 1.x (CLIP-L) and SD 2.x (OpenCLIP-H)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from ..model.model import WeightChange, applied_weights
from ..state_dicts import StateDict, UnsupportedModelError, count_layers, from_open_clip, without_prefix
from .prompt import EmbeddingLookup, Token, empty_chunk, has_weights, prompt_chunks
from .vocabulary import END_TOKEN, VOCABULARY_SIZE

Chunks = list[list[Token]]


class TextEncoder(nn.Module):
    """CLIP's text tower. Weights are rounded to half precision and computed with in single, as ComfyUI does."""

    def __init__(self, model: Any, projection: torch.Tensor | None) -> None:
        super().__init__()
        self.text_model = model
        self.projection = None if projection is None else nn.Parameter(projection, requires_grad=False)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, torch.Tensor], *, activation: str) -> TextEncoder:
        """Builds the tower from transformers' names (no prefix); its size is read off the tensors."""
        tokens = state.get("embeddings.token_embedding.weight")
        if tokens is None or tokens.shape[0] != VOCABULARY_SIZE:
            found = "none" if tokens is None else str(tokens.shape[0])
            raise UnsupportedModelError(
                f"a CLIP text encoder with a vocabulary of {VOCABULARY_SIZE} tokens was expected, found {found}"
            )
        width = tokens.shape[1]
        config = CLIPTextConfig(
            hidden_size=width,
            intermediate_size=state["encoder.layers.0.mlp.fc1.weight"].shape[0],
            num_hidden_layers=count_layers(state, "encoder.layers."),
            num_attention_heads=max(1, width // 64),
            hidden_act=activation,
            max_position_embeddings=state["embeddings.position_embedding.weight"].shape[0],
            vocab_size=VOCABULARY_SIZE,
        )
        with torch.device("meta"):
            model: Any = CLIPTextModel(config)
        rounded = {k: v.half().float() for k, v in state.items() if not k.endswith("position_ids")}
        projection = rounded.pop("projection.weight", None)
        model.load_state_dict(rounded, strict=True, assign=True)
        # A buffer that no file holds and that was made on the meta device.
        model.embeddings.position_ids = torch.arange(config.max_position_embeddings)[None]
        return cls(model.eval().requires_grad_(False), projection)

    @property
    def layers(self) -> int:
        """Number of transformer layers."""
        return len(self.text_model.encoder.layers)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.text_model.final_layer_norm.weight.device
        return device

    def forward(self, embeddings: torch.Tensor, layer: int | None, ends: list[int]) -> tuple[torch.Tensor, ...]:
        """Token embeddings [chunks, 77, width] -> (tokens, pooled [chunks, width]).

        `layer` -2 takes the tokens after the last but one layer (normed); None after the last. `ends` holds the place
        of each chunk's first end token, where the pooled vector is read.
        """
        positions = self.text_model.embeddings.position_embedding.weight
        x = embeddings + positions[: embeddings.shape[1]]
        size = x.shape[1]
        causal = torch.full((size, size), -torch.inf, device=x.device).triu(1)[None, None]
        wanted = x
        for number, block in enumerate(self.text_model.encoder.layers):
            x = block(x, causal)
            if layer is not None and number == self.layers + layer:
                wanted = x
        final = self.text_model.final_layer_norm(x)
        pooled = final[torch.arange(len(ends)), torch.tensor(ends)]
        return final if layer is None else self.text_model.final_layer_norm(wanted), pooled


class Clip:
    """The CLIP that nodes hand on: tokenizer settings, text encoder, chosen layer, LoRA changes."""

    def __init__(
        self,
        encoder: TextEncoder,
        *,
        pad_token: int = END_TOKEN,
        default_layer: int | None = None,
        project_pooled: bool = False,
        lookup: EmbeddingLookup | None = None,
    ) -> None:
        self.encoder = encoder
        self.pad_token, self.default_layer, self.project_pooled = pad_token, default_layer, project_pooled
        self.layer_idx: int | None = None
        self.lookup = lookup
        self.checkpoint: Any = None
        self.weight_patches: dict[str, list[tuple[WeightChange, float]]] = {}

    def clone(self) -> Clip:
        """The same weights with settings of its own."""
        other = copy.copy(self)
        other.weight_patches = {k: list(v) for k, v in self.weight_patches.items()}
        return other

    def clip_layer(self, layer_idx: int) -> None:
        """Chooses where to stop: -1 the last layer, -2 the one before, ..."""
        self.layer_idx = layer_idx

    def add_weight_patches(self, changes: Mapping[str, WeightChange], strength: float) -> None:
        """Changes parameters of the encoder (by name) for this CLIP's prompts."""
        for name, change in changes.items():
            self.weight_patches.setdefault(name, []).append((change, strength))

    def tokenize(self, text: str) -> Chunks:
        """Chunks of 77 weighted tokens."""
        return prompt_chunks(text, pad_token=self.pad_token, lookup=self.lookup)

    @torch.no_grad()
    def encode_from_tokens(self, chunks: Chunks) -> tuple[torch.Tensor, torch.Tensor]:
        """(tokens [1, 77 * chunks, width], pooled [1, width]).

        A weight w moves a token along its difference from the empty prompt: empty + (token - empty) * w.
        """
        rows = list(chunks)
        weighted = has_weights(chunks)
        if weighted:
            rows.append(empty_chunk(pad_token=self.pad_token, length=len(chunks[0])))
        layer = self.default_layer if self.layer_idx is None else self.layer_idx
        if layer is not None and abs(layer) > self.encoder.layers:
            layer = None
        if layer == -1:
            layer = None
        with applied_weights(self.encoder, self.weight_patches, stored_as=torch.float16):
            embeddings, ends = self._embeddings(rows)
            tokens, pooled = self.encoder(embeddings, layer, ends)
        if weighted:
            weights = torch.tensor([[t.weight for t in chunk] for chunk in chunks], device=tokens.device)[..., None]
            empty, tokens = tokens[-1:], tokens[:-1]
            tokens = torch.where(weights == 1.0, tokens, (tokens - empty) * weights + empty)
        first = pooled[:1]
        if self.project_pooled and self.encoder.projection is not None:
            first = first @ self.encoder.projection.T
        return tokens.reshape(1, -1, tokens.shape[-1]).cpu(), first.cpu()

    def tokens_with_gradient(self, text: str) -> torch.Tensor:
        """As `encode`'s tokens, for a training of the encoder: no weights in the prompt, and gradients flow."""
        embeddings, ends = self._embeddings(list(self.tokenize(text)))
        tokens, _ = self.encoder(embeddings, None, ends)
        result: torch.Tensor = tokens.reshape(1, -1, tokens.shape[-1])
        return result

    def _embeddings(self, rows: Chunks) -> tuple[torch.Tensor, list[int]]:
        table = self.encoder.text_model.embeddings.token_embedding.weight
        ids = [[t.value if isinstance(t.value, int) else self.pad_token for t in row] for row in rows]
        embeddings = table[torch.tensor(ids, device=table.device)]
        for r, row in enumerate(rows):
            for c, token in enumerate(row):
                if isinstance(token.value, torch.Tensor):
                    if token.value.shape[-1] != table.shape[1]:
                        raise UnsupportedModelError(
                            f"a textual inversion of width {token.value.shape[-1]} does not fit this text encoder of "
                            f"width {table.shape[1]}: it was made for another model"
                        )
                    embeddings[r, c] = token.value.to(embeddings)
        ends = [next(c for c, t in enumerate(row) if isinstance(t.value, int) and t.value == END_TOKEN) for row in rows]
        return embeddings, ends

    def encode(self, text: str) -> list[Any]:
        """A CONDITIONING with one entry."""
        tokens, pooled = self.encode_from_tokens(self.tokenize(text))
        return [[tokens, {"pooled_output": pooled}]]


def clip_from_state_dict(state: StateDict, lookup: EmbeddingLookup | None = None) -> Clip | None:
    """The CLIP of a checkpoint or text encoder file, or None where it has no text encoder.

    Reads SD 1.x's CLIP-L (transformers' names) and SD 2.x's OpenCLIP-H; of the latter the last but one layer is used.
    """
    sd1 = {}
    for prefix in ("cond_stage_model.transformer.text_model.", "cond_stage_model.transformer.", "text_model."):
        sd1 = without_prefix(state, prefix)
        if "embeddings.token_embedding.weight" in sd1:
            known = ("embeddings.", "encoder.", "final_layer_norm.")
            sd1 = {k: v for k, v in sd1.items() if k.startswith(known)}
            return Clip(TextEncoder.from_state_dict(sd1, activation="quick_gelu"), lookup=lookup)
    for prefix in ("cond_stage_model.model.", "conditioner.embedders.0.model."):
        if prefix + "token_embedding.weight" in state:
            tower = from_open_clip(without_prefix(state, prefix))
            encoder = TextEncoder.from_state_dict(tower, activation="gelu")
            return Clip(encoder, pad_token=0, default_layer=-2, project_pooled=True, lookup=lookup)
    return None
