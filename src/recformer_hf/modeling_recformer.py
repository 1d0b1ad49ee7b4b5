"""Recformer models: the encoder, the pretraining head and the sequential-recommendation head.

Inputs are padded (`[batch, seq_len]` with `attention_mask`) or packed (`[1, total_tokens]` with `cu_seqlens`); outputs
have the form of the input. Hidden states are in float32 or wider: bfloat16 would lose more in the sum over the layers.
"""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, initialization
from transformers.utils import logging

from .configuration_recformer import RecformerConfig
from .encoder.attention import IMPLEMENTATIONS, select_implementation
from .encoder.checkpoint import (
    HeadChange,
    check_loadable,
    check_names,
    check_numbers,
    check_savable,
    readable_checkpoint,
    remove_older_weights,
)
from .encoder.inputs import PackedInputs, check_range, check_tensors, pack_inputs
from .encoder.item_arguments import check_item_arguments, num_sequences
from .encoder.kernels import align_weights
from .encoder.layers import RecformerEmbeddings, RecformerEncoder
from .encoder.lm_head import RecformerLMHead
from .encoder.losses import contrastive_loss, masked_token_losses, similarity_scores
from .encoder.offloading import check_not_meta, execution_device, in_memory, keep_in_memory
from .encoder.outputs import RecformerForPreTrainingOutput, RecformerForSeqRecOutput, RecformerModelOutput
from .encoder.packing import SequenceLayout
from .heads.history_items import checked_histories
from .heads.scores import Queries, encodes_items, items_of_batch, scores_and_loss
from .heads.scoring_head import ScoringHead
from .recommending.checked_vectors import check_finite
from .recommending.item_store import ITEM_WEIGHTS, NO_ITEMS, CheckpointSource, ItemStore
from .recommending.recommender import RecommenderMixin
from .storage.remote_code import SavesCode

logger = logging.get_logger(__name__)

