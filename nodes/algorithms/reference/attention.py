"""Self-attention that also reads reference tokens.

The original attends over the concatenation of a picture's own tokens and those of the reference. Attention over a
concatenation equals a weighted mean of the attentions over its parts, with the parts' log-sum-exp as weights, so the
own part and the reference part are computed once each and merged: the plain result falls out for free, all pictures of
a batch share one set of reference keys without copies, and a strength is a constant added to one log-sum-exp.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

#: ``attend(q, k, v, heads, bias)``: tokens ``[rows, tokens, heads * dim]``, bias broadcastable to
#: ``[rows, heads, queries, keys]`` or None.
Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int, "torch.Tensor | None"], torch.Tensor]


@dataclass(frozen=True)
class ReferenceTokens:
    """Keys and values of one reference at one layer, as one group of rows reads them.

    Attributes:
        k, v: ``[1, reference tokens, heads * dim]``, already restricted to the reference mask.
        strength: factor on the reference's softmax weights; 1 is the original, 0 reads nothing.
        target: ``[rows or 1, tokens]`` in 0..1, how much each query reads; None: all fully.
    """

    k: torch.Tensor
    v: torch.Tensor
    strength: float = 1.0
    target: torch.Tensor | None = None


@dataclass(frozen=True)
class RowGroup:
    """Consecutive rows that read the same references.

    Attributes:
        rows: their slice of the batch.
        share: how much of the result is the reading one; 1 for conditional rows, ``1 - style fidelity`` for the
            unconditional half.
        references: what they read.
    """

    rows: slice
    share: float
    references: tuple[ReferenceTokens, ...]


def has_lse(q: torch.Tensor) -> bool:
    """Whether a kernel that returns the log-sum-exp is at hand for tensors like `q`."""
    if q.device.type == "cpu":
        return hasattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu")
    return q.device.type == "cuda" and hasattr(torch.ops.aten, "_scaled_dot_product_efficient_attention")


def attention_lse(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention and the log-sum-exp of its logits.

    Args:
        q, k, v: ``[rows, tokens, heads, dim]``; any strides with a contiguous last dimension.

    Returns:
        result ``[rows, queries, heads, dim]`` and log-sum-exp ``[rows, queries, heads]`` (natural logarithm, float32).
    """
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    if q.device.type == "cpu":
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)
    else:
        out, lse, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, True)
        lse = lse[..., : q.shape[2]]  # this kernel pads the queries to a multiple of 32
    return out.transpose(1, 2), lse.transpose(1, 2)


