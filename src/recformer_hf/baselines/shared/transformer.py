"""The transformer over items: causal or bidirectional, pre-norm or post-norm, of plain blocks or LiGR blocks."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import ACT2FN

from .histories import PackedHistories


class ItemTransformer(nn.Module):
    """A stack of blocks over the places of packed histories.

    With `block="standard"` and the same weights it equals torch's `nn.TransformerEncoder`: each block is multi-head
    self-attention and a feed-forward network, `x + sublayer(LN(x))` (pre-norm, with a layer norm behind the last block)
    or `LN(x + sublayer(x))` (post-norm).

    Args:
        width: of the hidden states.
        num_layers, num_heads: of the stack; the heads must divide the width.
        intermediate_size: width of the feed-forward networks.
        dropout: of both sub-layers' outputs, and inside the feed-forward networks.
        attention_dropout: of the attention probabilities; by default `dropout`.
        activation: of the feed-forward networks, a name of transformers' `ACT2FN`.
        norm: where the layer norms are.
        block: `"ligr"` gates both sub-layers; see [`GatedBlock`]. It is pre-norm.
        eps: of the layer norms.
    """

    def __init__(
        self,
        width: int,
        num_layers: int,
        num_heads: int,
        intermediate_size: int,
        dropout: float,
        attention_dropout: float | None = None,
        *,
        activation: str = "gelu",
        norm: Literal["pre", "post"] = "pre",
        block: Literal["standard", "ligr"] = "standard",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        attention_dropout = dropout if attention_dropout is None else attention_dropout
        if block == "ligr" and norm != "pre":
            raise ValueError(f"LiGR blocks are pre-norm, got norm={norm!r}.")

        def new_block() -> nn.Module:
            attention = SelfAttention(width, num_heads, attention_dropout)
            if block == "ligr":
                return GatedBlock(attention, intermediate_size, dropout, eps)
            return Block(attention, intermediate_size, dropout, activation, norm, eps)

        self.layers = nn.ModuleList(new_block() for _ in range(num_layers))
        self.norm = nn.LayerNorm(width, eps) if norm == "pre" else None

    def forward(self, hidden: Tensor, histories: PackedHistories, causal: bool = True) -> Tensor:
        """The states of all places.

        Args:
            hidden (`Tensor` `[total, width]`): what goes into the first block, positions included.
            histories: which place belongs to which history.
            causal: whether a place sees only the places before it; otherwise its whole history.

        Returns:
            `[total, width]`.
        """
        for layer in self.layers:
            hidden = layer(hidden, histories, causal)
        return hidden if self.norm is None else self.norm(hidden)


class SelfAttention(nn.Module):
    """Multi-head self-attention: softmax(Q K^T / sqrt(width / heads)) V, then a projection."""

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"The width ({width}) must be a multiple of the number of heads ({num_heads}).")
        self.num_heads, self.dropout = num_heads, dropout
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, hidden: Tensor, histories: PackedHistories, causal: bool) -> Tensor:
        """`[total, width]` to `[total, width]`."""
        projected = self.query_key_value(hidden)
        if histories.parts is None:
            mixed = self._mixed(projected, histories, causal)
        else:
            parts, places = histories.parts
            pieces = projected.index_select(0, places).split([len(part.rows) for part in parts])
            of_parts = [self._mixed(piece, part, causal) for piece, part in zip(pieces, parts, strict=True)]
            found = torch.cat(of_parts)
            mixed = torch.empty_like(found).index_copy(0, places, found)
        attended: Tensor = self.out(mixed)
        return attended

    def _mixed(self, projected: Tensor, histories: PackedHistories, causal: bool) -> Tensor:
        """softmax(Q K^T / sqrt(width / heads)) V, from `[total, 3 * width]` to `[total, width]`."""
        padded = histories.padded(projected)
        query, key, value = padded.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        # No causal place sees the padding, which comes last; a bidirectional one would.
        mask = None if causal else histories.mask[:, None, None, :]
        mixed = F.scaled_dot_product_attention(
            query, key, value, mask, self.dropout if self.training else 0.0, is_causal=causal
        )
        return histories.packed(mixed.transpose(1, 2)).flatten(1)


class Block(nn.Module):
    """A transformer block, as `nn.TransformerEncoderLayer` computes it."""

    def __init__(
        self, attention: SelfAttention, intermediate_size: int, dropout: float, activation: str, norm: str, eps: float
    ) -> None:
        super().__init__()
        width = attention.out.out_features
        self.attention, self.is_pre_norm = attention, norm == "pre"
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, intermediate_size), ACT2FN[activation], nn.Dropout(dropout),
            nn.Linear(intermediate_size, width),
        )  # fmt: skip
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, histories: PackedHistories, causal: bool) -> Tensor:
        if self.is_pre_norm:
            hidden = hidden + self.dropout(self.attention(self.attention_norm(hidden), histories, causal))
            added: Tensor = hidden + self.dropout(self.feed_forward(self.feed_forward_norm(hidden)))
            return added
        hidden = self.attention_norm(hidden + self.dropout(self.attention(hidden, histories, causal)))
        normed: Tensor = self.feed_forward_norm(hidden + self.dropout(self.feed_forward(hidden)))
        return normed


class GatedBlock(nn.Module):
    """The LiGR block: x + sigma(W x) * Dropout(sublayer(LN(x))) around attention and a SwiGLU network.

    From Borisyuk et al. 2025, "From features to transformers" (LiGR); SwiGLU(x) = (silu(x W1) * x W2) W3 is Shazeer's
    (2020).
    """

    def __init__(self, attention: SelfAttention, intermediate_size: int, dropout: float, eps: float) -> None:
        super().__init__()
        width = attention.out.out_features
        self.attention = attention
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.attention_gate, self.feed_forward_gate = nn.Linear(width, width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 2 * intermediate_size), nn.Linear(intermediate_size, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, histories: PackedHistories, causal: bool) -> Tensor:
        attended = self.dropout(self.attention(self.attention_norm(hidden), histories, causal))
        hidden = hidden + torch.sigmoid(self.attention_gate(hidden)) * attended
        gated, linear = self.inner(self.feed_forward_norm(hidden)).chunk(2, -1)
        added: Tensor = self.dropout(self.outer(F.silu(gated) * linear))
        return hidden + torch.sigmoid(self.feed_forward_gate(hidden)) * added


__all__ = ["ItemTransformer", "SelfAttention"]
