"""The outputs of the models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.utils.generic import ModelOutput


@dataclass
class RecformerModelOutput(ModelOutput):
    """The output of [`RecformerModel`].

    Args:
        last_hidden_state (`Tensor` `[batch, seq_len, hidden_size]`, packed `[1, total_tokens, hidden_size]`): None with
            `pooled_only`. Zero at padding.
        pooler_output (`Tensor` `[batch, hidden_size]`): one vector per sequence (`config.pooler_type`).
        hidden_states (`tuple` of `Tensor`, with `output_hidden_states`): the embeddings and every layer's output,
            shaped like `last_hidden_state`.
        attentions (`tuple` of `Tensor` `[batch, num_heads, seq_len, seq_len]`, with `output_attentions`): the attention
            probabilities of every layer. The row of `<s>` comes from its own projections; `seq_len` is the length of
            the longest sequence.
    """

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class RecformerForPreTrainingOutput(ModelOutput):
    """The output of [`RecformerForPretraining`].

    Args:
        loss (`Tensor`, scalar): `contrastive_loss + mlm_weight * (mlm_context_loss + mlm_item_loss)`.
        contrastive_loss (`Tensor`, scalar): item-item contrastive loss.
        mlm_context_loss, mlm_item_loss (`Tensor`, scalars, with `mlm_labels`): each the mean over its own masked
            tokens.
        logits (`Tensor` `[batch, batch]`): cosine / temperature of every context with every item of the batch.
        mlm_logits (`Tensor` `[num_masked, vocab_size]`): predictions at the masked tokens, in the order of the batch.
        context_embeds, item_embeds (`Tensor` `[batch, hidden_size]`): the vectors behind `logits`.
    """

    loss: Tensor | None = None
    contrastive_loss: Tensor | None = None
    mlm_context_loss: Tensor | None = None
    mlm_item_loss: Tensor | None = None
    logits: Tensor | None = None
    mlm_logits: Tensor | None = None
    context_embeds: Tensor | None = None
    item_embeds: Tensor | None = None


@dataclass
class RecformerForSeqRecOutput(ModelOutput):
    """The output of [`RecformerForSeqRec`].

    Args:
        loss (`Tensor`, scalar, with `labels`): cross-entropy of the target, the mean over the batch.
        scores (`Tensor` `[batch, num_items]`, or `[batch, num_candidates]` with `candidates`): cosine / temperature.
            None when the loss was taken over sampled negatives.
        user_embeds (`Tensor` `[batch, hidden_size]`): the vectors of the histories.
        hidden_states, attentions: as in [`RecformerModelOutput`].
    """

    loss: Tensor | None = None
    scores: Tensor | None = None
    user_embeds: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None

    @property
    def logits(self) -> Tensor | None:
        """The scores under the name that classifiers use: the classes are items."""
        return self.scores

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__("scores" if key == "logits" else key)  # type: ignore[no-untyped-call]


__all__ = ["RecformerForPreTrainingOutput", "RecformerForSeqRecOutput", "RecformerModelOutput"]
