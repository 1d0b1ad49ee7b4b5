"""Recformer models: the encoder, the pretraining head and the sequential-recommendation head.

Inputs come padded (`[batch, seq_len]` with `attention_mask`) or packed (`[1, total_tokens]` with `cu_seqlens`); outputs
come in the form of the input. Hidden states are kept in float32 at least, whatever the dtype of the weights: in
bfloat16 the sum over the layers would lose more than the layers themselves do.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel, initialization
from transformers.utils import ModelOutput, logging

from .configuration_recformer import RecformerConfig
from .encoder.attention import IMPLEMENTATIONS, select_implementation
from .encoder.cpu_linear import apply_linear, is_plain_linear, is_untouched
from .encoder.inputs import PackedInputs, check_range, pack_inputs
from .encoder.layers import RecformerEmbeddings, RecformerEncoder, RecformerLayerNorm
from .encoder.losses import (
    candidate_scores,
    contrastive_loss,
    draw_negatives,
    masked_token_losses,
    similarity_scores,
)
from .encoder.packing import SequenceLayout
from .items.catalog import ItemCatalog
from .recommending.companions import NO_ITEMS
from .recommending.recommend import RecommendationMixin
from .storage.remote_code import SavesCode

logger = logging.get_logger(__name__)


@dataclass
class RecformerModelOutput(ModelOutput):
    """What [`RecformerModel`] returns.

    Args:
        last_hidden_state (`Tensor` `[batch, seq_len, hidden_size]`, packed `[1, total_tokens, hidden_size]`): None with
            `pooled_only`. Zero at padding.
        pooler_output (`Tensor` `[batch, hidden_size]`): a vector a sequence (`config.pooler_type`).
        hidden_states (`tuple` of `Tensor`, with `output_hidden_states`): the embeddings and every layer's output,
            shaped like `last_hidden_state`.
        attentions (`tuple` of `Tensor` `[batch, num_heads, seq_len, seq_len]`, with `output_attentions`): who attends
            to whom in every layer, the row of `<s>` from its own projections; `seq_len` is the longest sequence's.
    """

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class RecformerForPreTrainingOutput(ModelOutput):
    """What [`RecformerForPretraining`] returns.

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
    """What [`RecformerForSeqRec`] returns.

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


class RecformerPreTrainedModel(SavesCode, PreTrainedModel):  # type: ignore[misc]
    """Loading, saving and initialisation shared by all Recformer models."""

    config: RecformerConfig
    config_class = RecformerConfig
    base_model_prefix = "recformer"
    supports_gradient_checkpointing = True
    _no_split_modules = ["RecformerEmbeddings", "RecformerLayer"]
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    # Trainer must not take `forward(**kwargs)` for a loss that is already scaled for gradient accumulation.
    accepts_loss_kwargs = False

    _code_modules: tuple[str, ...] = ("modeling_recformer", "pipeline_recformer")
    # The same whichever head is saved.
    _auto_map_entries = {
        "AutoConfig": "configuration_recformer.RecformerConfig",
        "AutoModel": "modeling_recformer.RecformerModel",
        "AutoModelForPreTraining": "modeling_recformer.RecformerForPretraining",
        "AutoModelForSequenceClassification": "modeling_recformer.RecformerForSeqRec",
    }
    # Weights of other heads that a checkpoint may carry; everything else that does not fit is an error.
    _droppable_weights: tuple[str, ...] = ("lm_head.", "item_embeddings")
    _optional_weights: tuple[str, ...] = ()

    def __init__(self, config: RecformerConfig, *args: Any, **kwargs: Any) -> None:
        config.validate_architecture()  # again, because `from_pretrained(..., name=value)` sets values afterwards
        super().__init__(config, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, RecformerForSeqRec):
            initialization.zeros_(module.item_embeddings)

    def _check_and_adjust_attn_implementation(  # type: ignore[override]
        self, attn_implementation: str | None, is_init_check: bool = False, **kwargs: Any
    ) -> str | None:
        # transformers would resolve "unset" to "sdpa" here, before device, dtype and mode are known.
        if attn_implementation not in (None, *IMPLEMENTATIONS):
            raise ValueError(
                f"attn_implementation must be one of {', '.join(IMPLEMENTATIONS)}, got {attn_implementation!r}."
            )
        return attn_implementation

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        return True

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *model_args: Any, output_loading_info: bool = False, **kwargs: Any
    ) -> Any:
        """Loads a model as `PreTrainedModel.from_pretrained` does, from a Hub id or a folder.

        The encoder must be whole. A head may be of another kind: `lm_head.*` and `item_embeddings` that this class does
        not have are dropped, an `lm_head` that the checkpoint does not have starts fresh, and absent
        `item_embeddings` mean a catalogue of 0 items; each is logged.

        Raises:
            ValueError: if weights are missing, unexpected or of another shape; the message names them.
        """
        ignore_shapes = kwargs.pop("ignore_mismatched_sizes", False)
        loaded: Any = super().from_pretrained(
            pretrained_model_name_or_path,
            *model_args,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are checked, and named, below
            **kwargs,
        )
        model, info = loaded
        missing = sorted(name for name in info["missing_keys"] if not name.startswith(cls._optional_weights or ("\0",)))
        unexpected = sorted(name for name in info["unexpected_keys"] if not name.startswith(cls._droppable_weights))
        mismatched = sorted(
            f"{name} is {list(found)}, expected {list(expected)}" for name, found, expected in info["mismatched_keys"]
        )
        if missing or unexpected or (mismatched and not ignore_shapes):
            raise ValueError(
                f"{pretrained_model_name_or_path} does not hold a {cls.__name__}: missing weights "
                f"{first_few(missing)}; unexpected weights {first_few(unexpected)}; other shapes "
                f"{first_few(mismatched)}. A checkpoint of another model or of the public replication is read by "
                "recformer_hf.conversion."
            )
        model._after_loading(set(info["missing_keys"]))
        return (model, info) if output_loading_info else model

    def _returns_dict(self, return_dict: bool | None) -> bool:
        return bool(self.config.return_dict if return_dict is None else return_dict)

    def _after_loading(self, missing: set[str]) -> None:
        """What a head does about weights of its own that were not in the checkpoint."""

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
        # "Original" names are whatever transformers renamed while loading, if only in its table of legacy names.
        kwargs.setdefault("save_original_format", False)
        return super().save_pretrained(save_directory, *args, **kwargs)

    save_pretrained.__doc__ = SavesCode.save_pretrained.__doc__

    def _set_auto_map(self, auto_map: dict[str, Any] | None) -> None:
        self.config.__dict__.pop("auto_map", None)
        if auto_map is not None:
            self.config.auto_map = auto_map


def first_few(names: Sequence[str], limit: int = 8) -> str:
    if not names:
        return "none"
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


class RecformerModel(RecformerPreTrainedModel):
    """The Recformer encoder: sequences of item sentences in, hidden states and one vector a sequence out."""

    def __init__(self, config: RecformerConfig) -> None:
        super().__init__(config)
        self.embeddings = RecformerEmbeddings(config)
        self.encoder = RecformerEncoder(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: Any) -> None:
        self.embeddings.word_embeddings = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        item_position_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        max_seqlen: int | None = None,
        pooled_only: bool = False,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> RecformerModelOutput | tuple[Any, ...]:
        """Encodes a padded or a packed batch.

        Args:
            input_ids (`Tensor`, int `[batch, seq_len]`, packed `[1, total_tokens]`): tokens; every sequence starts
                with `<s>`. Or `inputs_embeds`.
            token_type_ids (`Tensor`, int, like `input_ids`): 0 `<s>`, 1 key, 2 value, 3 padding. Zeros if left out.
            item_position_ids (`Tensor`, int, like `input_ids`): 0 `<s>`, 1 the newest item, and so on. Zeros if left
                out.
            attention_mask (`Tensor` `[batch, seq_len]`): non-zero at real tokens; padded batches only. All real if left
                out.
            position_ids (`Tensor`, int, like `input_ids`): rows of the position table. If left out, positions count a
                sequence's tokens from `pad_token_id + 1`.
            inputs_embeds (`Tensor` `[batch, seq_len, hidden_size]`, packed `[1, total_tokens, hidden_size]`): word
                embeddings in place of `input_ids`.
            cu_seqlens (`Tensor`, int `[batch + 1]`): marks a packed batch: where each sequence begins, and the end.
            max_seqlen (`int`): longest sequence of a packed batch. On an accelerator it spares a wait for the device.
            pooled_only: compute `pooler_output` alone. With `pooler_type="cls"` the last layer then works on `<s>`
                only.
            output_hidden_states, output_attentions, return_dict: as everywhere in transformers.

        Returns:
            [`RecformerModelOutput`].

        Raises:
            ValueError: for inputs that contradict each other or the configuration. Values (ids, `cu_seqlens`) are
                checked on CPU tensors only: a check would make an accelerator wait.
        """
        output_hidden_states = (
            self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        )
        output_attentions = self.config.output_attentions if output_attentions is None else output_attentions
        batch = pack_inputs(
            self.config, input_ids, token_type_ids, item_position_ids, attention_mask, position_ids, inputs_embeds,
            cu_seqlens, max_seqlen,
        )  # fmt: skip
        short = pooled_only and self.config.pooler_type == "cls" and not (output_hidden_states or output_attentions)
        num_layers = len(self.encoder.layer) - short
        last, states, attentions = self._encode(batch, num_layers, bool(output_hidden_states), bool(output_attentions))
        if short:
            pooled = self._last_layer(last, batch.layout, first_tokens_only=True)
        else:
            pooled = self._pool(last, batch.layout)
        output = RecformerModelOutput(
            last_hidden_state=None if pooled_only else batch.restore(last),
            pooler_output=pooled,
            hidden_states=tuple(batch.restore(state) for state in states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )
        return output if self._returns_dict(return_dict) else output.to_tuple()

    def _encode(
        self, batch: PackedInputs, num_layers: int, keep_states: bool = False, output_attentions: bool = False
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        words = batch.tokens if batch.tokens.ndim == 2 else self.embeddings.word_embeddings(batch.tokens)
        hidden = self.embeddings(words, batch.token_type_ids, batch.item_position_ids, batch.position_ids)
        implementation = self._implementation(hidden, output_attentions)
        return self.encoder(hidden, batch.layout, implementation, num_layers, keep_states)

    def _last_layer(self, hidden: Tensor, layout: SequenceLayout, **wanted: Any) -> Tensor:
        return self.encoder.last_layer(hidden, layout, self._implementation(hidden, False), **wanted)

    def _implementation(self, hidden: Tensor, output_attentions: bool) -> str:
        dropout = self.config.attention_probs_dropout_prob if self.training else 0.0
        requested = self.config._attn_implementation
        head_dim = self.config.hidden_size // self.config.num_attention_heads
        return select_implementation(requested, hidden.device, self.dtype, head_dim, dropout, output_attentions)

    def _pool(self, hidden: Tensor, layout: SequenceLayout) -> Tensor:
        if self.config.pooler_type == "cls":
            return hidden[layout.first_tokens]
        sums = hidden.new_zeros(layout.num_sequences, hidden.shape[1]).index_add(0, layout.sequence_ids, hidden)
        return sums / layout.sequence_lengths[:, None]


class RecformerLMHead(nn.Module):
    """Masked-language-modelling head (Recformer, equation 6): dense, GELU, layer norm, decoder."""

    def __init__(self, config: RecformerConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.layer_norm = RecformerLayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self, hidden: Tensor, table: Tensor | None = None) -> Tensor:
        """Masked tokens `[num_masked, hidden_size]` -> `[num_masked, vocab_size]`; `table`: the decoder's weight."""
        hidden = F.gelu(apply_linear(self.dense, hidden.to(self.layer_norm.weight.dtype)))
        return apply_linear(self.decoder, self.layer_norm(hidden), table)


