"""The peer: Recformer on transformers' own `LongformerEncoder`, as scripts usually run it.

The *faithful* peer works like the public replication: padded batches in the given order, a mask of 0, 1 and 2, cosine
by broadcasting, four encoder passes in pretraining, and the MLM head at every token. The *fair* peer does what a
careful user of the same encoder would do: batches sorted by length, inference mode, a normalised matrix product, and
the MLM head at masked tokens only.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LongformerConfig
from transformers.models.longformer.modeling_longformer import LongformerEncoder

from recformer_hf import RecformerModel


class LongformerPeer(nn.Module):
    """A Recformer whose encoder is transformers' Longformer, with the weights of our model."""

    def __init__(self, model: RecformerModel, fair: bool) -> None:
        super().__init__()
        config = model.config
        self.config, self.fair = config, fair
        self.embeddings = model.embeddings
        names = (
            *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
            *("layer_norm_eps", "hidden_dropout_prob", "attention_probs_dropout_prob"),
        )
        self.encoder = LongformerEncoder(
            LongformerConfig(
                attention_window=config.attention_windows, **{name: getattr(config, name) for name in names}
            )
        )
        self.encoder.load_state_dict(model.encoder.state_dict())
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A padded batch -> hidden states `[batch, seq_len, hidden_size]`."""
        mask = batch["attention_mask"]
        embeddings = self.embeddings
        positions = torch.arange(mask.shape[1], device=mask.device) + self.config.pad_token_id + 1
        hidden = embeddings.word_embeddings(batch["input_ids"]) + embeddings.position_embeddings(positions)
        hidden = hidden + embeddings.token_type_embeddings(batch["token_type_ids"])
        hidden = hidden + embeddings.item_position_embeddings(batch["item_position_ids"])
        hidden = self.dropout(embeddings.LayerNorm(hidden))
        signs = torch.where(mask == 1, 0.0, -10000.0).to(hidden.dtype)
        signs[:, 0] = 10000.0
        padding = -mask.shape[1] % max(self.config.attention_windows)
        hidden, signs = F.pad(hidden, (0, 0, 0, padding)), F.pad(signs, (0, padding), value=-10000.0)
        return self.encoder(hidden, attention_mask=signs, padding_len=padding).last_hidden_state

    def scores(self, users: Tensor, items: Tensor) -> Tensor:
        if self.fair:
            return F.normalize(users, dim=-1) @ F.normalize(items, dim=-1).T / self.config.temperature
        return F.cosine_similarity(users[:, None], items[None], dim=-1) / self.config.temperature

    def pretraining_loss(self, lm_head: nn.Module, sides: list[tuple[dict[str, Tensor], Tensor, Tensor]]) -> Tensor:
        """The loss of `sides`: contexts and items, each a padded batch with its masked ids and labels."""
        vectors, losses = [], []
        for batch, masked_ids, labels in sides:
            vectors.append(self(batch)[:, 0])
            states = self({**batch, "input_ids": masked_ids})
            if self.fair:
                states, labels = states[labels != -100], labels[labels != -100]
            losses.append(F.cross_entropy(lm_head(states).flatten(0, -2), labels.flatten()))
        contrastive = F.cross_entropy(self.scores(*vectors), torch.arange(len(vectors[0])))
        return contrastive + self.config.mlm_weight * sum(losses)
