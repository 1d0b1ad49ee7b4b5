"""The two-level head: a small causal transformer that reads a history as a sequence of item vectors.

The text encoder is the first level: it turns the text of an item into a vector. A history then costs one look-up an
item and a few small layers. Every item of a training sequence can be a target of the same pass, because no place sees a
later one (as in SASRec, Kang and McAuley 2018).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from transformers import initialization

from ..configuration_recformer import RecformerConfig
from ..encoder.plain_modules import is_plain_linear, is_plain_tensor, is_untouched


class HistoryTransformer(nn.Module):
    """Pre-norm transformer layers over the item vectors of histories.

    Every layer is the identity at first, so that a history's vector begins as that of its newest item, normalised by a
    layer norm, with the small numbers of a place added.

    Args:
        config: `vector_size`, `head_num_layers`, `head_num_attention_heads`, `head_dropout`, and `max_item_embeddings`,
            which limits a history to that many items less one.
    """

    def __init__(self, config: RecformerConfig) -> None:
        super().__init__()
        width = config.vector_size
        self.most_items = config.max_item_embeddings - 1
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.position_embeddings = nn.Embedding(self.most_items, width)
        self.dropout = nn.Dropout(config.head_dropout)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, config.head_num_attention_heads, 4 * width, config.head_dropout, "gelu",
                layer_norm_eps=config.layer_norm_eps, batch_first=True, norm_first=True,
            )
            for _ in range(config.head_num_layers)
        )  # fmt: skip

    @torch.no_grad()
    def init_weights(self) -> None:
        """Makes every layer the identity, where it has no loaded weights."""
        for layer in self.layers:
            assert isinstance(layer, nn.TransformerEncoderLayer)
            for last in (layer.self_attn.out_proj, layer.linear2):
                initialization.zeros_(last.weight)
                initialization.zeros_(last.bias)

    def forward(self, items: Tensor) -> Tensor:
        """A vector for every place of every history, of the items up to it.

        Args:
            items (`Tensor` `[batch, length, vector_size]`): item vectors, oldest first. Shorter histories end in
                places of any values, which no item sees.

        Returns:
            `[batch, length, vector_size]`.
        """
        length = items.shape[1]
        positions = torch.arange(length, device=items.device)
        hidden: Tensor = self.dropout(self.norm(items) + self.position_embeddings(positions))
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=hidden.device, dtype=hidden.dtype)
        for layer in self.layers:
            assert isinstance(layer, nn.TransformerEncoderLayer)
            hidden = layer(hidden, src_mask=mask, is_causal=True) if _is_plain(layer) else _by_modules(layer, hidden)
        return hidden


def _is_plain(layer: nn.TransformerEncoderLayer) -> bool:
    """Whether torch may compute a layer from its weights, without calling its modules, as it does in evaluation.

    LoRA and quantisation replace modules, and would be ignored.
    """
    attention: nn.Module = layer.self_attn
    return (
        is_plain_linear(layer.linear1)
        and is_plain_linear(layer.linear2)
        and type(attention) is nn.MultiheadAttention
        and _is_plain_projection(attention)
        and is_untouched(attention.out_proj, NonDynamicallyQuantizableLinear)
        and is_plain_tensor(attention.out_proj.weight)
    )


def _is_plain_projection(attention: nn.MultiheadAttention) -> bool:
    return is_plain_tensor(attention.in_proj_weight) and is_plain_tensor(attention.in_proj_bias)


def _by_modules(layer: nn.TransformerEncoderLayer, hidden: Tensor) -> Tensor:
    """The layer by its definition, calling each of its modules."""
    hidden = hidden + layer.dropout1(_attention(layer.self_attn, layer.norm1(hidden)))
    inner = layer.dropout(F.gelu(layer.linear1(layer.norm2(hidden))))
    added: Tensor = layer.dropout2(layer.linear2(inner))
    return hidden + added


def _attention(attention: nn.Module, hidden: Tensor) -> Tensor:
    """Causal self-attention, `[batch, length, width]`."""
    if not isinstance(attention, nn.MultiheadAttention) or not _is_plain_projection(attention):
        length = hidden.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=hidden.device, dtype=hidden.dtype)
        attended: Tensor = attention(hidden, hidden, hidden, attn_mask=mask, need_weights=False, is_causal=True)[0]
        return attended
    projected = F.linear(hidden, attention.in_proj_weight, attention.in_proj_bias)
    parts = projected.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    dropout = attention.dropout if attention.training else 0.0
    mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], dropout_p=dropout, is_causal=True)
    projected_back: Tensor = attention.out_proj(mixed.transpose(1, 2).flatten(2))
    return projected_back


__all__ = ["HistoryTransformer"]
