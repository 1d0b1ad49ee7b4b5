"""`BERT4Rec`: bidirectional self-attention that fills in masked items (Sun et al., CIKM 2019).

x_t = E[i_t] + P[t];  h_t = Transformer(x)_t;  s_t(i) = <LN(GELU(W h_t + b)), E_i> + b_i

In training, a mask replaces some items of a sequence, and the state of each masked place is trained to score the item
that stood there (the Cloze task). To rank, a mask is appended to the history, and its state scores what comes next.
"""

# No `from __future__ import annotations` here: `@strict` checks values against the annotations, and skips strings.

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import initialization

from ..data.arrays import offsets_from_lengths, slice_indices
from ..data.draws import Stream
from .shared.collators import NextItemCollator, packed_rows
from .shared.configuration import BaselineConfig
from .shared.histories import PackedHistories
from .shared.model import BaselineModel
from .shared.transformer import ItemTransformer

if TYPE_CHECKING:
    from ..data.dataset import SequentialDataset
    from ..data.torch_datasets import SequenceBatch, TrainingSequences


@strict
class BERT4RecConfig(BaselineConfig):
    r"""Configuration of [`BERT4Rec`], beside the fields of [`BaselineConfig`].

    Args:
        initializer_range (`float`, defaults to 0.05): standard deviation of initial weights.
        loss (`str`, defaults to `"ce"`): over the masked items; `"ce"` is the paper's.
        num_layers (`int`, defaults to 2), num_heads (`int`, defaults to 2): of the transformer; the heads must divide
            `hidden_size`.
        intermediate_size (`int`, *optional*): width of the feed-forward networks, by default 4 `hidden_size`.
        activation (`str`, defaults to `"gelu"`): of the feed-forward networks.
        attention_dropout (`float`, defaults to 0.0): of the attention probabilities, in [0, 1).
        mask_probability (`float`, defaults to 0.3): rho, the share of items that are masked, in [0, 1].
        last_item_share (`float`, defaults to 0.5): share of sequences that are cut behind a drawn item, and of which
            only this newest item is masked, as in ranking; in [0, 1].
    """

    model_type = "bert4rec"

    initializer_range: float | int = 0.05
    loss: Literal["ce", "gbce", "sampled_softmax"] = "ce"
    num_layers: int = 2
    num_heads: int = 2
    intermediate_size: int | None = None
    activation: str = "gelu"
    attention_dropout: float | int = 0.0
    mask_probability: float | int = 0.3
    last_item_share: float | int = 0.5

    def validate_architecture(self) -> None:
        self.check_transformer()
        self.check_shares("mask_probability", "last_item_share")
        self.check_shares("attention_dropout", below_one=True)
        super().validate_architecture()


