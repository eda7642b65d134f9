"""Attention for the U-Net: torch's own, and the processor that gives ComfyUI's attention patches their place."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

Options = dict[str, Any]


def attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Multi-head attention on projected tokens.

    Args:
        q: [rows, tokens, heads * dim]; k and v: [rows, other tokens, heads * dim].
        mask: added to the scores (or boolean, True = attend); broadcast to [rows, heads, tokens, other tokens].

    Returns:
        [rows, tokens, heads * dim].
    """
    rows, tokens, width = q.shape

    def split(x: torch.Tensor) -> torch.Tensor:
        return x.view(x.shape[0], -1, heads, width // heads).transpose(1, 2)

    if mask is not None:
        mask = mask.reshape((1,) * (4 - mask.ndim) + tuple(mask.shape)) if mask.ndim != 3 else mask[:, None]
    out = scaled_dot_product_attention(split(q), split(k), split(v), attn_mask=mask)
    return out.transpose(1, 2).reshape(rows, tokens, width)


def without_patches(transformer_options: Options) -> Options:
    """What a patch gets as `extra_options`: everything but the patches themselves."""
    return {k: v for k, v in transformer_options.items() if k not in ("patches", "patches_replace")}


class PatchableAttention:
    """A diffusers attention processor that applies `attn1`/`attn2` patches; set once at load and without state.

    The options of the call travel as `cross_attention_kwargs={"transformer_options": ...}`. Order as in ComfyUI: patch
    (before projection), replace (on projected q, k, v; its result goes through the output projection), output patch.
    """

    def __init__(self, name: str, index: int, heads: int, head_dim: int) -> None:
        self.name, self.index, self.heads, self.head_dim = name, index, heads, head_dim

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        transformer_options: Options | None = None,
    ) -> torch.Tensor:
        options = transformer_options or {}
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        value, x = context, hidden_states
        patches = options.get("patches", {})
        before, after = patches.get(f"{self.name}_patch", ()), patches.get(f"{self.name}_output_patch", ())
        replace = self._replacement(options)
        extra: Options = {}
        if before or after or replace is not None:
            extra = without_patches(options)
            extra.update(n_heads=self.heads, dim_head=self.head_dim, block_index=self.index, attn_precision=None)
        for patch in before:
            x, context, value = patch(x, context, value, extra)
        q, k, v = attn.to_q(x), attn.to_k(context), attn.to_v(value)
        out = attention(q, k, v, self.heads, attention_mask) if replace is None else replace(q, k, v, extra)
        out = attn.to_out[0](out)
        for patch in after:
            out = patch(out, extra)
        return out

    def _replacement(self, options: Options) -> Any:
        replacements = options.get("patches_replace", {}).get(self.name)
        block = options.get("block")
        if not replacements or block is None:
            return None
        return replacements.get((*block, self.index), replacements.get(block))