def exact_lse(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """Log-sum-exp of the logits alone, ``[rows, queries, heads]``, for ``[rows, tokens, heads, dim]`` tensors."""
    logits = torch.einsum("bqhd,bkhd->bqhk", q.float(), k.float()) / math.sqrt(q.shape[-1])
    return logits.logsumexp(dim=-1)


def _heads(tokens: torch.Tensor, heads: int) -> torch.Tensor:
    return tokens.unflatten(-1, (heads, -1))


def _reading_queries(reference: ReferenceTokens, rows: int) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Flat places ``[M]`` of the queries that read and the logarithm of how much ``[M, 1]``; None when all do fully."""
    if reference.target is None:
        return None
    flat = reference.target.expand(rows, -1).reshape(-1)
    places = flat.nonzero().squeeze(1)
    return places, flat[places].float().log().unsqueeze(1)


def read_references(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    heads: int,
    groups: Sequence[RowGroup],
    attend: Attend | None = None,
    plain: torch.Tensor | None = None,
) -> torch.Tensor:
    """Self-attention of a batch in which some rows also read references.

    Args:
        q, k, v: projected tokens ``[rows, tokens, heads * dim]``.
        heads: number of attention heads.
        groups: who reads what; rows in no group get plain self-attention.
        attend: attention of the host, used where no kernel gives the log-sum-exp or where the caller wants another
            attention routine to be respected; None uses the log-sum-exp kernel.
        plain: the rows' self-attention where something else has computed it already.

    Returns:
        ``[rows, tokens, heads * dim]``, to be given to the layer's output projection.
    """
    if attend is not None and plain is None:
        return _read_by_concatenation(q, k, v, heads, groups, attend)
    q4, k4 = _heads(q, heads), _heads(k, heads)
    if plain is None:
        out, lse = attention_lse(q4, k4, _heads(v, heads))
    else:
        # A copy: whoever computed it may keep it.
        out, lse = _heads(plain, heads).clone(), exact_lse(q4, k4)
    for group in groups:
        _merge(q4[group.rows], out[group.rows], lse[group.rows], group)
    return out.flatten(2)


def _merge(q: torch.Tensor, out: torch.Tensor, lse: torch.Tensor, group: RowGroup) -> None:
    """Merge the group's references into `out` ``[rows, tokens, heads, dim]`` in place."""
    live = [reference for reference in group.references if reference.strength > 0.0 and reference.k.shape[1] > 0]
    if group.share <= 0.0 or not live:
        return
    several = len(live) > 1
    rows, tokens = q.shape[:2]
    flat_q, flat_lse = q.flatten(0, 1), lse.flatten(0, 1)
    # With one reference the share scales its merge weight; several have to be merged completely first.
    total = out.clone() if several else out
    flat_total = total.view(rows * tokens, *out.shape[2:])
    total_lse = flat_lse.clone() if several else flat_lse
    for reference in live:
        log_strength = math.log(reference.strength)
        picked = _reading_queries(reference, rows)
        queries = flat_q if picked is None else flat_q[picked[0]]
        if queries.shape[0] == 0:
            continue
        # All pictures' queries in one row against one copy of the keys: (1, rows * tokens) x (1, reference tokens).
        heads = q.shape[2]
        read, read_lse = attention_lse(queries.unsqueeze(0), _heads(reference.k, heads), _heads(reference.v, heads))
        read, read_lse = read.squeeze(0), read_lse.squeeze(0) + log_strength
        if picked is None:
            own_lse = total_lse
        else:
            own_lse = total_lse[picked[0]]
            read_lse = read_lse + picked[1]
        weight = torch.sigmoid(read_lse - own_lse).unsqueeze(-1).to(read.dtype)
        if not several:
            weight = weight * group.share
        if picked is None:
            flat_total.lerp_(read, weight)
        else:
            flat_total[picked[0]] = torch.lerp(flat_total[picked[0]], read, weight)
        if several:
            merged = torch.logaddexp(own_lse, read_lse)
            if picked is None:
                total_lse = merged
            else:
                total_lse[picked[0]] = merged
    if several:
        out.lerp_(total, group.share)


def _read_by_concatenation(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, groups: Sequence[RowGroup], attend: Attend
) -> torch.Tensor:
    """The same by plain concatenation of keys, for hosts whose attention gives no log-sum-exp."""
    out = attend(q, k, v, heads, None)
    reading = [group for group in groups if group.share > 0.0]
    if reading:
        out = out.clone()
    for group in reading:
        live = [reference for reference in group.references if reference.strength > 0.0 and reference.k.shape[1] > 0]
        if not live:
            continue
        rows, tokens = q[group.rows].shape[:2]
        keys = torch.cat([k[group.rows], *(reference.k.expand(rows, -1, -1) for reference in live)], dim=1)
        values = torch.cat([v[group.rows], *(reference.v.expand(rows, -1, -1) for reference in live)], dim=1)
        bias = None
        if any(reference.strength != 1.0 or reference.target is not None for reference in live):
            bias = q.new_zeros(rows, 1, tokens, keys.shape[1])
            place = k.shape[1]
            for reference in live:
                count = reference.k.shape[1]
                part = bias[..., place : place + count]
                part += math.log(reference.strength)
                if reference.target is not None:
                    part += reference.target.to(q.dtype).log()[:, None, :, None]
                place += count
        read = attend(q[group.rows], keys, values, heads, bias)
        out[group.rows] = torch.lerp(out[group.rows], read, group.share)
    return out


def token_grid(tokens: int, height: int, width: int) -> tuple[int, int] | None:
    """Height and width of the token grid of a layer with `tokens` tokens, in a UNet run on a height x width latent.

    Each level halves the grid, rounding up. None when no level has that many tokens (another patch has changed the
    token layout).
    """
    while height * width > tokens and (height > 1 or width > 1):
        height, width = (height + 1) // 2, (width + 1) // 2
    return (height, width) if height * width == tokens else None


#: A token of the reference is read when at least this part of it lies under the mask.
COVERAGE = 0.5


def covered_tokens(mask: torch.Tensor) -> torch.Tensor:
    """Indices of the tokens under a reference mask.

    Args:
        mask: ``[height, width]`` at the layer's resolution, 0..1, the covered part of each token.

    Returns:
        flat indices, at least one: a defect smaller than half a token keeps the token that it covers most, or it
        would vanish from the deep layers.
    """
    flat = mask.flatten()
    return (flat >= min(COVERAGE, float(flat.max()))).nonzero().squeeze(1)
