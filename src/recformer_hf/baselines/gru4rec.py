"""`GRU4Rec`: a recurrent network over the items of a history (Hidasi et al. 2016; Hidasi and Karatzoglou 2018).

x_t = E[i_t];  h_t = GRU(x_t, h_{t-1});  s_t(i) = <W h_t, Y_i> + b_i

The state begins at zero for every history, and every place t is trained to score what came at t + 1. Y is E (tied,
which the authors call constrained embedding) or a table of its own; W is there only if the GRU is of another width.
"""

# No `from __future__ import annotations` here: `@strict` checks values against the annotations, and skips strings.

from typing import Literal

from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import initialization

from .shared.configuration import BaselineConfig
from .shared.histories import PackedHistories
from .shared.model import BaselineModel


@strict
class GRU4RecConfig(BaselineConfig):
    r"""Configuration of [`GRU4Rec`], beside the fields of [`BaselineConfig`].

    Args:
        loss (`str`, defaults to `"ce"`): full cross-entropy; `"sampled_softmax"`; or the second paper's `"bpr_max"` and
            `"top1_max"`, which want many negatives: `num_negatives=2048`, `negative_power=0.5`, `batch_negatives=True`.
        num_layers (`int`, defaults to 1): of the GRU.
        gru_size (`int`, *optional*): width of the GRU, by default `hidden_size`.
        tie_item_embeddings (`bool`, defaults to `True`): whether the scores take the input's item vectors.
        initializer_range (`float`, defaults to 0.1): of the item vectors too. From smaller ones, whose states hardly
            differ, training takes several times as long.
    """

    model_type = "gru4rec"

    loss: Literal["ce", "sampled_softmax", "bpr_max", "top1_max"] = "ce"
    num_layers: int = 1
    gru_size: int | None = None
    tie_item_embeddings: bool = True
    initializer_range: float | int = 0.1

    def validate_architecture(self) -> None:
        self.check_positive("num_layers", *(["gru_size"] if self.gru_size is not None else []))
        super().validate_architecture()


class GRU4Rec(BaselineModel):
    """Recurrent sequential recommendation.

    From Hidasi et al. (ICLR 2016) and Hidasi and Karatzoglou (CIKM 2018). States and item vectors are
    `[n, hidden_size]`, and scores their products plus a bias of each item.

    Args:
        config, settings: a [`GRU4RecConfig`], or its fields; see [`BaselineModel`] for all else.
    """

    config: GRU4RecConfig
    config_class = GRU4RecConfig
    paper = "[Hidasi and Karatzoglou, 2018](https://arxiv.org/abs/1706.03847)"
    training_defaults = {"learning_rate": 3e-3}
    item_tables = ("item_embeddings", "output_embeddings", "output_bias")

    def build(self) -> None:
        config = self.config
        width = config.gru_size or config.hidden_size
        self.item_embeddings = self.new_item_table()
        self.output_embeddings = None if config.tie_item_embeddings else self.new_item_table()
        self.output_bias = self.new_item_table(1)
        self.dropout = nn.Dropout(config.dropout)
        self.gru = nn.GRU(config.hidden_size, width, config.num_layers, batch_first=True)
        self.projection = nn.Linear(width, config.hidden_size) if width != config.hidden_size else nn.Identity()

    def encode(self, histories: PackedHistories) -> Tensor:
        items = histories.padded(self.dropout(self.item_embeddings(histories.rows)))
        steps = pack_padded_sequence(items, histories.lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.gru(steps)[0], batch_first=True)
        projected: Tensor = self.projection(self.dropout(histories.packed(states)))
        return projected

    def item_vectors(self) -> Tensor:
        return super().item_vectors() if self.output_embeddings is None else self.output_embeddings.weight

    def item_bias(self) -> Tensor:
        return self.output_bias.weight[:, 0]

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is getattr(self, "output_bias", None):
            initialization.zeros_(module.weight)


__all__ = ["GRU4Rec", "GRU4RecConfig"]
