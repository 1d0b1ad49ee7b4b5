"""The attention of `<s>`, the first token of a sequence, to its whole sequence: Longformer's global attention."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .kernels import linear
from .packing import SequenceLayout
from .plain_modules import is_plain_linear


def at_least_float32(values: Tensor) -> Tensor:
    """Casts float16 and bfloat16 to float32; wider types stay."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class SelfAttention(Protocol):
    """What [`first_token_attention`] needs from the self-attention module."""

    num_heads: int
    query_global: nn.Linear
    key_global: nn.Linear
    value_global: nn.Linear


def first_token_attention(
    module: SelfAttention, hidden: Tensor, layout: SequenceLayout, dropout: float, return_probabilities: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Attention of every `<s>` to its whole sequence, through `query_global`, `key_global` and `value_global`.

    `<s>` is the only query, so keys and values are never projected for all tokens:
    `q·(W_k x_j + b_k) = (W_kᵀ q)·x_j + q·b_k`, where the last term is the same for all `j` and leaves the softmax
    unchanged, and `Σ p_j (W_v x_j + b_v) = W_v (Σ p_j x_j) + b_v Σ p_j` (without dropout the sum is 1).
    Projections other than a plain floating-point `nn.Linear` (LoRA, quantised) are applied as they are.

    Args:
        module: the self-attention.
        hidden (`Tensor` `[total_tokens, hidden_size]`): its input.
        layout: where the sequences lie.
        dropout (`float`): dropout of the probabilities, 0 outside training.
        return_probabilities: whether to return them.

    Returns:
        the output of every `<s>`, `[batch, hidden_size]`, and the probabilities `[batch, num_heads, max_seqlen]`.
    """
    heads = module.num_heads
    query = linear(module.query_global, hidden[layout.first_tokens])
    query = query.unflatten(1, (heads, -1))  # [batch, heads, head_dim]
    query = query * query.shape[-1] ** -0.5
    if not (is_plain_linear(module.key_global) and is_plain_linear(module.value_global)):
        return _first_token_attention_projected(module, query, hidden, layout, dropout)
    key_weight = module.key_global.weight.unflatten(0, (heads, -1))  # [heads, head_dim, hidden]
    value_weight = module.value_global.weight.unflatten(0, (heads, -1))
    value_bias = module.value_global.bias.unflatten(0, (heads, -1))
    lifted = torch.matmul(query.transpose(0, 1), key_weight).transpose(0, 1)  # [batch, heads, hidden]
    context, mass, probabilities = _attend_sequences(lifted, hidden, layout, dropout, return_probabilities)
    output = torch.matmul(context.transpose(0, 1), value_weight.transpose(1, 2)).transpose(0, 1)
    output = output + (value_bias if mass is None else mass[..., None] * value_bias)
    return output.flatten(1), probabilities


def _attend_sequences(
    lifted: Tensor, hidden: Tensor, layout: SequenceLayout, dropout: float, return_probabilities: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Softmax over each sequence of its `lifted` query against its tokens.

    Args:
        lifted (`Tensor` `[batch, heads, hidden]`): the queries of `<s>`, as vectors of the hidden size.

    Returns:
        the weighted mean of the tokens `[batch, heads, hidden]`; with dropout, the sum of its weights `[batch, heads]`;
        and the probabilities `[batch, heads, max_seqlen]` if requested.
    """
    padded_tokens = layout.num_sequences * layout.max_seqlen
    if layout.lengths is not None and padded_tokens > 2 * layout.total_tokens and not return_probabilities:
        # With very uneven lengths, taking the sequences one by one is faster than computing on padding.
        return *_attend_one_by_one(lifted, hidden, layout, layout.lengths, dropout), None
    tokens = layout.to_padded(hidden)  # [batch, max_seqlen, hidden]
    scores = at_least_float32(torch.matmul(lifted, tokens.transpose(1, 2)))
    scores = scores.masked_fill(~layout.padded_mask[:, None], torch.finfo(scores.dtype).min)
    probabilities = torch.softmax(scores, dim=-1)
    weights = F.dropout(probabilities, dropout)
    mass = weights.sum(-1).to(hidden.dtype) if dropout else None
    return torch.matmul(weights.to(tokens.dtype), tokens), mass, probabilities if return_probabilities else None


def _attend_one_by_one(
    lifted: Tensor, hidden: Tensor, layout: SequenceLayout, lengths: list[int], dropout: float
) -> tuple[Tensor, Tensor | None]:
    contexts, masses = [], []
    # Rows after the last token are split off too: the gradient of a slice would be one more copy of all rows.
    extra_rows = len(hidden) - layout.total_tokens
    sequences = hidden.split([*lengths, extra_rows] if extra_rows else lengths)
    for query, tokens in zip(lifted.unbind(0), sequences[: layout.num_sequences], strict=True):
        weights = torch.softmax(at_least_float32(torch.matmul(query, tokens.T)), dim=-1)
        weights = F.dropout(weights, dropout)
        masses.append(weights.sum(-1))
        contexts.append(torch.matmul(weights.to(tokens.dtype), tokens))
    return torch.stack(contexts), torch.stack(masses).to(hidden.dtype) if dropout else None


def _first_token_attention_projected(
    module: SelfAttention, query: Tensor, hidden: Tensor, layout: SequenceLayout, dropout: float
) -> tuple[Tensor, Tensor]:
    """[`first_token_attention`] by projecting all tokens, for projections that must be called."""
    keys, values = (
        layout.to_padded(linear(projection, hidden)).unflatten(2, (module.num_heads, -1)).transpose(1, 2)
        for projection in (module.key_global, module.value_global)
    )  # [batch, heads, max_seqlen, head_dim]
    scores = at_least_float32(torch.matmul(query[:, :, None], keys.transpose(-1, -2)))
    scores = scores.masked_fill(~layout.padded_mask[:, None, None], torch.finfo(scores.dtype).min)
    probabilities = torch.softmax(scores, dim=-1)
    output = torch.matmul(F.dropout(probabilities, dropout).to(values.dtype), values)
    return output.flatten(1), probabilities.squeeze(2)


__all__ = ["SelfAttention", "at_least_float32", "first_token_attention"]