class _SharedTable(torch.autograd.Function):
    """The words of tokens, and the table that they come from for the decoder, which shares it: one gradient for both.

    Apart, looking up has a gradient of the table's size too, zeros but for the batch's words, and the two are added up:
    3 to 6 % of a pretraining step of 1,200 tokens at base size in bfloat16.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, tokens: Tensor, padding_idx: int | None) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(tokens)
        ctx.padding_idx = padding_idx
        return F.embedding(tokens, table), table.view_as(table)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (tokens,) = ctx.saved_tensors
        of_words, of_table = gradients  # the latter the decoder made, for nobody else
        if ctx.padding_idx is not None:
            of_words = of_words.masked_fill((tokens == ctx.padding_idx)[:, None], 0)
        return of_table.index_add_(0, tokens, of_words.to(of_table.dtype)), None, None


class RecformerForPretraining(RecformerPreTrainedModel):
    """Recformer with the two pretraining tasks: item-item contrastive learning and masked language modelling."""

    _tied_weights_keys = {"lm_head.decoder.weight": "recformer.embeddings.word_embeddings.weight"}
    _optional_weights = ("lm_head.",)

    def __init__(self, config: RecformerConfig) -> None:
        super().__init__(config)
        self.recformer = RecformerModel(config)
        self.lm_head = RecformerLMHead(config)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head.decoder

    def set_output_embeddings(self, value: Any) -> None:
        self.lm_head.decoder = value

    def forward(
        self,
        input_ids: Tensor,
        token_type_ids: Tensor | None = None,
        item_position_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        max_seqlen: int | None = None,
        mlm_input_ids: Tensor | None = None,
        mlm_labels: Tensor | None = None,
        masked_rows: Tensor | None = None,
        target_ids: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> RecformerForPreTrainingOutput | tuple[Any, ...]:
        """The pretraining losses of `batch` contexts and their target items.

        The first half of the sequences are the contexts, the second half their target items, in the same order: one
        call of the tokenizer over `contexts + [[item] for item in items]` gives a padded batch. Originals and masked
        copies go through the encoder in one packed pass; the last layer runs for `<s>` of the originals and for the
        masked tokens of the copies only.

        Args:
            input_ids, token_type_ids, item_position_ids (`Tensor`, int `[2 * batch, seq_len]`, packed `[1,
            total_tokens]`):
                contexts and items, as in [`RecformerModel`].
            attention_mask (`Tensor` `[2 * batch, seq_len]`): padded batches only.
            cu_seqlens (`Tensor`, int `[2 * batch + 1]`), max_seqlen (`int`): packed batches only.
            mlm_input_ids (`Tensor`, int, like `input_ids`): the same sequences with tokens masked.
            mlm_labels (`Tensor`, int, like `input_ids`): the tokens to predict, -100 elsewhere. `<s>` is never masked.
            masked_rows (`Tensor`, int `[num_masked]`, *optional*): where a packed batch has them. On an accelerator it
                spares a wait for the device.
            target_ids (`Tensor`, int `[batch]`): which item each target is; the same item twice in a batch is then no
                negative of itself.
            return_dict: as everywhere in transformers.

        Returns:
            [`RecformerForPreTrainingOutput`].

        Raises:
            ValueError: as [`RecformerModel`], and for an odd number of sequences or masked copies without labels.
        """
        if (mlm_input_ids is None) != (mlm_labels is None):
            raise ValueError("Give mlm_input_ids and mlm_labels together, or neither.")
        batch = pack_inputs(
            self.config, input_ids, token_type_ids, item_position_ids, attention_mask, cu_seqlens=cu_seqlens,
            max_seqlen=max_seqlen,
        )  # fmt: skip
        layout = batch.layout
        if layout.num_sequences % 2:
            raise ValueError(
                f"The batch holds {layout.num_sequences} sequences; it must hold as many target items as contexts, "
                "contexts first."
            )
        pairs = layout.num_sequences // 2
        if target_ids is not None and target_ids.shape != (pairs,):
            raise ValueError(f"target_ids must be [{pairs}], one for each context, got {list(target_ids.shape)}.")
        masked: Tensor | None = None
        if mlm_input_ids is not None and mlm_labels is not None:
            for name, value in (("mlm_input_ids", mlm_input_ids), ("mlm_labels", mlm_labels)):
                if value.shape != input_ids.shape:
                    raise ValueError(f"{name} has shape {list(value.shape)}, but input_ids {list(input_ids.shape)}.")
            if masked_rows is not None and batch.padded is not None:
                raise ValueError("masked_rows are rows of a packed batch; leave them out of a padded one.")
            copies, labels = batch.pack_alike(mlm_input_ids), batch.pack_alike(mlm_labels)
            check_range("mlm_input_ids", copies, self.config.vocab_size, "vocab_size")
            masked = (labels != -100).nonzero().squeeze(1) if masked_rows is None else masked_rows
            check_range("mlm_labels", labels[masked], self.config.vocab_size, "vocab_size")
            if labels.device.type == "cpu" and bool((labels[layout.first_tokens] != -100).any()):
                raise ValueError("mlm_labels must be -100 at the first token of every sequence: <s> is never masked.")
            batch = batch.followed_by_copies(copies)
        table: Tensor | None = None
        if masked is not None and self._shares_gradient(batch.tokens):
            words = self.recformer.get_input_embeddings()
            batch.tokens, table = _SharedTable.apply(words.weight, batch.tokens, words.padding_idx)

        states, _, _ = self.recformer._encode(batch, self.config.num_hidden_layers - 1)
        vectors = self._sequence_vectors(states[: layout.total_tokens], layout)
        contexts, items = vectors[:pairs], vectors[pairs:]
        scores = similarity_scores(contexts, items, self.config.temperature)
        loss = contrastive = contrastive_loss(scores, target_ids)
        output = RecformerForPreTrainingOutput(
            contrastive_loss=contrastive, logits=scores, context_embeds=contexts, item_embeds=items
        )
        if masked is not None:
            rows = self._with_rows_beyond(masked, labels, layout)
            hidden = self.recformer._last_layer(states[layout.total_tokens :], layout, rows=rows)
            output.mlm_logits = self.lm_head(hidden, table)[: len(masked)]
            in_context, in_item = masked_token_losses(
                output.mlm_logits, labels[masked], in_context=layout.sequence_ids[masked] < pairs
            )
            output.mlm_context_loss, output.mlm_item_loss = in_context, in_item
            loss = contrastive + self.config.mlm_weight * (in_context + in_item)
        output.loss = loss
        return output if self._returns_dict(return_dict) else output.to_tuple()

    def _shares_gradient(self, tokens: Tensor) -> bool:
        """Whether words and decoder have a gradient in common, on a CPU, and nobody's hook is on either."""
        words, decoder = self.recformer.get_input_embeddings(), self.lm_head.decoder
        return (
            tokens.device.type == "cpu"
            and not torch.compiler.is_compiling()
            and torch.is_grad_enabled()
            and is_untouched(words, nn.Embedding)
            and words.max_norm is None
            and not (words.scale_grad_by_freq or words.sparse)
            and is_plain_linear(decoder)
            and words.weight is decoder.weight
            and words.weight.requires_grad
        )

    def _with_rows_beyond(self, masked: Tensor, labels: Tensor, layout: SequenceLayout) -> Tensor:
        """The masked tokens and, on a CPU, a few others, so that fewer numbers of rows occur."""
        beyond = self.recformer.encoder.rows_beyond(len(masked), labels.device)
        if not beyond:
            return masked
        others = ((labels == -100) & (layout.positions > 0)).nonzero().squeeze(1)
        return torch.cat([masked, others[:beyond]])

    def _sequence_vectors(self, hidden: Tensor, layout: SequenceLayout) -> Tensor:
        if self.config.pooler_type == "cls":
            return self.recformer._last_layer(hidden, layout, first_tokens_only=True)
        return self.recformer._pool(self.recformer._last_layer(hidden, layout), layout)


