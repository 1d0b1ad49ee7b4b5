"""Warm starts: turns a Longformer, RoBERTa, XLM-R, CamemBERT, BERT or ELECTRA encoder into a Recformer."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging
from transformers.utils.hub import cached_file

from ..configuration_recformer import RecformerConfig
from ..encoder.checkpoint import first_few
from ..modeling_recformer import (
    RecformerForPretraining,
)
from ..tokenization_recformer import RecformerTokenizer
from ..tokenizing.other_models import HUB_ARGUMENTS
from .filling import (
    ITEM_POSITIONS,
    LIMITS,
    POSITIONS,
    TOKEN_TYPES,
    Model,
    check_settings,
    check_tokenizer,
    fill,
    special_ids,
    tie_decoder,
)

logger = logging.get_logger(__name__)

_ROBERTA_HEAD = {"dense": "lm_head.dense", "layer_norm": "lm_head.layer_norm", "decoder": "lm_head.decoder"}
_BERT_HEAD = {
    "dense": "cls.predictions.transform.dense",
    "layer_norm": "cls.predictions.transform.LayerNorm",
    "decoder": "cls.predictions.decoder",
}
_ELECTRA_HEAD = {
    "dense": "generator_predictions.dense",
    "layer_norm": "generator_predictions.LayerNorm",
    "decoder": "generator_lm_head",
}


class Layout(NamedTuple):
    """What differs between encoders that otherwise share a layout: absolute positions, post-norm, names of weights."""

    positions_behind_padding: bool
    """Whether positions start at `pad_token_id + 1`, as RoBERTa's do, or at 0, as BERT's do."""
    head: dict[str, str]
    """Names of the parts of the language-modelling head."""


TEXT_ENCODERS = {
    "bert": Layout(False, _BERT_HEAD),
    "camembert": Layout(True, _ROBERTA_HEAD),
    "electra": Layout(False, _ELECTRA_HEAD),
    "longformer": Layout(True, _ROBERTA_HEAD),
    "roberta": Layout(True, _ROBERTA_HEAD),
    "xlm-roberta": Layout(True, _ROBERTA_HEAD),
}
"""Layouts by `model_type`."""

# Fields that the copied weights decide, so that a caller cannot change them.
_FROM_SOURCE = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"),
    *("layer_norm_eps", "pad_token_id", "bos_token_id", "eos_token_id"),
)
_DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")


def from_text_encoder(
    name_or_path: str | os.PathLike[str],
    *,
    model_class: type[Model] = RecformerForPretraining,  # type: ignore[assignment]
    attention_window: int | list[int] = 64,
    max_token_num: int = 1024,
    **overrides: Any,
) -> tuple[Model, RecformerTokenizer]:
    r"""Loads a Recformer from a BERT, RoBERTa, XLM-R, CamemBERT, ELECTRA or Longformer checkpoint (a warm start).

    For a text shorter than half the window, the hidden states are exactly those of the source. For a Longformer, they
    are those with global attention on `<s>`. The weights are copied as follows:

    - The position table starts at `pad_token_id + 1`. If the source has fewer than `max_token_num` positions, they
      repeat from the beginning, which is how Longformer's own table was made; if it has more, they are cut.
    - The global projections of `<s>` are Longformer's own, or copies of the local ones for all other sources.
    - Every token type is the source's token type 0. Item positions start at zero.
    - The language-modelling head of the checkpoint, if it has one, becomes that of [`RecformerForPretraining`]. The
      decoder is tied to the word embeddings if the two are equal. The source's pooler is dropped.

    A sentence-transformers folder sets `pooler_type` ("mean" gives `"avg"`, "cls" gives `"cls"`). Its `Normalize` is
    ignored because it changes no cosine, and so is its `max_seq_length`. Another kind of pooling, or a module with
    weights behind the pooling (`Dense`), raises an error unless you pass `pooler_type`: then only the encoder is read.

    ```python
    >>> model, tokenizer = from_text_encoder("allenai/longformer-base-4096")
    >>> model, tokenizer = from_text_encoder("sentence-transformers/all-MiniLM-L6-v2", model_class=RecformerForSeqRec)
    ```

    Args:
        name_or_path: Hub id, or folder with model and tokenizer.
        model_class: class of the model.
        attention_window: as in [`RecformerConfig`]. The source's own window (512 for Longformer) is not used.
        max_token_num: most tokens of a sequence, including `<s>`.
        **overrides: other fields of [`RecformerConfig`] that the source does not decide (`pooler_type`, `max_attr_num`,
            ...), and arguments of the download (`revision`, `token`, `cache_dir`, `subfolder`, ...).

    Returns:
        the model, in float32 on the CPU and in evaluation mode, and its tokenizer with the limits of the configuration.

    Raises:
        ValueError: if the source has another architecture or lacks weights, if a Recformer cannot pool as it does, or
            if its tokenizer does not fit it.
        TypeError: if an override is not a field of the configuration, or the source decides it.
        OSError: if there is no such checkpoint, or it has no tokenizer.
    """
    name = os.fspath(name_or_path)
    hub = {key: overrides.pop(key) for key in HUB_ARGUMENTS if key in overrides}
    settings = {"attention_window": attention_window, "max_token_num": max_token_num, **overrides}
    check_settings(settings, fixed=_FROM_SOURCE)  # before anything is downloaded
    encoder_folder, pooler_type = _read_sentence_transformer(name, hub, settings.get("pooler_type"))
    if encoder_folder:
        hub["subfolder"] = "/".join(filter(None, [hub.get("subfolder"), encoder_folder]))

    source_config = _source_config(name, hub)
    limits = {limit: settings.get(limit, getattr(RecformerConfig, limit)) for limit in LIMITS}
    tokenizer = RecformerTokenizer.from_pretrained(name, model_max_length=max_token_num, **limits, **hub)
    source, has_head = _load_source(name, source_config, hub)

    # The tokenizer's ids, because they are what the inputs carry; BERT's configuration names no first and last token.
    ids = special_ids(tokenizer)
    if ids["pad_token_id"] is None:
        ids["pad_token_id"] = source_config.pad_token_id
    shared = [field for field in _FROM_SOURCE if field not in ids]
    taken = {field: getattr(source_config, field) for field in (*shared, *_DROPOUTS, "initializer_range")}
    config = RecformerConfig(**{**taken, **ids, "pooler_type": pooler_type, **settings})
    check_tokenizer(tokenizer, config)

    weights = _text_encoder_weights(source, config, has_head)
    if issubclass(model_class, RecformerForPretraining):
        config.tie_word_embeddings = tie_decoder(weights, settings.get("tie_word_embeddings"))
    model = fill(model_class, config, weights, name, head_is_optional=not has_head)
    return model, tokenizer


def _read_json(name: str, file: str, hub: Mapping[str, Any]) -> Any:
    """A JSON file of a folder or Hub repository; `None` if it does not exist."""
    found = cached_file(name, file, _raise_exceptions_for_missing_entries=False, **hub)
    return None if found is None else json.loads(Path(found).read_text(encoding="utf-8"))


def _read_sentence_transformer(name: str, hub: Mapping[str, Any], pooler_type: str | None) -> tuple[str, str]:
    """The subfolder of the encoder in a sentence-transformers folder, and its `pooler_type`.

    Any other checkpoint has its encoder at the top (`""`) and the pooling `"cls"`. If the caller passes `pooler_type`,
    the folder's pooling is not checked.
    """
    modules = _read_json(name, "modules.json", hub)
    if modules is None:
        # A copy may lack modules.json; the usual folder of the pooling then decides.
        modules = [{"type": "Pooling", "path": "1_Pooling"}] if _read_json(name, "1_Pooling/config.json", hub) else []
    kinds = {module["type"].rsplit(".", 1)[-1]: module.get("path", "") for module in modules}
    encoder_folder = kinds.get("Transformer", "")
    if pooler_type is not None:
        return encoder_folder, pooler_type
    if lost := [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize", "Dropout")]:
        raise ValueError(
            f"{name} is a sentence-transformers model with {', '.join(lost)}, which a Recformer has no place for: its "
            'vectors would differ. To use only its encoder, pass pooler_type="avg" or pooler_type="cls".'
        )
    if "Pooling" not in kinds:
        return encoder_folder, "cls"
    modes = _pooling_modes(_read_json(name, f"{kinds['Pooling']}/config.json", hub) or {})
    known = {"mean": "avg", "mean_tokens": "avg", "cls": "cls", "cls_token": "cls"}
    if len(modes) != 1 or modes[0] not in known:
        raise ValueError(
            f"{name} pools by {' and '.join(modes) or 'nothing'}, but a Recformer pools by the mean or by <s>. To use "
            'its encoder nevertheless, pass pooler_type="avg" or pooler_type="cls".'
        )
    return encoder_folder, known[modes[0]]


def _pooling_modes(settings: Mapping[str, Any]) -> list[str]:
    """The modes that a pooling is set to: under one key in newer files, in older ones as a flag for each mode."""
    if "pooling_mode" in settings:
        modes = settings["pooling_mode"]
        return [modes] if isinstance(modes, str) else modes
    return [key.removeprefix("pooling_mode_") for key, on in settings.items() if key.startswith("pooling_mode_") and on]


def _source_config(name: str, hub: Mapping[str, Any]) -> PreTrainedConfig:
    """The source's configuration; raises ValueError if a Recformer cannot start from it."""
    supported = ", ".join(TEXT_ENCODERS)
    model_type = PreTrainedConfig.get_config_dict(name, **hub)[0].get("model_type")
    if model_type == RecformerConfig.model_type:
        raise ValueError(
            f"{name} is a Recformer already: load it with RecformerModel.from_pretrained, or with that of a head."
        )
    if model_type is not None and model_type not in TEXT_ENCODERS:
        raise ValueError(f"{name} is of model_type {model_type!r}; a Recformer can start from {supported}.")
    # Old files have no model_type; AutoConfig then looks for one in the name.
    config: PreTrainedConfig = AutoConfig.from_pretrained(name, **hub)
    unlike = {
        "is_decoder": getattr(config, "is_decoder", False),
        "add_cross_attention": getattr(config, "add_cross_attention", False),
        "position_embedding_type": getattr(config, "position_embedding_type", None) not in (None, "absolute"),
        "embedding_size": getattr(config, "embedding_size", config.hidden_size) != config.hidden_size,
    }
    if config.model_type not in TEXT_ENCODERS or any(unlike.values()):
        which = ", ".join(f"{field}={getattr(config, field)!r}" for field, differs in unlike.items() if differs)
        raise ValueError(
            f"{name} (model_type {config.model_type!r}{', ' + which if which else ''}) has another layout than a "
            "Recformer, which needs absolute positions and embeddings of width hidden_size. It can start from "
            f"{supported}."
        )
    return config