# Arguments of `save_pretrained` that are passed on to `push_to_hub`.
_PUSH_OPTIONS = ("commit_message", "private", "token", "revision", "create_pr", "tags", "max_shard_size")


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
    # They do not depend on the head that is saved, so that every Auto class can load the checkpoint.
    _auto_map_entries = {
        "AutoConfig": "configuration_recformer.RecformerConfig",
        "AutoModel": "modeling_recformer.RecformerModel",
        "AutoModelForPreTraining": "modeling_recformer.RecformerForPretraining",
        "AutoModelForSequenceClassification": "modeling_recformer.RecformerForSeqRec",
    }
    # Weights of other heads, which are dropped. Any other weight that this class does not have is an error.
    _droppable_weights: tuple[str, ...] = ("lm_head.", *ITEM_WEIGHTS, "scoring_head.")
    # Weights of this head that the checkpoint of another head does not have.
    _optional_weights: tuple[str, ...] = ()

    def __init__(self, config: RecformerConfig, *args: Any, **kwargs: Any) -> None:
        config.validate_architecture()  # again, because `from_pretrained(..., name=value)` sets values after the check
        super().__init__(config, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[no-untyped-call]
        if isinstance(module, RecformerForSeqRec):
            for name in ITEM_WEIGHTS:
                if (weights := getattr(module, name)) is not None:
                    initialization.zeros_(weights)
        elif isinstance(module, ScoringHead):
            module.init_weights()

    def _check_and_adjust_attn_implementation(  # type: ignore[override]
        self, attn_implementation: str | None, is_init_check: bool = False, **kwargs: Any
    ) -> str | None:
        # transformers would replace None by "sdpa" here, before device, dtype and mode are known.
        if attn_implementation not in (None, *IMPLEMENTATIONS):
            known = ", ".join(IMPLEMENTATIONS)
            raise ValueError(f"attn_implementation must be one of {known}, got {attn_implementation!r}.")
        return attn_implementation

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        return True

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *model_args: Any, output_loading_info: bool = False, **kwargs: Any
    ) -> Any:
        """Loads a model from a folder or a Hub id, as `PreTrainedModel.from_pretrained` does.

        The checkpoint must have every weight of the encoder. It may be of another head: `lm_head.*` and
        `item_embeddings` that this class does not have are dropped, an `lm_head` that the checkpoint does not have is
        initialised, and without `item_embeddings` the catalogue is empty. One line says so. A recommender gets the
        catalogue that lies beside its weights. Its item vectors and head stay in memory whatever `device_map` says.

        Raises:
            ValueError: if weights are missing, unexpected, of another shape or not finite, or a file is damaged; the
                message names them.
            OSError: if the Hub cannot be asked for a recommender's catalogue and no copy of it is cached.
        """
        ignore_shapes = kwargs.pop("ignore_mismatched_sizes", False)
        name = pretrained_model_name_or_path
        kwargs["device_map"] = in_memory(kwargs.get("device_map"), *ITEM_WEIGHTS, "scoring_head")
        with readable_checkpoint(name, kwargs.get("subfolder") or ""):
            # Other shapes are let through, because `check_names` names them.
            options = {**kwargs, "output_loading_info": True, "ignore_mismatched_sizes": True}
            loaded: Any = super().from_pretrained(name, *model_args, **options)
        model, info = loaded
        change = model.__dict__.pop("_head_change", HeadChange())
        info["missing_keys"] = {*info["missing_keys"], *change.missing}
        info["unexpected_keys"] = {*info["unexpected_keys"], *change.dropped}
        check_names(name, cls.__name__, info, cls._optional_weights, cls._droppable_weights, ignore_shapes)
        if note := change.note(model.config.num_items):
            logger.warning(f"Loaded {name} into a {cls.__name__}: {note}.")
        commit = getattr(model.config, "_commit_hash", None)
        source = None if name is None else CheckpointSource.of(name, kwargs, commit)
        check_numbers(name, model)
        model._after_loading(set(info["missing_keys"]), source)
        return (model, info) if output_loading_info else model

    def _adjust_missing_and_unexpected_keys(self, loading_info: Any) -> None:
        # transformers calls this before it reports missing and unexpected weights as faults of the checkpoint.
        super()._adjust_missing_and_unexpected_keys(loading_info)
        self._head_change = HeadChange.taken_from(loading_info, self._optional_weights, self._droppable_weights)

    @property
    def device(self) -> torch.device:
        """Where inputs belong: the device of the weights or, if they are offloaded, the one that computes."""
        device: torch.device = super().device
        return execution_device(self) or device if device.type == "meta" else device

    def _returns_dict(self, return_dict: bool | None) -> bool:
        return bool(self.config.return_dict if return_dict is None else return_dict)

    def _after_loading(self, missing: set[str], source: CheckpointSource | None) -> None:
        """Completes a loaded model: weights of its head that were missing, and files beside the weights."""

    def save_pretrained(self, save_directory: Any, *args: Any, push_to_hub: bool = False, **kwargs: Any) -> Any:
        # Otherwise transformers would save under "original" names: those that it renamed while loading, by its table of
        # legacy names.
        kwargs.setdefault("save_original_format", False)
        if kwargs.get("state_dict") is None:
            check_savable(self, [name for name, _ in self.named_parameters(recurse=False)])
            self._check_consistent()
            if getattr(self, "hf_quantizer", None) is None:
                check_loadable(self)
        folder = Path(save_directory)
        replaces = any(folder.glob("model*.safetensors"))
        result = super().save_pretrained(save_directory, *args, **kwargs)
        if kwargs.get("is_main_process", args[0] if args else True):
            remove_older_weights(folder, kwargs.get("variant"))
            self._save_beside(folder, replaces)
            if push_to_hub:  # last, so that the files beside the weights are pushed too
                options = {name: kwargs[name] for name in _PUSH_OPTIONS if kwargs.get(name) is not None}
                options |= {"with_code": True} if kwargs.get("with_code") else {}
                self.push_to_hub(kwargs.get("repo_id") or Path(save_directory).name, **options)
        return result

    save_pretrained.__doc__ = SavesCode.save_pretrained.__doc__

    def _check_consistent(self) -> None:
        """Raises ValueError if the configuration was changed to values that no model can have."""
        self.config.validate_architecture()

    def _save_beside(self, folder: Path, replaces: bool) -> None:
        """Writes the files that lie beside the weights; `replaces`: another model was saved in the folder before."""

    def _set_auto_map(self, auto_map: dict[str, Any] | None) -> None:
        self.config.__dict__.pop("auto_map", None)
        if auto_map is not None:
            self.config.auto_map = auto_map


