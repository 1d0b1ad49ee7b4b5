"""The encoder's modules, under Longformer's names: embeddings, the two attentions, feed-forward, layers.

Everything here works on a packed row `[total_tokens, hidden_size]`.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from ..configuration_recformer import RecformerConfig
from .attention import ALL_ATTENTION_FUNCTIONS
from .first_token import at_least_float32, first_token_attention
from .inputs import refuse_export
from .kernels import dropout, dropout_add, extra_rows, feed_forward, linear
from .packing import SequenceLayout
from .plain_modules import is_untouched


class RecformerLayerNorm(nn.LayerNorm):
    """Layer norm of hidden states that may have a wider dtype than its weights."""

    def forward(self, hidden: Tensor) -> Tensor:
        # The norms may be in 16 bits, but the residual stream never is.
        weight, bias = self.weight.to(hidden.dtype), self.bias.to(hidden.dtype)
        return F.layer_norm(hidden, self.normalized_shape, weight, bias, self.eps)


class RecformerDropout(nn.Dropout):
    """Dropout that can add the residual in the same pass."""

    def forward(self, hidden: Tensor, residual: Tensor | None = None) -> Tensor:
        """Drops elements of `hidden`, and adds the residual, if given: of the same shape and at least as wide a
        dtype."""
        if residual is None:
            return dropout(hidden, self.p, self.training)
        return dropout_add(hidden, residual, self.p, self.training)


class RecformerEmbeddings(nn.Module):
    """Sum of token, token position, token type and item position embeddings (Recformer, equation 2), normalised."""

    def __init__(self, config: RecformerConfig) -> None:
        super().__init__()
        width = config.hidden_size
        assert config.max_position_embeddings is not None, "set by the configuration's constructor"
        self.word_embeddings = nn.Embedding(config.vocab_size, width, padding_idx=config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width, padding_idx=config.pad_token_id)
        if config.use_token_type_embeddings:
            self.token_type_embeddings = nn.Embedding(config.token_type_size, width)
        if config.use_item_position_embeddings:
            self.item_position_embeddings = nn.Embedding(config.max_item_embeddings, width)
        self.LayerNorm = RecformerLayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = RecformerDropout(config.hidden_dropout_prob)
        self.config = config

    def forward(self, words: Tensor, token_type_ids: Tensor, item_position_ids: Tensor, position_ids: Tensor) -> Tensor:
        """Embedded words `[total_tokens, hidden_size]` and ids `[total_tokens]` -> the first layer's input."""
        hidden = at_least_float32(words) + self.position_embeddings(position_ids)
        if self.config.use_token_type_embeddings:
            hidden = hidden + self.token_type_embeddings(token_type_ids)
        if self.config.use_item_position_embeddings:
            hidden = hidden + self.item_position_embeddings(item_position_ids)
        output: Tensor = self.dropout(self.LayerNorm(hidden))
        return output


