"""What both conversions share: names of weights, filling a clean model, checking a tokenizer against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers.utils import logging

from ..configuration_recformer import RecformerConfig
from ..modeling_recformer import (
    RecformerModel,
    RecformerPreTrainedModel,
    first_few,
)
from ..tokenization_recformer import RecformerTokenizer

logger = logging.get_logger(__name__)

Model = TypeVar("Model", bound=RecformerPreTrainedModel)

LIMITS = ("max_attr_num", "max_attr_length", "max_item_embeddings", "max_token_num")

WORDS = "recformer.embeddings.word_embeddings.weight"
POSITIONS = "recformer.embeddings.position_embeddings.weight"
TOKEN_TYPES = "recformer.embeddings.token_type_embeddings.weight"
ITEM_POSITIONS = "recformer.embeddings.item_position_embeddings.weight"
DECODER = "lm_head.decoder.weight"


def tie_decoder(weights: dict[str, Tensor], requested: bool | None) -> bool:
    """Whether the decoder is the word embeddings; without one in `weights` it becomes them."""
    words = weights[WORDS]
    tied = torch.equal(weights.setdefault(DECODER, words), words)
    if requested and not tied:
        logger.warning("tie_word_embeddings=True replaces this checkpoint's own decoder by its word embeddings.")
        weights[DECODER] = words
    return tied if requested is None else requested


def fill(
    model_class: type[Model],
    config: RecformerConfig,
    weights: Mapping[str, Tensor],
    origin: str,
    head_is_optional: bool,
) -> Model:
    """A new model of `weights`, named as in a head. The head's own may be absent as a whole; all else must fit."""
    model = model_class(config)
    expected = model.state_dict()
    bare = isinstance(model, RecformerModel)
    found = {name.removeprefix("recformer.") if bare else name: weight for name, weight in weights.items()}
    foreign_heads = [
        part for part in model_class._droppable_weights if not any(name.startswith(part) for name in expected)
    ]
    dropped = sorted(name for name in found if name.startswith(tuple(foreign_heads)))
    found = {name: weight for name, weight in found.items() if name not in dropped}

    optional = tuple(name for name in model_class._optional_weights if head_is_optional or name != "lm_head.")
    missing = sorted(name for name in expected if name not in found and not name.startswith(optional or ("\0",)))
    unexpected = sorted(name for name in found if name not in expected)
    other_shapes = [
        f"{name} is {list(found[name].shape)}, expected {list(weight.shape)}"
        for name, weight in expected.items()
        if name in found and found[name].shape != weight.shape
    ]
    if missing or unexpected or other_shapes:
        raise ValueError(
            f"{origin} does not hold a {model_class.__name__} of this configuration: missing weights "
            f"{first_few(missing)}; unexpected weights {first_few(unexpected)}; other shapes "
            f"{first_few(other_shapes)}."
        )
    if dropped:
        logger.info(f"Weights of {origin} that a {model_class.__name__} does not have: {first_few(dropped)}.")
    if fresh := sorted(expected.keys() - found.keys()):
        logger.info(f"Weights that {origin} does not have, newly initialised: {first_few(fresh)}.")
    model.load_state_dict(found, strict=False)
    return model.eval()


def special_ids(tokenizer: RecformerTokenizer) -> dict[str, int | None]:
    """The ids that start, end and pad a sequence, in the configuration's names."""
    first = tokenizer.cls_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    last = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    if first is None:
        raise ValueError(
            f"The tokenizer of {tokenizer.name_or_path} has neither a BOS nor a CLS token, and every sequence starts "
            "with one. Name it in its tokenizer_config.json."
        )
    return {"bos_token_id": first, "eos_token_id": last, "pad_token_id": tokenizer.pad_token_id}


def check_tokenizer(tokenizer: RecformerTokenizer, config: RecformerConfig) -> None:
    highest = max(tokenizer.get_vocab().values())
    if highest >= config.vocab_size:
        raise ValueError(
            f"The tokenizer of {tokenizer.name_or_path} gives ids up to {highest}, but the checkpoint's vocab_size is "
            f"{config.vocab_size}: they do not belong together."
        )
    for name, value in special_ids(tokenizer).items():
        if value is not None and value != getattr(config, name):
            raise ValueError(
                f"The tokenizer of {tokenizer.name_or_path} has {name} {value}, but the checkpoint's is "
                f"{getattr(config, name)}: they do not belong together."
            )


def check_settings(settings: Mapping[str, Any], fixed: Sequence[str] = ()) -> None:
    """Raises TypeError for keywords that are no configuration field, or one that the source fixes."""
    allowed = [field for field in RecformerConfig.__annotations__ if field not in fixed]
    for name in settings:
        if name in fixed:
            raise TypeError(f"{name} is the source's and cannot be changed; remove {name}={settings[name]!r}.")
        if name not in allowed:
            raise TypeError(f"RecformerConfig has no field {name!r}. Fields that can be given: {', '.join(allowed)}.")
