"""Configuration of a Recformer model."""

# No `from __future__ import annotations` here: `@strict` checks values against the annotations, and skips strings.

import os
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

MOST_LAYERS = 1000
"""A file may ask for any number, and making the layers takes time and memory before a weight is read."""


@strict
class RecformerConfig(PreTrainedConfig):
    r"""Configuration of [`RecformerModel`] and its heads. The defaults are the paper's base size.

    All arguments are keyword-only. A configuration saved by the public replication (`temp`, `item_num`) loads too.

    Args:
        vocab_size (`int`, defaults to 50265): tokens in the vocabulary.
        hidden_size (`int`, defaults to 768): width of the encoder and of user and item vectors.
        num_hidden_layers (`int`, defaults to 12): layers of the encoder, at least 1.
        num_attention_heads (`int`, defaults to 12): heads; must divide `hidden_size`.
        intermediate_size (`int`, defaults to 3072): width of the feed-forward layers.
        hidden_act (`str`, defaults to `"gelu"`): activation of the feed-forward layers, a name of `transformers`'
            `ACT2FN`.
        hidden_dropout_prob (`float`, defaults to 0.1): dropout of embeddings and of both sub-layers, in [0, 1).
        attention_probs_dropout_prob (`float`, defaults to 0.1): dropout of attention probabilities, in [0, 1).
        max_position_embeddings (`int`, *optional*): rows of the token-position table. Positions start at
            `pad_token_id + 1` (the RoBERTa convention), so at least `max_token_num + pad_token_id + 1` rows are
            needed, which is the default.
        initializer_range (`float`, defaults to 0.02): standard deviation of initial weights.
        layer_norm_eps (`float`, defaults to 1e-5): epsilon of the layer norms.
        pad_token_id, bos_token_id, eos_token_id (`int`, defaults to 1, 0, 2): special tokens; `bos_token_id` is the
            `<s>` (or `[CLS]`) that starts every sequence.
        attention_window (`int` or `list[int]`, defaults to 64): tokens that a token sees around itself, half on each
            side; even and positive; one number, or one per layer.
        token_type_size (`int`, defaults to 4): token types (`<s>`, key, value, padding); at least 4.
        max_token_num (`int`, defaults to 1024): tokens in a sequence, `<s>` included.
        max_item_embeddings (`int`, defaults to 51): item positions; a history keeps its newest
            `max_item_embeddings - 1` items.
        max_attr_num (`int`, defaults to 3): attributes of an item.
        max_attr_length (`int`, defaults to 32): tokens of an attribute, its key included.
        pooler_type (`"cls"` or `"avg"`, defaults to `"cls"`): a sequence's vector is the hidden state of `<s>`, or the
            mean over its real tokens.
        temperature (`float`, defaults to 0.05): scores are cosine similarity / temperature.
        mlm_weight (`float`, defaults to 0.1): weight of each masked-language-modelling loss in pretraining.
        num_items (`int`, defaults to 0): rows of `RecformerForSeqRec.item_embeddings`.
        use_token_type_embeddings, use_item_position_embeddings (`bool`, default to `True`): setting both to `False`
            gives the paper's ablation 6.
        tie_word_embeddings (`bool`, defaults to `True`): the MLM decoder shares the word embeddings.
        sequence_head (`"flat"` or `"two_level"`, defaults to `"flat"`): how `RecformerForSeqRec` reads a history. Flat:
            as one sequence of tokens (the paper). Two-level: a small causal transformer reads the vectors of its items.
        item_projection (`bool`, defaults to `False`): a learned linear map of the item vectors.
        item_residuals (`bool`, defaults to `False`): a learned vector for every item, which is added to that of its
            text. It is zero for items that training has not seen.
        history_bias (`bool`, defaults to `False`): a learned number that is added to the scores of the items of the
            history, one for each place in it.
        learned_temperature (`bool`, defaults to `False`): the temperature is learned, starting from `temperature`.
        residual_dropout (`float`, defaults to 0.3): share of the items that a training step sees without their
            residuals, in [0, 1), so that the score of an item does not depend on its residual alone.
        head_size (`int`, *optional*): width of the two-level head, and of the vectors of items and histories that it
            compares. By default `hidden_size`; another width needs `item_projection`.
        head_num_layers (`int`, defaults to 2), head_num_attention_heads (`int`, defaults to 4): layers of the two-level
            head, and heads of each; they must divide its width.
        head_dropout (`float`, defaults to 0.3): dropout of the two-level head, in [0, 1).
        has_memory (`bool`, defaults to `False`): whether `memory.safetensors` lies beside the weights of a saved
            `RecformerForSeqRec`. Set by `model.memory`.

    Raises:
        StrictDataclassClassValidationError: if values contradict each other (the message names both).
        StrictDataclassFieldValidationError: if a value has the wrong type.
    """

    model_type = "recformer"
    keys_to_ignore_at_inference = ["user_embeds", "hidden_states", "attentions"]

    vocab_size: int = 50265
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.1
    attention_probs_dropout_prob: float | int = 0.1
    max_position_embeddings: int | None = None
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5
    pad_token_id: int = 1
    bos_token_id: int = 0
    eos_token_id: int | None = 2
    attention_window: int | list[int] = 64
    token_type_size: int = 4
    max_token_num: int = 1024
    max_item_embeddings: int = 51
    max_attr_num: int = 3
    max_attr_length: int = 32
    pooler_type: Literal["cls", "avg"] = "cls"
    temperature: float | int = 0.05
    mlm_weight: float | int = 0.1
    num_items: int = 0
    use_token_type_embeddings: bool = True
    use_item_position_embeddings: bool = True
    tie_word_embeddings: bool = True
    sequence_head: Literal["flat", "two_level"] = "flat"
    item_projection: bool = False
    item_residuals: bool = False
    history_bias: bool = False
    learned_temperature: bool = False
    residual_dropout: float | int = 0.3
    head_size: int | None = None
    head_num_layers: int = 2
    head_num_attention_heads: int = 4
    head_dropout: float | int = 0.3
    has_memory: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        # The replication's names come first, because its files also hold `temperature: 1.0`, a generation default of
        # transformers 4.
        if kwargs.get("temp") is not None:
            self.temperature = kwargs.pop("temp")
        if kwargs.get("item_num") is not None:
            self.num_items = max(kwargs.pop("item_num"), 0)
        if self.max_position_embeddings is None:
            self.max_position_embeddings = self.max_token_num + self.pad_token_id + 1
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """As `PreTrainedConfig.get_config_dict`, but reads the replication's files, which say `longformer`."""
        config_dict, unused = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if config_dict.get("model_type") == "longformer" and {"temp", "item_num"} & config_dict.keys():
            config_dict = {**config_dict, "model_type": cls.model_type}
        return config_dict, unused

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> "RecformerConfig":
        """As `PreTrainedConfig.from_dict`, but raises ValueError for the configuration of another model."""
        if config_dict.get("model_type", cls.model_type) != cls.model_type:
            raise ValueError(
                f"This is not a Recformer configuration: its model type is {config_dict['model_type']!r}. To start a "
                "Recformer from a text encoder, use recformer_hf.conversion.from_text_encoder."
            )
        if not __name__.startswith("transformers_modules."):
            # The package is installed and has the pipeline, so transformers must not ask to trust the code beside the
            # checkpoint.
            config_dict = {name: value for name, value in config_dict.items() if name != "custom_pipelines"}
        return super().from_dict(config_dict, **kwargs)

    @property
    def attention_windows(self) -> list[int]:
        """The `attention_window` of each layer."""
        if isinstance(self.attention_window, int):
            return [self.attention_window] * self.num_hidden_layers
        return list(self.attention_window)

    @property
    def vector_size(self) -> int:
        """Width of the vectors of items and histories that are compared."""
        return self.hidden_size if self.head_size is None else self.head_size

    def validate_architecture(self) -> None:
        """Checks the values of the fields and how they fit together; `@strict` calls it at the end of construction."""
        self._check_ranges()
        self._check_layers()
        self._check_tokens()
        self._check_head()
        super().validate_architecture()  # type: ignore[no-untyped-call]

    def _check_ranges(self) -> None:
        positive = (
            "vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size max_token_num max_attr_num "
            "max_attr_length temperature layer_norm_eps head_num_layers head_num_attention_heads"
        )
        for name in positive.split():
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}.")
        for name in ("num_hidden_layers", "head_num_layers"):
            if getattr(self, name) > MOST_LAYERS:
                raise ValueError(f"{name} must be at most {MOST_LAYERS}, got {getattr(self, name)}.")
        for name in ("num_items", "mlm_weight", "pad_token_id", "bos_token_id"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must not be negative or infinite, got {getattr(self, name)}.")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "residual_dropout", "head_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}.")
        if self.token_type_size < 4:
            raise ValueError(
                f"token_type_size must be at least 4 (<s>, key, value, padding), got {self.token_type_size}."
            )
        if self.max_item_embeddings < 2:
            raise ValueError(
                f"max_item_embeddings must be at least 2 (position 0 is <s>, 1 the newest item), got "
                f"{self.max_item_embeddings}."
            )

    def _check_layers(self) -> None:
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"hidden_act {self.hidden_act!r} is unknown; known are {', '.join(ACT2FN)}.")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of num_attention_heads "
                f"({self.num_attention_heads})."
            )
        windows = self.attention_windows
        if len(windows) != self.num_hidden_layers:
            raise ValueError(
                f"attention_window names {len(windows)} layers ({windows}), but num_hidden_layers is "
                f"{self.num_hidden_layers}; set one number, or one per layer."
            )
        if any(window <= 0 or window % 2 for window in windows):
            raise ValueError(f"attention_window must be even and positive in every layer, got {self.attention_window}.")

    def _check_tokens(self) -> None:
        needed = self.max_token_num + self.pad_token_id + 1
        if self.max_position_embeddings is None or self.max_position_embeddings < needed:
            raise ValueError(
                f"max_position_embeddings ({self.max_position_embeddings}) is too small for max_token_num "
                f"({self.max_token_num}): positions start at pad_token_id + 1 = {self.pad_token_id + 1}, so {needed} "
                "rows are needed. By default, max_position_embeddings is that number."
            )
        for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
            if getattr(self, name) is not None and getattr(self, name) >= self.vocab_size:
                raise ValueError(f"{name} ({getattr(self, name)}) must be below vocab_size ({self.vocab_size}).")
        if self.bos_token_id == self.pad_token_id:
            raise ValueError(
                f"bos_token_id and pad_token_id are both {self.pad_token_id}: <s> would have the embedding of padding, "
                "which is never trained. Set them to different tokens."
            )

    def _check_head(self) -> None:
        two_level = self.sequence_head == "two_level"
        if self.head_size is not None and not (two_level and self.head_size > 0):
            raise ValueError(
                f"head_size ({self.head_size}) is the width of the two-level head: it must be positive, and needs "
                f"sequence_head='two_level' (it is {self.sequence_head!r}). By default, it is hidden_size."
            )
        if self.vector_size != self.hidden_size and not self.item_projection:
            raise ValueError(
                f"head_size ({self.head_size}) differs from hidden_size ({self.hidden_size}), so item vectors must be "
                "projected: set item_projection=True."
            )
        if two_level and self.vector_size % self.head_num_attention_heads:
            raise ValueError(
                f"The width of the two-level head ({self.vector_size}) must be a multiple of head_num_attention_heads "
                f"({self.head_num_attention_heads})."
            )


__all__ = ["RecformerConfig"]