class RecformerSelfAttention(nn.Module):
    """The two attentions of a layer: every token over its window, and `<s>` over its sequence."""

    def __init__(self, config: RecformerConfig, layer_index: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.half_window = config.attention_windows[layer_index] // 2
        self.dropout = config.attention_probs_dropout_prob
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.query_global = nn.Linear(width, width)
        self.key_global = nn.Linear(width, width)
        self.value_global = nn.Linear(width, width)

    def forward(
        self,
        hidden: Tensor,
        layout: SequenceLayout,
        implementation: str,
        rows: Tensor | None = None,
        first_tokens_only: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attends from all tokens of `hidden`, or from some of them; arguments are those of [`RecformerLayer`].

        Returns:
            the attended values `[num_tokens, hidden_size]` and, if `eager`, the probabilities.
        """
        dropout = self.dropout if self.training else 0.0  # a number, because attention draws its masks itself
        with_probabilities = implementation == "eager"
        if first_tokens_only:
            return first_token_attention(self, hidden, layout, dropout)
        key, value = linear(self.key, hidden), linear(self.value, hidden)
        if rows is not None:
            # The window attends from every token, but only these rows get a real query (the others get zeros) and are
            # read.
            query = torch.zeros_like(key).index_copy(0, rows, linear(self.query, hidden[rows]))
        else:
            query = linear(self.query, hidden)
        window = ALL_ATTENTION_FUNCTIONS[implementation]
        output, probabilities = window(query, key, value, layout, self.num_heads, self.half_window, dropout)
        if rows is not None:
            return output[rows], None
        first, first_probabilities = first_token_attention(self, hidden, layout, dropout, with_probabilities)
        if probabilities is not None and first_probabilities is not None:
            probabilities = torch.cat(
                [first_probabilities[:, :, None].to(probabilities.dtype), probabilities[:, :, 1:]], 2
            )
        return output.index_copy(0, layout.first_tokens, first.to(output.dtype)), probabilities


class RecformerSelfOutput(nn.Module):
    """What follows the attention: projection, residual, layer norm."""

    def __init__(self, config: RecformerConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = RecformerLayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = RecformerDropout(config.hidden_dropout_prob)

    def forward(self, attended: Tensor, residual: Tensor) -> Tensor:
        """Projects `attended`, adds the residual and normalises, all `[num_tokens, hidden_size]`."""
        output: Tensor = self.LayerNorm(self.dropout(linear(self.dense, attended), residual))
        return output


class RecformerAttention(nn.Module):
    """The first half of a layer."""

    def __init__(self, config: RecformerConfig, layer_index: int) -> None:
        super().__init__()
        self.self = RecformerSelfAttention(config, layer_index)
        self.output = RecformerSelfOutput(config)

    def forward(
        self,
        hidden: Tensor,
        layout: SequenceLayout,
        implementation: str,
        dtype: torch.dtype,
        rows: Tensor | None = None,
        first_tokens_only: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Computes attention in `dtype`, adds the input and normalises; the rest is as in [`RecformerLayer`]."""
        attended, probabilities = self.self(hidden.to(dtype), layout, implementation, rows, first_tokens_only)
        residual = hidden[layout.first_tokens] if first_tokens_only else hidden if rows is None else hidden[rows]
        return self.output(attended, residual), probabilities


class RecformerIntermediate(nn.Module):
    """The first linear layer of the feed-forward and its activation."""

    def __init__(self, config: RecformerConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACT2FN[config.hidden_act]

    def forward(self, hidden: Tensor) -> Tensor:
        activated: Tensor = self.activation(linear(self.dense, hidden))
        return activated


class RecformerOutput(nn.Module):
    """What follows the feed-forward: residual and layer norm. Its `dense` is the second linear layer."""

    def __init__(self, config: RecformerConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.intermediate_size, config.hidden_size)
        self.LayerNorm = RecformerLayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = RecformerDropout(config.hidden_dropout_prob)

    def forward(self, projected: Tensor, residual: Tensor) -> Tensor:
        """Adds the residual to what `dense` gave, which the layer calls, and normalises."""
        output: Tensor = self.LayerNorm(self.dropout(projected, residual))
        return output


class RecformerLayer(GradientCheckpointingLayer):
    """One post-norm Transformer layer over a packed row."""

    def __init__(self, config: RecformerConfig, layer_index: int) -> None:
        super().__init__()
        self.attention = RecformerAttention(config, layer_index)
        self.intermediate = RecformerIntermediate(config)
        self.output = RecformerOutput(config)

    def compute_dtype(self, device_type: str) -> torch.dtype:
        """The dtype that the linear layers compute in: autocast's if it is on, else their weights', or the norms' if
        quantised."""
        if torch.is_autocast_enabled(device_type):  # one cast by the layer replaces one by every linear layer
            return torch.get_autocast_dtype(device_type)
        weight = getattr(self.output.dense, "weight", None)
        if isinstance(weight, Tensor) and weight.is_floating_point() and weight.dtype.itemsize > 1:  # float8 is storage
            return weight.dtype
        return self.output.LayerNorm.weight.dtype

    def forward(
        self,
        hidden: Tensor,
        layout: SequenceLayout,
        implementation: str,
        rows: Tensor | None = None,
        first_tokens_only: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """
        Args:
            hidden (`Tensor` `[total_tokens, hidden_size]`): the packed row.
            layout: where the sequences lie.
            implementation: a name of `ALL_ATTENTION_FUNCTIONS`.
            rows (`Tensor` `[num_rows]`, *optional*): compute only these tokens; `<s>` must not be among them.
            first_tokens_only: compute only the `<s>` of each sequence, which needs no window at all.

        Returns:
            the computed tokens, `[num_tokens, hidden_size]`, and the attention probabilities if `eager`.
        """
        dtype = self.compute_dtype(hidden.device.type)
        hidden, probabilities = self.attention(hidden, layout, implementation, dtype, rows, first_tokens_only)
        return self.output(self.feed_forward(hidden.to(dtype)), hidden), probabilities

    def feed_forward(self, hidden: Tensor) -> Tensor:
        """The two linear layers and the activation between them, `[num_rows, hidden_size]`."""
        first, second = self.intermediate, self.output.dense
        # A hook on the intermediate module, or another module in its place, is only reached by a call.
        if is_untouched(first, RecformerIntermediate):
            return feed_forward(first.dense, first.activation, second, hidden)
        return linear(second, first(hidden))


class RecformerEncoder(nn.Module):
    """The stack of layers, over a packed row."""

    def __init__(self, config: RecformerConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList([RecformerLayer(config, index) for index in range(config.num_hidden_layers)])
        self.gradient_checkpointing = False  # transformers switches it on in modules that have this attribute

    def forward(
        self,
        hidden: Tensor,
        layout: SequenceLayout,
        implementation: str,
        num_layers: int | None = None,
        keep_states: bool = False,
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Runs the first `num_layers` layers; by default all of them.

        Returns:
            the last states `[total_tokens, hidden_size]`; with `keep_states` the input and the states after every
            layer; and, if `eager`, the attentions of every layer.
        """
        states, attentions = [hidden] if keep_states else [], []
        hidden = self._with_extra_rows(hidden, implementation)
        for layer in self.layer[:num_layers]:
            hidden, probabilities = layer(hidden, layout, implementation)
            if keep_states:
                states.append(hidden[: layout.total_tokens])
            if probabilities is not None:
                attentions.append(probabilities)
        return hidden[: layout.total_tokens], states, attentions

    def __prepare_scriptable__(self) -> RecformerEncoder:
        """Called by `torch.jit.script` before it compiles a model, for which its own error would name some line."""
        refuse_export()

    def last_layer(
        self,
        hidden: Tensor,
        layout: SequenceLayout,
        implementation: str,
        rows: Tensor | None = None,
        first_tokens_only: bool = False,
    ) -> Tensor:
        """Runs the last layer alone, after `forward` ran all others, for the tokens whose states are needed.

        Args:
            hidden, layout, implementation, rows, first_tokens_only: as in [`RecformerLayer`].

        Returns:
            the computed tokens, `[num_tokens, hidden_size]`.
        """
        if not first_tokens_only:  # <s> alone needs no window
            hidden = self._with_extra_rows(hidden, implementation)
        output: Tensor = self.layer[-1](hidden, layout, implementation, rows, first_tokens_only)[0]
        return output[: layout.total_tokens] if rows is None and not first_tokens_only else output

    def extra_rows(self, num_rows: int, device: torch.device) -> int:
        """How many rows to run in addition to `num_rows`, for speed; see `kernels.extra_rows`."""
        first = cast(RecformerLayer, self.layer[0])
        return extra_rows(num_rows, first.compute_dtype(device.type), device)

    def _with_extra_rows(self, hidden: Tensor, implementation: str) -> Tensor:
        # Only the blocked window takes rows after the last token.
        count = self.extra_rows(len(hidden), hidden.device) if implementation == "sdpa" else 0
        return F.pad(hidden, (0, 0, 0, count)) if count else hidden
