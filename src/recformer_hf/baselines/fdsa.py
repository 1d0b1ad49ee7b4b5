"""`FDSA`: feature-level deeper self-attention over items and over their attributes (Zhang et al., IJCAI 2019).

alpha = softmax_k(<w, a_k>);  f_i = sum_k alpha_k a_k                 (vanilla attention over the attributes of item i)
A = Transformer(E[i_t] + P[t]);  B = Transformer'(f_{i_t} + P'[t])     (both causal, each with a layer norm before it)
h_t = W [A_t ; B_t] + b;  s_t(i) = <h_t, E_i>

Every place t is trained to score what came at t + 1.
"""

# No `from __future__ import annotations` here: `@strict` checks values against the annotations, and skips strings.

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn

from .shared.attributes import ItemAttributes
from .shared.configuration import BaselineConfig
from .shared.histories import PackedHistories
from .shared.model import BaselineModel
from .shared.transformer import ItemTransformer

if TYPE_CHECKING:
    from ..items.catalog import ItemCatalog


@strict
class FDSAConfig(BaselineConfig):
    r"""Configuration of [`FDSA`], beside the fields of [`BaselineConfig`].

    Args:
        dropout (`float`, defaults to 0.5): of both transformers and of the joined states, in [0, 1).
        initializer_range (`float`, defaults to 0.05): standard deviation of initial weights.
        loss (`str`, defaults to `"ce"`): `"bce"` is the paper's.
        num_layers (`int`, defaults to 2), num_heads (`int`, defaults to 2): of both transformers; the heads must divide
            `hidden_size`.
        intermediate_size (`int`, *optional*): width of the feed-forward networks, by default 4 `hidden_size`.
        activation (`str`, defaults to `"gelu"`): of the feed-forward networks.
        attribute_fields (`list[str]`, *optional*): fields of items whose values are attributes; see [`ItemAttributes`].
        min_attribute_items (`int`, defaults to 5): items that an attribute must have.
        num_attributes (`int`, defaults to 0), most_attributes (`int`, defaults to 1): attributes of the catalogue, and
            the most that an item has; set when a model takes one.
    """

    model_type = "fdsa"

    dropout: float | int = 0.5
    initializer_range: float | int = 0.05
    loss: Literal["ce", "bce", "gbce", "sampled_softmax"] = "ce"
    num_layers: int = 2
    num_heads: int = 2
    intermediate_size: int | None = None
    activation: str = "gelu"
    attribute_fields: list[str] | None = None
    min_attribute_items: int = 5
    num_attributes: int = 0
    most_attributes: int = 1

    def validate_architecture(self) -> None:
        self.check_transformer()
        self.check_positive("min_attribute_items", "most_attributes")
        super().validate_architecture()


class FDSA(BaselineModel):
    """Feature-level deeper self-attention network.

    From Zhang et al. (IJCAI 2019). The joined states and item vectors are `[n, hidden_size]`, and scores their
    products. Taking a catalogue raises `ValueError` for `attribute_fields` that no item has.

    Args:
        config, settings: a [`FDSAConfig`], or its fields; see [`BaselineModel`] for all else.
    """

    config: FDSAConfig
    config_class = FDSAConfig
    paper = "[Zhang et al., 2019](https://www.ijcai.org/proceedings/2019/600)"
    training_defaults = {"learning_rate": 2e-3}

    item_attributes: Tensor
    """Numbers of each item's attributes, int32 `[num_items, most_attributes]`, filled with -1; at least one each."""

    def build(self) -> None:
        config, width = self.config, self.config.hidden_size
        self.item_embeddings = self.new_item_table()
        self.features = VanillaAttention(config.num_attributes, width)
        self.register_buffer(
            "item_attributes", torch.zeros(config.num_items, config.most_attributes, dtype=torch.int32)
        )
        self.item_stream, self.feature_stream = Stream(config), Stream(config)
        self.join, self.dropout = nn.Linear(2 * width, width), nn.Dropout(config.dropout)

    def encode(self, histories: PackedHistories) -> Tensor:
        of_items = self.item_stream(self.item_embeddings(histories.rows), histories)
        of_features = self.feature_stream(self.features(self.item_attributes[histories.rows].long()), histories)
        states: Tensor = self.dropout(self.join(torch.cat([of_items, of_features], 1)))
        return states

    def take_catalog(self, catalog: "ItemCatalog") -> None:
        if self._catalog is None or self._catalog.fingerprint != catalog.fingerprint:
            config = self.config
            found = ItemAttributes.of(catalog, config.attribute_fields, config.min_attribute_items)
            table = attribute_table(found)
            config.num_attributes, config.most_attributes = len(found.names), table.shape[1]
            self.item_attributes = torch.from_numpy(table).to(self.device)
            self.features.table = new = nn.Embedding(config.num_attributes + 1, config.hidden_size, device=self.device)
            self._init_weights(new)
        super().take_catalog(catalog)


class VanillaAttention(nn.Module):
    """An item's vector from those of its attributes: sum_k alpha_k a_k, where alpha = softmax_k(<w, a_k>).

    The row behind those of all attributes belongs to items that have none.
    """

    def __init__(self, num_attributes: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(num_attributes + 1, width)
        # A bias would be the same in all scores of a softmax, which does not change with it.
        self.scores = nn.Linear(width, 1, bias=False)

    def weights(self, attributes: Tensor) -> Tensor:
        """alpha, float32 `[n, k]`; the arguments are those of `forward`."""
        of_each = self.scores(self.table.weight)[:, 0].float()
        scores = of_each[attributes.clamp(min=0)]
        return torch.softmax(scores.masked_fill(attributes < 0, -torch.inf), 1)

    def forward(self, attributes: Tensor) -> Tensor:
        """`[n, width]`, for the numbers of n items' attributes (int64 `[n, k]`, filled with -1)."""
        table = self.table.weight
        weights = self.weights(attributes).to(table.dtype)
        return F.embedding_bag(attributes.clamp(min=0), table, mode="sum", per_sample_weights=weights)


class Stream(nn.Module):
    """Positions, a layer norm, and a causal transformer: one of the two halves of the network."""

    def __init__(self, config: FDSAConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.position_embeddings = nn.Embedding(config.max_length, width)
        self.norm, self.dropout = nn.LayerNorm(width, config.layer_norm_eps), nn.Dropout(config.dropout)
        self.transformer = ItemTransformer(
            width, config.num_layers, config.num_heads, config.intermediate_size or 4 * width, config.dropout,
            activation=config.activation, norm="post", eps=config.layer_norm_eps,
        )  # fmt: skip

    def forward(self, vectors: Tensor, histories: PackedHistories) -> Tensor:
        """`[total, width]` to `[total, width]`."""
        hidden = self.dropout(self.norm(vectors + self.position_embeddings(histories.positions)))
        states: Tensor = self.transformer(hidden, histories)
        return states


def attribute_table(attributes: ItemAttributes) -> np.ndarray:
    """Attributes as int32 `[num_items, most]`, filled with -1. Items without any have the number behind the last."""
    counts = np.diff(attributes.offsets)
    table = np.full((len(counts), max(1, counts.max(initial=1))), -1, np.int32)
    table[np.arange(table.shape[1]) < counts[:, None]] = attributes.ids
    table[counts == 0, 0] = len(attributes.names)
    return table


__all__ = ["FDSA", "FDSAConfig"]