class RecformerForSeqRec(RecommendationMixin, RecformerPreTrainedModel):
    """Recformer that scores a catalogue of items for a history, by cosine similarity with their vectors.

    `item_embeddings` `[config.num_items, hidden_size]` is a weight like any other: saved, loaded and sharded with the
    model. It stays in float32 and takes no gradient unless it is asked to. `catalog`, where there is one, names its
    rows; it is saved and loaded beside the weights.

    ```python
    >>> model = RecformerForSeqRec.from_pretrained(folder).with_catalog({"B01": {"title": "Hammer"}, ...}, tokenizer)
    >>> model.recommend([["B01", {"title": "Nails"}]], tokenizer, top_k=5).item_ids
    ```
    """

    _droppable_weights = ("lm_head.",)
    _optional_weights = ("item_embeddings",)
    _keep_in_fp32_modules_strict = ["item_embeddings"]

    def __init__(self, config: RecformerConfig) -> None:
        super().__init__(copy.deepcopy(config))  # its own, because `num_items` changes with the catalogue
        self.recformer = RecformerModel(self.config)
        empty = torch.zeros(config.num_items, config.hidden_size, dtype=torch.float32)
        self.item_embeddings = nn.Parameter(empty, requires_grad=False)
        self.post_init()

    @property
    def dtype(self) -> torch.dtype:
        """Of the encoder; `item_embeddings` are float32 in any case."""
        return self.recformer.dtype

    def _apply(self, fn: Any, recurse: bool = True) -> RecformerForSeqRec:
        exact = self.item_embeddings.data
        super()._apply(fn, recurse)
        if self.item_embeddings.dtype != torch.float32:
            self.item_embeddings.data = exact.to(self.item_embeddings.device)
        return self

    def _after_loading(self, missing: set[str]) -> None:
        self.item_embeddings.requires_grad_(False)  # loading makes every weight trainable
        if "item_embeddings" in missing and self.config.num_items:
            logger.warning(
                f"The checkpoint names {self.config.num_items} items but holds no item_embeddings: the catalogue is "
                "empty now. Fill it with model.set_item_embeddings(model.encode_items(items, tokenizer))."
            )
            self.set_item_embeddings(torch.zeros(0, self.config.hidden_size))

    def _set_auto_map(self, auto_map: dict[str, Any] | None) -> None:
        super()._set_auto_map(auto_map)
        self.config.__dict__.pop("custom_pipelines", None)
        if auto_map is not None:
            self.config.custom_pipelines = {
                "sequential-recommendation": {
                    "impl": "pipeline_recformer.SequentialRecommendationPipeline",
                    "pt": ["AutoModelForSequenceClassification"],
                    "type": "text",
                }
            }

    def set_item_embeddings(self, embeddings: Tensor, catalog: ItemCatalog | None = None) -> None:
        """Replaces the items' vectors; `config.num_items` follows.

        Args:
            embeddings (`Tensor`, float `[num_items, hidden_size]`): one vector an item; copied, in float32.
            catalog: what the rows are. Left out, the model has no catalogue afterwards: the one before may name other
                items. The same items encoded anew are `set_item_embeddings(vectors, model.catalog)`.

        Raises:
            ValueError: for another shape, values that are not finite, or a catalogue of another number of items.
        """
        width = self.config.hidden_size
        if embeddings.ndim != 2 or embeddings.shape[1] != width:
            raise ValueError(f"Item embeddings must be [num_items, {width}], got {list(embeddings.shape)}.")
        embeddings = embeddings.detach().to(device=self.item_embeddings.device, dtype=torch.float32)
        if not bool(torch.isfinite(embeddings).all()):
            raise ValueError("Item embeddings hold NaN or infinite values.")
        if catalog is not None and len(catalog) != len(embeddings):
            raise ValueError(f"There are {len(embeddings):,} item embeddings, but {len(catalog):,} items.")
        if embeddings.shape == self.item_embeddings.shape:
            self.item_embeddings.data.copy_(embeddings)
        else:
            trainable = self.item_embeddings.requires_grad
            self.item_embeddings = nn.Parameter(embeddings.clone(), requires_grad=trainable)
        self.config.num_items = embeddings.shape[0]
        self.catalog = catalog

    def forward(
        self,
        input_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        item_position_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        max_seqlen: int | None = None,
        candidates: Tensor | None = None,
        labels: Tensor | None = None,
        num_negatives: int | None = None,
        negatives: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> RecformerForSeqRecOutput | tuple[Any, ...]:
        """Scores items for histories.

        Args:
            input_ids ... max_seqlen, output_hidden_states, output_attentions, return_dict: as in [`RecformerModel`].
            candidates (`Tensor`, int `[batch, num_candidates]`): score these items only.
            labels (`Tensor`, int `[batch]`): the item that came next; gives `loss`. With `candidates` it must be one of
                the row's own.
            num_negatives (`int`): take the loss over the target and this many items drawn for each row, never the
                target itself, in place of the whole catalogue (sampled softmax).
            negatives (`Tensor`, int `[batch, num_negatives]`): the same with negatives of the caller's, taken as they
                are.

        Returns:
            [`RecformerForSeqRecOutput`].

        Raises:
            ValueError: as [`RecformerModel`], for items outside the catalogue, for a catalogue that is empty, and for
                arguments that exclude each other.
        """
        tokens = input_ids if inputs_embeds is None else inputs_embeds
        batch_size = None if tokens is None else tokens.shape[0] if cu_seqlens is None else len(cu_seqlens) - 1
        self._check_items(batch_size, candidates, labels, num_negatives, negatives)
        output = self.recformer(
            input_ids, token_type_ids, item_position_ids, attention_mask, position_ids, inputs_embeds, cu_seqlens,
            max_seqlen, pooled_only=True, output_hidden_states=output_hidden_states,
            output_attentions=output_attentions, return_dict=True,
        )  # fmt: skip
        users, temperature = output.pooler_output, self.config.temperature
        labels = None if labels is None else labels.long()
        scores = loss = None
        if labels is not None and num_negatives:
            negatives = draw_negatives(labels, self.config.num_items, num_negatives)
        if negatives is not None and labels is not None:
            sampled = torch.cat([labels[:, None], negatives], dim=1)
            sampled_scores = candidate_scores(users, self.item_embeddings[sampled], temperature)
            loss = F.cross_entropy(sampled_scores, torch.zeros_like(labels))
        elif candidates is not None:
            scores = candidate_scores(users, self.item_embeddings[candidates], temperature)
            if labels is not None:
                loss = F.cross_entropy(scores, (candidates == labels[:, None]).int().argmax(1))
        else:
            scores = similarity_scores(users, self.item_embeddings, temperature)
            if labels is not None:
                loss = F.cross_entropy(scores, labels)
        result = RecformerForSeqRecOutput(
            loss=loss,
            scores=scores,
            user_embeds=users,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
        )
        return result if self._returns_dict(return_dict) else result.to_tuple()

    def _check_items(
        self,
        batch_size: int | None,
        candidates: Tensor | None,
        labels: Tensor | None,
        num_negatives: int | None,
        negatives: Tensor | None,
    ) -> None:
        """Everything about items, before any work on the histories."""
        num_items = self.config.num_items
        if num_items == 0:
            raise ValueError(NO_ITEMS)
        if sum(option is not None for option in (candidates, num_negatives, negatives)) > 1:
            raise ValueError("Give at most one of candidates, num_negatives and negatives.")
        if labels is None and (num_negatives is not None or negatives is not None):
            raise ValueError("Negatives serve the loss only: give labels with them, or use candidates to score items.")
        if num_negatives is not None and (num_negatives < 1 or num_items < 2):
            raise ValueError(
                f"num_negatives must be at least 1 and the catalogue must hold a second item, got num_negatives "
                f"{num_negatives} and {num_items} items."
            )
        if labels is not None and labels.ndim != 1:
            raise ValueError(f"labels must be [batch], got shape {list(labels.shape)}.")
        for name, value in (("candidates", candidates), ("negatives", negatives)):
            if value is not None and (value.ndim != 2 or value.shape[1] == 0):
                raise ValueError(f"{name} must be [batch, num_{name}], got shape {list(value.shape)}.")
        for name, value in (("labels", labels), ("candidates", candidates), ("negatives", negatives)):
            if value is not None:
                if batch_size is not None and len(value) != batch_size:
                    raise ValueError(f"{name} has {len(value)} rows, but the batch has {batch_size} histories.")
                check_range(name, value, num_items, "num_items")
        if candidates is not None and labels is not None and labels.device.type == "cpu":
            absent = ~(candidates == labels[:, None]).any(1)
            if bool(absent.any()):
                row = int(absent.nonzero()[0])
                raise ValueError(f"Row {row}: the label ({int(labels[row])}) is not among the row's candidates.")


__all__ = [
    "RecformerForPreTrainingOutput",
    "RecformerForPretraining",
    "RecformerForSeqRec",
    "RecformerForSeqRecOutput",
    "RecformerModel",
    "RecformerModelOutput",
    "RecformerPreTrainedModel",
]