class RecformerModel(RecformerPreTrainedModel):
    """The Recformer encoder: it turns sequences of item sentences into hidden states and one vector per sequence."""

    def __init__(self, config: RecformerConfig) -> None:
        super().__init__(config)
        self.embeddings = RecformerEmbeddings(config)
        self.encoder = RecformerEncoder(config)
        self.post_init()  # type: ignore[no-untyped-call]

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
            token_type_ids (`Tensor`, int, like `input_ids`): 0 `<s>`, 1 key, 2 value, 3 padding. By default zeros.
            item_position_ids (`Tensor`, int, like `input_ids`): 0 `<s>`, 1 the newest item, and so on. By default
                zeros.
            attention_mask (`Tensor` `[batch, seq_len]`): non-zero at real tokens; only for padded batches. By default
                all tokens are real.
            position_ids (`Tensor`, int, like `input_ids`): rows of the position table. By default positions count the
                tokens of a sequence from `pad_token_id + 1`.
            inputs_embeds (`Tensor` `[batch, seq_len, hidden_size]`, packed `[1, total_tokens, hidden_size]`): word
                embeddings instead of `input_ids`.
            cu_seqlens (`Tensor`, int `[batch + 1]`): where each sequence of a packed batch begins, and the end.
            max_seqlen (`int`): length of the longest sequence of a packed batch. Without it, the model has to wait for
                an accelerator to read it from `cu_seqlens`.
            pooled_only: compute only `pooler_output`. With `pooler_type="cls"` the last layer then works on `<s>`
                alone.
            output_hidden_states, output_attentions, return_dict: as in other transformers models.

        Returns:
            [`RecformerModelOutput`].

        Raises:
            ValueError: for inputs that contradict each other or the configuration. Values (ids, `cu_seqlens`) are
                checked on CPU tensors only, because reading them would make the host wait for an accelerator.
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
        # Two dimensions are `inputs_embeds`: words that the caller has embedded.
        words = batch.tokens if batch.tokens.ndim == 2 else self.embeddings.word_embeddings(batch.tokens)
        hidden = self.embeddings(words, batch.token_type_ids, batch.item_position_ids, batch.position_ids)
        check_not_meta(hidden)
        implementation = self._implementation(hidden, output_attentions)
        result: tuple[Tensor, list[Tensor], list[Tensor]] = self.encoder(
            hidden, batch.layout, implementation, num_layers, keep_states
        )
        return result

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


