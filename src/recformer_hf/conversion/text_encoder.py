"""Warm starts: a Recformer from a Longformer, RoBERTa, XLM-R, BERT or ELECTRA encoder."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedConfig, PreTrainedModel
from transformers.utils import cached_file, logging

from ..configuration_recformer import RecformerConfig
from ..tokenizing.other_models import HUB_ARGUMENTS
from ..modeling_recformer import (
    RecformerForPretraining,
    first_few,
)
from ..tokenization_recformer import RecformerTokenizer
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
# Encoders of one layout (absolute positions, post-norm, Longformer's names): whether positions start behind the padding
# id, as RoBERTa's do, or at 0, as BERT's; and what the parts of the language-modelling head are called.
TEXT_ENCODERS: dict[str, tuple[bool, dict[str, str]]] = {
    "bert": (False, _BERT_HEAD),
    "camembert": (True, _ROBERTA_HEAD),
    "electra": (False, _ELECTRA_HEAD),
    "longformer": (True, _ROBERTA_HEAD),
    "roberta": (True, _ROBERTA_HEAD),
    "xlm-roberta": (True, _ROBERTA_HEAD),
}
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
    r"""A Recformer warm-started from a BERT, RoBERTa, XLM-R, CamemBERT, ELECTRA or Longformer checkpoint.

    A text shorter than half the window has exactly the source's hidden states; for a Longformer, those that it has with
    global attention on `<s>`. The copy:

    - position table: moved to start at `pad_token_id + 1`, repeated from its beginning up to `max_token_num` rows where
      the source has fewer, as Longformer's was made, cut where it has more;
    - `<s>`'s global projections: Longformer's own, elsewhere copies of the local ones;
    - the source's token type 0 is every token type; item positions start at zero;
    - the language-modelling head too, for [`RecformerForPretraining`], where the checkpoint has one. Whether the
      decoder is tied to the word embeddings is read off the weights. The source's pooler has no counterpart here.

    A sentence-transformers folder sets `pooler_type` ("mean" gives `"avg"`, "cls" gives `"cls"`). Its `Normalize`
    changes no cosine and its `max_seq_length` does not apply. A pooling of another kind, and modules with weights
    behind the pooling (`Dense`), raise, unless you give `pooler_type`: then only its encoder is read.

    ```python
    >>> model, tokenizer = from_text_encoder("allenai/longformer-base-4096")
    >>> model, tokenizer = from_text_encoder("sentence-transformers/all-MiniLM-L6-v2", model_class=RecformerForSeqRec)
    ```

    Args:
        name_or_path: a Hub id or a folder with model and tokenizer.
        model_class: the head to make.
        attention_window: as in [`RecformerConfig`]; the source's own (a Longformer's 512) is not taken over.
        max_token_num: tokens of a sequence, `<s>` included.
        **overrides: other fields of [`RecformerConfig`] (`pooler_type`, `max_attr_num`, ...) that the source does not
            fix, and where to load from (`revision`, `token`, `cache_dir`, `subfolder`, ...).

    Returns:
        The model, in float32 on the CPU and in evaluation mode, and its tokenizer, with the configuration's limits.

    Raises:
        ValueError: if the source is of another architecture or incomplete, its pooling has no counterpart, or its
            tokenizer does not fit it.
        TypeError: if an override is no field of the configuration, or one that the source fixes.
        OSError: if there is no such checkpoint, or it has no tokenizer.
    """
    name = os.fspath(name_or_path)
    hub = {key: overrides.pop(key) for key in HUB_ARGUMENTS if key in overrides}
    settings = {"attention_window": attention_window, "max_token_num": max_token_num, **overrides}
    check_settings(settings, fixed=_FROM_SOURCE)
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
    """A JSON file of a folder or Hub repository, None without it."""
    found = cached_file(name, file, _raise_exceptions_for_missing_entries=False, **hub)
    return None if found is None else json.loads(Path(found).read_text(encoding="utf-8"))


def _read_sentence_transformer(name: str, hub: Mapping[str, Any], pooler_type: str | None) -> tuple[str, str]:
    """Where a sentence-transformers folder keeps its encoder ("" for the top), and its `pooler_type`."""
    modules = _read_json(name, "modules.json", hub)
    if modules is None:
        modules = [{"type": "Pooling", "path": "1_Pooling"}] if _read_json(name, "1_Pooling/config.json", hub) else []
    kinds = {module["type"].rsplit(".", 1)[-1]: module.get("path", "") for module in modules}
    encoder_folder = kinds.get("Transformer", "")
    if pooler_type is not None:
        return encoder_folder, pooler_type
    if lost := [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize", "Dropout")]:
        raise ValueError(
            f"{name} is a sentence-transformers model with {', '.join(lost)}, which a Recformer has no place for: its "
            'vectors would be others. To start from its encoder alone, give pooler_type="avg" or pooler_type="cls".'
        )
    if "Pooling" not in kinds:
        return encoder_folder, "cls"
    settings = _read_json(name, f"{kinds['Pooling']}/config.json", hub) or {}
    if "pooling_mode" in settings:
        modes = [settings["pooling_mode"]] if isinstance(settings["pooling_mode"], str) else settings["pooling_mode"]
    else:
        modes = [
            key.removeprefix("pooling_mode_") for key, on in settings.items() if key.startswith("pooling_mode_") and on
        ]
    known = {"mean": "avg", "mean_tokens": "avg", "cls": "cls", "cls_token": "cls"}
    if len(modes) != 1 or modes[0] not in known:
        raise ValueError(
            f"{name} pools by {' and '.join(modes) or 'nothing'}; a Recformer by the mean or by <s>. To start from its "
            'encoder all the same, give pooler_type="avg" or "cls".'
        )
    return encoder_folder, known[modes[0]]


def _source_config(name: str, hub: Mapping[str, Any]) -> PreTrainedConfig:
    supported = ", ".join(TEXT_ENCODERS)
    model_type = PreTrainedConfig.get_config_dict(name, **hub)[0].get("model_type")
    if model_type == RecformerConfig.model_type:
        raise ValueError(
            f"{name} is a Recformer already: load it with RecformerModel.from_pretrained or one of the heads."
        )
    if model_type is not None and model_type not in TEXT_ENCODERS:
        raise ValueError(f"{name} is of model_type {model_type!r}; a Recformer can start from {supported}.")
    config: Any = AutoConfig.from_pretrained(name, **hub)  # old files name no model_type: the name may tell
    unlike = {
        "is_decoder": getattr(config, "is_decoder", False),
        "add_cross_attention": getattr(config, "add_cross_attention", False),
        "position_embedding_type": getattr(config, "position_embedding_type", None) not in (None, "absolute"),
        "embedding_size": getattr(config, "embedding_size", config.hidden_size) != config.hidden_size,
    }
    if config.model_type not in TEXT_ENCODERS or any(unlike.values()):
        which = ", ".join(f"{field}={getattr(config, field)!r}" for field, differs in unlike.items() if differs)
        raise ValueError(
            f"{name} (model_type {config.model_type!r}{', ' + which if which else ''}) is laid out unlike a Recformer, "
            f"which can start from encoders with absolute positions and embeddings of hidden_size: {supported}."
        )
    return config


def _load_source(name: str, config: Any, hub: Mapping[str, Any]) -> tuple[PreTrainedModel, bool]:
    """The source with its language-modelling head, and whether that head was in the checkpoint."""
    with _quiet():  # what is missing and what is left over is checked below
        loaded: Any = AutoModelForMaskedLM.from_pretrained(
            name, config=config, dtype=torch.float32, output_loading_info=True, **hub
        )
    source, info = loaded
    head = tuple(TEXT_ENCODERS[config.model_type][1].values())
    missing = sorted(info["missing_keys"])
    in_encoder = [key for key in missing if key.startswith(f"{source.base_model_prefix}.")]
    unexpected = sorted(info["unexpected_keys"])
    more_layers = [key for key in unexpected if "encoder.layer." in key]
    if in_encoder or more_layers:
        raise ValueError(
            f"{name} does not hold the {config.model_type} encoder that its config.json describes: missing weights "
            f"{first_few(in_encoder)}; unexpected weights {first_few(more_layers)}."
        )
    logger.info(f"Weights of {name} that have no counterpart in a Recformer: {first_few(unexpected)}.")
    has_head = not any(key.startswith(head) for key in missing)
    if has_head and config.hidden_act != "gelu":
        logger.warning(
            f"The language-modelling head of a Recformer uses gelu, that of {name} may use {config.hidden_act}: it is "
            "copied, but will need some training."
        )
    return source, has_head


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No load report: it calls the usual checkpoint without a head corrupted."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _text_encoder_weights(source: PreTrainedModel, config: RecformerConfig, has_head: bool) -> dict[str, Tensor]:
    """The source's weights under a Recformer's names."""
    positions_behind_padding, head = TEXT_ENCODERS[source.config.model_type]
    weights = {
        f"recformer.{name}": weight
        for name, weight in source.base_model.state_dict().items()
        if name.startswith(("embeddings.", "encoder.")) and not name.endswith("_ids")
    }
    for name in list(weights):
        if local := re.fullmatch(r"(.*\.attention\.self\.(?:query|key|value))\.(weight|bias)", name):
            weights.setdefault(f"{local[1]}_global.{local[2]}", weights[name])

    positions = weights[POSITIONS]
    usable = positions[source.config.pad_token_id + 1 :] if positions_behind_padding else positions
    first, rows = config.pad_token_id + 1, config.max_position_embeddings or 0
    tiled = usable[torch.arange(rows - first) % len(usable)]
    token_type = weights.pop(TOKEN_TYPES)[0]
    if config.use_token_type_embeddings:
        weights[TOKEN_TYPES] = token_type.repeat(config.token_type_size, 1)
    else:
        tiled = tiled + token_type  # the sum of the embeddings must stay what it was
    weights[POSITIONS] = torch.cat([tiled.new_zeros(first, tiled.shape[1]), tiled])
    if config.use_item_position_embeddings:
        weights[ITEM_POSITIONS] = tiled.new_zeros(config.max_item_embeddings, tiled.shape[1])

    if has_head:
        named = source.state_dict()
        for part, theirs in head.items():
            for kind in ("weight", "bias"):
                weights[f"lm_head.{part}.{kind}"] = named[f"{theirs}.{kind}"]
    return weights