def _load_source(name: str, config: PreTrainedConfig, hub: Mapping[str, Any]) -> tuple[PreTrainedModel, bool]:
    """The source with its language-modelling head, and whether that head was in the checkpoint."""
    with _quiet():
        loaded: Any = AutoModelForMaskedLM.from_pretrained(
            name, config=config, dtype=torch.float32, output_loading_info=True, **hub
        )
    source, info = loaded
    head = tuple(TEXT_ENCODERS[config.model_type].head.values())
    missing = sorted(info["missing_keys"])
    in_encoder = [key for key in missing if key.startswith(f"{source.base_model_prefix}.")]
    unexpected = sorted(info["unexpected_keys"])
    more_layers = [key for key in unexpected if "encoder.layer." in key]
    if in_encoder or more_layers:
        raise ValueError(
            f"{name} does not hold the {config.model_type} encoder that its config.json describes: missing weights "
            f"{first_few(in_encoder)}; unexpected weights {first_few(more_layers)}."
        )
    logger.info(f"Dropped weights of {name} that have no counterpart in a Recformer: {first_few(unexpected)}.")
    has_head = not any(key.startswith(head) for key in missing)
    if has_head and config.hidden_act != "gelu":
        logger.warning(
            f"The language-modelling head of a Recformer uses gelu, but that of {name} may use {config.hidden_act}. It "
            "was copied and needs some training."
        )
    return source, has_head


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences transformers' load report, which calls a checkpoint without a head corrupted.

    The caller checks for missing and unexpected weights itself.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _text_encoder_weights(source: PreTrainedModel, config: RecformerConfig, has_head: bool) -> dict[str, Tensor]:
    """The source's weights under a Recformer's names."""
    layout = TEXT_ENCODERS[source.config.model_type]
    weights = {
        f"recformer.{name}": weight
        for name, weight in source.base_model.state_dict().items()
        # The pooler has no counterpart, and position_ids and token_type_ids are buffers.
        if name.startswith(("embeddings.", "encoder.")) and not name.endswith("_ids")
    }
    # Only Longformer has global projections; its own are in `weights` already.
    for name in list(weights):
        if local := re.fullmatch(r"(.*\.attention\.self\.(?:query|key|value))\.(weight|bias)", name):
            weights.setdefault(f"{local[1]}_global.{local[2]}", weights[name])

    positions = weights[POSITIONS]
    usable = positions[source.config.pad_token_id + 1 :] if layout.positions_behind_padding else positions
    first, rows = config.pad_token_id + 1, config.max_position_embeddings or 0
    tiled = usable[torch.arange(rows - first) % len(usable)]
    token_type = weights.pop(TOKEN_TYPES)[0]  # what a source adds to every token of a single text
    if config.use_token_type_embeddings:
        weights[TOKEN_TYPES] = token_type.repeat(config.token_type_size, 1)
    else:
        tiled = tiled + token_type  # the sum of the embeddings stays that of the source
    weights[POSITIONS] = torch.cat([tiled.new_zeros(first, tiled.shape[1]), tiled])
    if config.use_item_position_embeddings:
        weights[ITEM_POSITIONS] = tiled.new_zeros(config.max_item_embeddings, tiled.shape[1])

    if has_head:
        named = source.state_dict()
        for part, theirs in layout.head.items():
            for kind in ("weight", "bias"):
                weights[f"lm_head.{part}.{kind}"] = named[f"{theirs}.{kind}"]
    return weights