class RecformerForPretraining(RecformerPreTrainedModel):
    """Recformer with the two pretraining tasks: item-item contrastive learning and masked language modelling."""

    _tied_weights_keys = {"lm_head.decoder.weight": "recformer.embeddings.word_embeddings.weight"}
    _optional_weights = ("lm_head.",)
    _droppable_weights = (*ITEM_WEIGHTS, "scoring_head.")

    def __init__(self, config: RecformerConfig) -> None:
        super().__init__(config)
        self.recformer = RecformerModel(config)
        self.lm_head = RecformerLMHead(config)
        self.post_init()  # type: ignore[no-untyped-call]

    def get_output_embeddings(self) -> nn.Linear:
        decoder: nn.Linear = self.lm_head.decoder
        return decoder

    def set_output_embeddings(self, value: nn.Linear) -> None:
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
        """Computes the pretraining losses of `batch` contexts and their target items.

        The first half of the sequences are the contexts, the second half their target items, in the same order. One
        call of the tokenizer with `contexts + [[item] for item in items]` makes such a batch. Originals and masked
        copies go through the encoder in one packed pass. The last layer runs only for `<s>` of the originals and for
        the masked tokens of the copies.

        Args:
            input_ids, token_type_ids, item_position_ids (`Tensor`, int `[2 * batch, seq_len]`): contexts and items, as
                in [`RecformerModel`]; packed `[1, total_tokens]`.
            attention_mask (`Tensor` `[2 * batch, seq_len]`): only for padded batches.
            cu_seqlens (`Tensor`, int `[2 * batch + 1]`), max_seqlen (`int`): only for packed batches.
            mlm_input_ids (`Tensor`, int, like `input_ids`): the same sequences with tokens masked.
            mlm_labels (`Tensor`, int, like `input_ids`): the tokens to predict, -100 elsewhere. `<s>` is never masked.
            masked_rows (`Tensor`, int `[num_masked]`, *optional*): rows of the masked tokens in a packed batch. Without
                them, the model has to wait for an accelerator to find them.
            target_ids (`Tensor`, int `[batch]`): which item each target is. An item that is a target twice in a batch
                is then not a negative of itself.
            return_dict: as in other transformers models.

        Returns:
            [`RecformerForPreTrainingOutput`].

        Raises:
            ValueError: as in [`RecformerModel`], and for an odd number of sequences, or masked copies without labels.
        """
        check_tensors(
            mlm_input_ids=mlm_input_ids, mlm_labels=mlm_labels, masked_rows=masked_rows, target_ids=target_ids
        )
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
            copies, labels, masked = self._masked_copies(batch, input_ids.shape, mlm_input_ids, mlm_labels, masked_rows)
            batch = batch.followed_by_copies(copies)

        # The last layer follows below, for the rows that are needed.
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
            output.mlm_logits = self.lm_head(hidden)[: len(masked)]  # without the rows beyond
            in_context, in_item = masked_token_losses(
                output.mlm_logits, labels[masked], in_context=layout.sequence_ids[masked] < pairs
            )
            output.mlm_context_loss, output.mlm_item_loss = in_context, in_item
            loss = contrastive + self.config.mlm_weight * (in_context + in_item)
        output.loss = loss
        return output if self._returns_dict(return_dict) else output.to_tuple()

    def _masked_copies(
        self, batch: PackedInputs, shape: torch.Size, input_ids: Tensor, labels: Tensor, rows: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Checks the masked copies of a batch; returns them and their labels packed, and the rows of masked tokens."""
        for name, value in (("mlm_input_ids", input_ids), ("mlm_labels", labels)):
            if value.shape != shape:
                raise ValueError(f"{name} has shape {list(value.shape)}, but input_ids has {list(shape)}.")
        if rows is not None and batch.padded is not None:
            raise ValueError("masked_rows are rows of a packed batch; leave them out of a padded one.")
        copies, labels = batch.pack_alike(input_ids), batch.pack_alike(labels)
        check_range("mlm_input_ids", copies, self.config.vocab_size, "vocab_size")
        masked = (labels != -100).nonzero().squeeze(1) if rows is None else rows
        check_range("mlm_labels", labels[masked], self.config.vocab_size, "vocab_size")
        if labels.device.type == "cpu" and bool((labels[batch.layout.first_tokens] != -100).any()):
            raise ValueError("mlm_labels must be -100 at the first token of every sequence: <s> is never masked.")
        return copies, labels, masked

    def _with_rows_beyond(self, masked: Tensor, labels: Tensor, layout: SequenceLayout) -> Tensor:
        """The masked tokens and, on a CPU, a few others, so that products of fewer distinct sizes occur."""
        beyond = self.recformer.encoder.extra_rows(len(masked), labels.device)
        if not beyond:
            return masked
        others = ((labels == -100) & (layout.positions > 0)).nonzero().squeeze(1)
        return torch.cat([masked, others[:beyond]])

    def _sequence_vectors(self, hidden: Tensor, layout: SequenceLayout) -> Tensor:
        if self.config.pooler_type == "cls":
            return self.recformer._last_layer(hidden, layout, first_tokens_only=True)
        return self.recformer._pool(self.recformer._last_layer(hidden, layout), layout)


class RecformerForSeqRec(RecommenderMixin, RecformerPreTrainedModel):  # type: ignore[misc]
    """Recformer that scores the items of a catalogue for a history, by the cosine similarity of their vectors.

    `item_embeddings` `[config.num_items, hidden_size]` is a weight like any other: it is saved, loaded and sharded with
    the model. It stays in float32, and is not trained unless `requires_grad` is set. `catalog` names its rows if there
    is one; it is saved and loaded beside the weights.

    Beyond the paper, the configuration can turn on parts of `scoring_head` and `item_residuals` (see docs/model.md).

    ```python
    >>> model = RecformerForSeqRec.from_pretrained(folder).with_catalog({"B01": {"title": "Hammer"}, ...}, tokenizer)
    >>> model.recommend([["B01", {"title": "Nails"}]], tokenizer, top_k=5).item_ids
    ```
    """

    _droppable_weights = ("lm_head.",)
    _optional_weights = (*ITEM_WEIGHTS, "scoring_head.")
    _keep_in_fp32_modules_strict = [*ITEM_WEIGHTS, "scoring_head"]

    def __init__(self, config: RecformerConfig) -> None:
        super().__init__(copy.deepcopy(config))  # a copy, because `num_items` changes with the catalogue
        self.recformer = RecformerModel(self.config)
        empty = torch.zeros(config.num_items, config.hidden_size, dtype=torch.float32)
        self.item_embeddings = nn.Parameter(empty, requires_grad=False)
        residuals = torch.zeros(config.num_items, config.vector_size, dtype=torch.float32)
        self.item_residuals = nn.Parameter(residuals) if config.item_residuals else None
        self.scoring_head = ScoringHead(self.config)
        self.item_store = ItemStore()
        self.post_init()  # type: ignore[no-untyped-call]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the encoder; the weights of items and of the head are always float32."""
        dtype: torch.dtype = self.recformer.dtype
        return dtype

    def _apply(self, fn: Any, recurse: bool = True) -> RecformerForSeqRec:
        # `half()` and the like cast every weight, so those of the items and the head are put back as they were.
        weights = self.named_parameters()
        exact = [(weight, weight.data) for name, weight in weights if not name.startswith("recformer.")]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for weight, data in exact:
            if weight.dtype != torch.float32:
                weight.data = data.to(weight.device)
        return self

    def _after_loading(self, missing: set[str], source: CheckpointSource | None) -> None:
        self.item_embeddings.requires_grad_(False)  # loading makes every weight trainable
        align_weights(self)
        keep_in_memory(self, *self.scoring_head.modules())
        if "item_embeddings" in missing and self.config.num_items:
            self.set_item_embeddings(torch.zeros(0, self.config.hidden_size))
        if source is not None and self.config.num_items:
            self.item_store.load(source, self.config.num_items, self.config.has_memory)
        if not self.item_embeddings.is_meta:
            check_finite(self.item_embeddings, self.item_store.known_catalog)

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
        frequencies: Tensor | None = None,
        history_rows: Tensor | None = None,
        equal_items: Tensor | None = None,
        encode_only: bool = False,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> RecformerForSeqRecOutput | tuple[Any, ...]:
        """Scores items for histories.

        Args:
            input_ids ... max_seqlen, output_hidden_states, output_attentions, return_dict: as in [`RecformerModel`].
            candidates (`Tensor`, int `[batch, num_candidates]`): score only these items.
            labels (`Tensor`, int `[batch]`): the item that came next, to compute `loss`. With `candidates`, it must be
                one of the row's candidates.
            num_negatives (`int`): compute the loss over the target and this many items instead of the whole catalogue
                (sampled softmax). They are drawn for each row, without its target.
            negatives (`Tensor`, int `[batch, num_negatives]`): the same, but with these items as the negatives. All
                rows share `[num_negatives]`, and then also the items of the batch, those of histories and targets.
            frequencies (`Tensor`, float `[num_items]`): shares of items in sequences, which correct that loss.
            history_rows (`Tensor`, int `[batch, length]`): rows of the catalogue of the items of each history, oldest
                first, padded with -1 at the end. A two-level head reads them instead of `input_ids`; a history bias
                needs them too. With a two-level head, `labels` may also be `[batch, length]`, the item that came after
                each of them (-100: no target). If all rows share `negatives` (`[0]`: those of the batch), `input_ids`
                may be the texts of these items, in the order of the catalogue, to train the text encoder with them.
            equal_items (`Tensor`, int `[2, num_repeated]`): `model.equal_items`, to make items with equal vectors tie
                in the scores of the whole catalogue, where rounding could order them.
            encode_only: compute only `user_embeds`, the text encoder's vectors of the sequences.

        Returns:
            [`RecformerForSeqRecOutput`].

        Raises:
            ValueError: as in [`RecformerModel`], and for an empty catalogue, items outside it, and unfit arguments.
        """
        if self.config.num_items == 0:
            raise ValueError(NO_ITEMS)
        check_tensors(input_ids=input_ids, inputs_embeds=inputs_embeds, cu_seqlens=cu_seqlens)
        check_tensors(history_rows=history_rows, labels=labels)
        reads_rows = self.config.sequence_head == "two_level" and not encode_only
        batch_size = num_texts = num_sequences(input_ids, inputs_embeds, cu_seqlens)
        histories = None
        if reads_rows or history_rows is not None:
            histories, labels = checked_histories(history_rows, labels, self.config)
            batch_size = len(histories.places) if reads_rows else batch_size
        of_items = candidates, labels, num_negatives, negatives, frequencies
        check_item_arguments(self.config.num_items, batch_size, *of_items)
        rows, histories, labels, negatives, corrections = items_of_batch(histories, labels, negatives, frequencies)
        encode = partial(
            self.recformer, input_ids, token_type_ids, item_position_ids, attention_mask, position_ids, inputs_embeds,
            cu_seqlens, max_seqlen, pooled_only=True, output_hidden_states=output_hidden_states,
            output_attentions=output_attentions, return_dict=True,
        )  # fmt: skip
        if reads_rows and histories is not None:
            items = self._item_vectors(rows, encode().pooler_output if encodes_items(rows, num_texts) else None)
            users = self.scoring_head.read(items, histories)
            result = RecformerForSeqRecOutput(user_embeds=users)
        else:
            items, output = self.item_embeddings if encode_only else self._item_vectors(rows), encode()
            users, states = output.pooler_output, output.hidden_states
            result = RecformerForSeqRecOutput(user_embeds=users, hidden_states=states, attentions=output.attentions)
        if not encode_only:
            queries = Queries(users, histories, corrections)
            scored = self.scoring_head, queries, items, candidates, labels, num_negatives, negatives, equal_items
            result.scores, result.loss = scores_and_loss(*scored)
        return result if self._returns_dict(return_dict) else result.to_tuple()


__all__ = [
    "RecformerForPreTrainingOutput",
    "RecformerForPretraining",
    "RecformerForSeqRec",
    "RecformerForSeqRecOutput",
    "RecformerModel",
    "RecformerModelOutput",
    "RecformerPreTrainedModel",
]
