"""`SASRec`: self-attention over the items of a history (Kang and McAuley, ICDM 2018).

x_t = E[i_t] sqrt(d) + P[t];  h = LN(blocks(Dropout(x)));  s_t(i) = <h_t, E_i>

Every place t is trained to score what came at t + 1, and no place sees a later one. The item table E is that of the
input (tied), as in the paper.
"""

# No `from __future__ import annotations` here: `@strict` checks values against the annotations, and skips strings.

import math
from typing import Literal

from huggingface_hub.dataclasses import strict
from torch import Tensor, nn

from .shared.configuration import BaselineConfig
from .shared.histories import PackedHistories
from .shared.model import BaselineModel
from .shared.transformer import ItemTransformer


@strict
class SASRecConfig(BaselineConfig):
    r"""Configuration of [`SASRec`], beside the fields of [`BaselineConfig`].

    Args:
        loss (`str`, defaults to `"ce"`): `"bce"` is the paper's; `"ce"`, `"gbce"` and `"sampled_softmax"` are better.
        num_layers (`int`, defaults to 2), num_heads (`int`, defaults to 1): of the transformer; the heads must divide
            `hidden_size`.
        intermediate_size (`int`, *optional*): width of the feed-forward networks, by default `hidden_size` (the paper).
        activation (`str`, defaults to `"relu"`): of the feed-forward networks.
        block (`"standard"` or `"ligr"`, defaults to `"standard"`): the block; see
            [`~baselines.shared.transformer.ItemTransformer`].
    """

    model_type = "sasrec"

    loss: Literal["ce", "bce", "gbce", "sampled_softmax"] = "ce"
    num_layers: int = 2
    num_heads: int = 1
    intermediate_size: int | None = None
    activation: str = "relu"
    block: Literal["standard", "ligr"] = "standard"

    def validate_architecture(self) -> None:
        self.check_transformer()
        super().validate_architecture()


class SASRec(BaselineModel):
    """Self-attentive sequential recommendation.

    From Kang and McAuley (ICDM 2018). States and item vectors are `[n, hidden_size]`, and scores their products.

    Args:
        config, settings: a [`SASRecConfig`], or its fields; see [`BaselineModel`] for all else.
    """

    config: SASRecConfig
    config_class = SASRecConfig
    training_defaults = {"adam_beta2": 0.98}  # the paper's; gradients of sampled losses shrink fast at first
    paper = "[Kang and McAuley, 2018](https://arxiv.org/abs/1808.09781)"

    def build(self) -> None:
        config = self.config
        self.item_embeddings = self.new_item_table()
        self.position_embeddings = nn.Embedding(config.max_length, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.transformer = ItemTransformer(
            config.hidden_size, config.num_layers, config.num_heads, config.intermediate_size or config.hidden_size,
            config.dropout, activation=config.activation, block=config.block, eps=config.layer_norm_eps,
        )  # fmt: skip

    def encode(self, histories: PackedHistories) -> Tensor:
        items = self.item_embeddings(histories.rows) * math.sqrt(self.config.hidden_size)
        hidden = self.dropout(items + self.position_embeddings(histories.positions))
        states: Tensor = self.transformer(hidden, histories)
        return states


__all__ = ["SASRec", "SASRecConfig"]
