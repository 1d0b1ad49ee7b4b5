"""transformers' own Longformer encoder on a Recformer's weights: the oracle of the parity tests."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from transformers import LongformerConfig
from transformers.models.longformer.modeling_longformer import LongformerEncoder

from recformer_hf.modeling_recformer import RecformerModel


def oracle_encoder(model: RecformerModel) -> LongformerEncoder:
    config = model.config
    encoder = LongformerEncoder(
        LongformerConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            intermediate_size=config.intermediate_size,
            attention_window=config.attention_windows,
            layer_norm_eps=config.layer_norm_eps,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )
    encoder.load_state_dict(model.encoder.state_dict())
    return encoder.to(next(model.parameters()).dtype)


def oracle_states(
    model: RecformerModel, encoder: LongformerEncoder, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """Hidden states of every layer, `[batch, seq_len, hidden_size]`, for a padded batch with `<s>` global."""
    mask = batch["attention_mask"]
    positions = torch.arange(mask.shape[1]) + model.config.pad_token_id + 1
    embeddings = model.embeddings
    hidden = embeddings.word_embeddings(batch["input_ids"]) + embeddings.position_embeddings(positions)
    if model.config.use_token_type_embeddings:
        hidden = hidden + embeddings.token_type_embeddings(batch["token_type_ids"])
    if model.config.use_item_position_embeddings:
        hidden = hidden + embeddings.item_position_embeddings(batch["item_position_ids"])
    hidden = embeddings.LayerNorm(hidden)
    signs = torch.where(mask == 1, 0.0, -10000.0)
    signs[:, 0] = 10000.0
    padding = -mask.shape[1] % max(model.config.attention_windows)
    output = encoder(
        F.pad(hidden, (0, 0, 0, padding)),
        attention_mask=F.pad(signs, (0, padding), value=-10000.0),
        padding_len=padding,
        output_hidden_states=True,
    )
    return output.hidden_states
