"""What both conversions share: names of weights, filling a new model with weights, checking its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers.utils import logging

from ..configuration_recformer import RecformerConfig
from ..encoder.checkpoint import check_numbers, first_few
from ..modeling_recformer import (
    RecformerModel,
    RecformerPreTrainedModel,
)
from ..tokenization_recformer import RecformerTokenizer

logger = logging.get_logger(__name__)

Model = TypeVar("Model", bound=RecformerPreTrainedModel)

LIMITS = ("max_attr_num", "max_attr_length", "max_item_embeddings", "max_token_num")
"""Settings that a configuration and its tokenizer must agree on."""

WORDS = "recformer.embeddings.word_embeddings.weight"
POSITIONS = "recformer.embeddings.position_embeddings.weight"
TOKEN_TYPES = "recformer.embeddings.token_type_embeddings.weight"
ITEM_POSITIONS = "recformer.embeddings.item_position_embeddings.weight"
DECODER = "lm_head.decoder.weight"


def tie_decoder(weights: dict[str, Tensor], requested: bool | None) -> bool:
    """Decides whether the decoder of the language-modelling head is tied to the word embeddings.

    Args:
        weights: weights of the model; a missing decoder is set to the word embeddings, and so is an untied one if
            `requested` is `True`.
        requested: the caller's `tie_word_embeddings`; if `None`, the weights decide: they are tied if they are equal.

    Returns:
        the value of `tie_word_embeddings`.
    """
    words = weights[WORDS]
    tied = torch.equal(weights.setdefault(DECODER, words), words)
    if requested and not tied:
        logger.warning("tie_word_embeddings=True replaces the decoder of this checkpoint with its word embeddings.")
        weights[DECODER] = words
    return tied if requested is None else requested


def fill(
    model_class: type[Model],
    config: RecformerConfig,
    weights: Mapping[str, Tensor],
    origin: str,
    head_is_optional: bool,
) -> Model:
    """Creates a model with the given weights, and refuses weights that do not fit it.

    Args:
        model_class: class of the model.
        config: configuration of the model.
        weights: weights by their names in a head (`recformer.encoder...`). Those of other heads are dropped.
        origin: where the weights are from, for messages.
        head_is_optional: whether the language-modelling head may be missing; it is then initialised.

    Returns:
        the model in evaluation mode.

    Raises:
        ValueError: if weights are missing, unexpected, of another shape or type, or not finite.
    """
    model = model_class(config)
    expected = model.state_dict()
    bare = isinstance(model, RecformerModel)  # the encoder alone has no prefix
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
    if integers := [f"{name} ({weight.dtype})" for name, weight in found.items() if not weight.is_floating_point()]:
        raise ValueError(f"{origin} holds weights that are no floating-point numbers: {first_few(integers)}.")
    if missing or unexpected or other_shapes:
        raise ValueError(
            f"{origin} does not fit a {model_class.__name__} of this configuration: missing weights "
            f"{first_few(missing)}; unexpected weights {first_few(unexpected)}; weights of other shapes "
            f"{first_few(other_shapes)}. Check that the configuration is the one of these weights."
        )
    if dropped:
        logger.info(f"Dropped weights of {origin} that a {model_class.__name__} does not have: {first_few(dropped)}.")
    if fresh := sorted(expected.keys() - found.keys()):
        logger.info(f"Initialised weights that {origin} does not have: {first_few(fresh)}.")
    model.load_state_dict(found, strict=False)  # what may be missing was checked above
    check_numbers(origin, model)
    model.eval()  # type: ignore[no-untyped-call]
    return model


def special_ids(tokenizer: RecformerTokenizer) -> dict[str, int | None]:
    """The ids that start, end and pad a sequence, under the configuration's names.

    Raises:
        ValueError: if the tokenizer has no token that starts a sequence.
    """
    # BERT's tokenizer calls these tokens CLS and SEP, RoBERTa's calls them BOS and EOS.
    first = tokenizer.cls_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    last = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    if first is None:
        raise ValueError(
            f"The tokenizer of {tokenizer.name_or_path} has neither a BOS nor a CLS token, but every sequence starts "
            "with one. Set bos_token or cls_token in its tokenizer_config.json."
        )
    return {"bos_token_id": first, "eos_token_id": last, "pad_token_id": tokenizer.pad_token_id}


def check_tokenizer(tokenizer: RecformerTokenizer, config: RecformerConfig) -> None:
    """Checks that a tokenizer belongs to the model of a configuration.

    Raises:
        ValueError: if it gives ids that the model does not have, or its special ids differ from the configuration's.
    """
    # Not len(tokenizer): ids may have gaps, and an embedding may have more rows than there are tokens.
    highest = max(tokenizer.get_vocab().values())
    if highest >= config.vocab_size:
        raise ValueError(
            f"The tokenizer of {tokenizer.name_or_path} gives ids up to {highest}, but the checkpoint's vocab_size is "
            f"{config.vocab_size}. Use the tokenizer that the checkpoint was trained with."
        )
    for name, value in special_ids(tokenizer).items():
        if value is not None and value != getattr(config, name):
            raise ValueError(
                f"The tokenizer of {tokenizer.name_or_path} has {name} {value}, but the checkpoint's is "
                f"{getattr(config, name)}. Use the tokenizer that the checkpoint was trained with."
            )


def check_settings(settings: Mapping[str, Any], fixed: Sequence[str] = ()) -> None:
    """Checks the keywords of a conversion.

    Args:
        settings: values of fields of [`RecformerConfig`].
        fixed: fields that the source decides.

    Raises:
        TypeError: if a keyword is not a field of the configuration, or the source decides it.
    """
    allowed = [field for field in RecformerConfig.__annotations__ if field not in fixed]
    for name in settings:
        if name in fixed:
            raise TypeError(f"{name} is set by the source and cannot be changed; remove {name}={settings[name]!r}.")
        if name not in allowed:
            raise TypeError(f"RecformerConfig has no field {name!r}. You can set {', '.join(allowed)}.")