class BERT4Rec(BaselineModel):
    """Bidirectional encoder representations for sequential recommendation. The row `num_items` stands for the mask.

    From Sun et al. (CIKM 2019). States and item vectors are `[n, hidden_size]`, and scores their products plus a bias
    of each item.

    Args:
        config, settings: a [`BERT4RecConfig`], or its fields; see [`BaselineModel`] for all else.
    """

    config: BERT4RecConfig
    config_class = BERT4RecConfig
    paper = "[Sun et al., 2019](https://arxiv.org/abs/1904.06690)"
    item_tables = ("item_embeddings", "output_bias")
    # An epoch has a target or two of each sequence, where a causal model has all of them.
    training_defaults = {"num_train_epochs": 500, "patience": 25}

    def build(self) -> None:
        config, width = self.config, self.config.hidden_size
        self.item_embeddings = self.new_item_table()
        self.output_bias = self.new_item_table(1)
        self.mask = nn.Parameter(torch.zeros(width))
        # One more than the items that are read: the mask behind a history of `max_length` has a position of its own.
        self.position_embeddings = nn.Embedding(config.max_length + 1, width)
        self.norm, self.dropout = nn.LayerNorm(width, config.layer_norm_eps), nn.Dropout(config.dropout)
        self.transformer = ItemTransformer(
            width, config.num_layers, config.num_heads, config.intermediate_size or 4 * width, config.dropout,
            config.attention_dropout, activation=config.activation, norm="post", eps=config.layer_norm_eps,
        )  # fmt: skip
        self.output = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width, config.layer_norm_eps))

    def encode(self, histories: PackedHistories) -> Tensor:
        rows, num_items = histories.rows, self.config.num_items
        items = self.item_embeddings(rows.clamp(max=num_items - 1))
        items = torch.where((rows == num_items)[:, None], self.mask.to(items.dtype), items)
        hidden = self.dropout(self.norm(items + self.position_embeddings(histories.positions)))
        states: Tensor = self.output(self.transformer(hidden, histories, causal=False))
        return states

    def item_bias(self) -> Tensor:
        return self.output_bias.weight[:, 0]

    def history_vectors(self, histories: PackedHistories) -> Tensor:
        """The state of a mask behind each history."""
        rows = histories.rows.new_full((len(histories.rows) + len(histories),), self.config.num_items)
        places = torch.arange(len(histories.rows), device=rows.device) + histories.owners
        masked = PackedHistories(
            rows.index_copy(0, places, histories.rows), histories.lengths + 1, histories.longest + 1
        )
        return super().history_vectors(masked)

    def training_collator(self, datasets: "Sequence[SequentialDataset]", seed: int) -> "ClozeCollator":
        counts = np.bincount(datasets[0].train.items, minlength=self.config.num_items)
        return ClozeCollator(self.config, counts, seed)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            initialization.normal_(self.mask, std=self.config.initializer_range)
        elif module is getattr(self, "output_bias", None):
            initialization.zeros_(module.weight)


class ClozeCollator(NextItemCollator):
    """Sequences with masked items, whose row is `num_items`: `labels` are the items that stood there, `places` where.

    A share of sequences is cut behind an item that is drawn anew in every epoch, and only this item is masked. Of all
    others each item is, with `mask_probability`; if none would be, one drawn uniformly. Negatives that
    batches share are those of [`NextItemCollator`].

    Args:
        config: `max_length`, `mask_probability`, `last_item_share`, and the fields of the loss.
        counts (int `[num_items]`): how often each item of the catalogue occurs in the training sequences.
        seed (`int`): in [0, 2^64).
    """

    config: BERT4RecConfig

    def lengths(self, data: "TrainingSequences") -> list[np.ndarray]:
        return [lengths + self.extra for lengths in super().lengths(data)]  # the newest item is read, too

    def __call__(self, batch: "SequenceBatch") -> dict[str, Any]:
        starts, lengths = self.windows(batch)
        # Two numbers of a sequence say whether only its newest item is masked, and which one that is.
        keys = [batch.index[name] for name in ("epoch", "dataset", "user")]
        drawn = self.draws.uniform(Stream.MASKED_ITEMS, keys[0], keys[1], keys[2], 2 + int(lengths.max()))
        only_newest = drawn[:, 0] < self.config.last_item_share
        cut = np.minimum(2 + (drawn[:, 1] * (lengths - 1)).astype(np.int64), lengths)
        lengths = np.where(only_newest, cut, lengths)
        places = np.flatnonzero(self._masked(drawn[:, 2:], only_newest, lengths))
        rows = batch.items[slice_indices(starts, lengths)].astype(np.int64)
        labels = rows[places]
        rows[places] = self.num_items
        packed = packed_rows(rows, offsets_from_lengths(lengths)[:-1], lengths)
        targets = {"labels": torch.from_numpy(labels), "places": torch.from_numpy(places)}
        return packed | targets | self._negatives(batch, labels, lengths)

    def _masked(self, chances: np.ndarray, only_newest: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Which of all places are masked, bool `[total]`, by a number for each of the places `[batch, longest]`."""
        numbers = np.arange(chances.shape[1])
        exists = numbers < lengths[:, None]
        chances = np.where(exists, chances, 1.0)
        # The lowest number is at each place equally often, also if all are above the probability.
        masked = exists & ((chances < self.config.mask_probability) | (chances == chances.min(1, keepdims=True)))
        masked[only_newest] = numbers == lengths[only_newest, None] - 1
        found: np.ndarray = masked[exists]
        return found


__all__ = ["BERT4Rec", "BERT4RecConfig"]
