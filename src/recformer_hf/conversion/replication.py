"""Converts checkpoints of the public replication: `.bin`, `.pt` and `.ckpt` files."""

from __future__ import annotations

import errno
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor
from transformers.utils import logging

from ..configuration_recformer import RecformerConfig
from ..encoder.checkpoint import first_few
from ..modeling_recformer import (
    RecformerForPretraining,
    RecformerForSeqRec,
    RecformerModel,
)
from ..tokenization_recformer import RecformerTokenizer
from .filling import (
    ITEM_POSITIONS,
    LIMITS,
    POSITIONS,
    TOKEN_TYPES,
    WORDS,
    Model,
    check_settings,
    check_tokenizer,
    fill,
    tie_decoder,
)

logger = logging.get_logger(__name__)


@overload
def from_replication(
    path: str | os.PathLike[str],
    *,
    model_class: type[Model] | None = None,
    config: RecformerConfig | str | os.PathLike[str] | None = None,
    tokenizer: None = None,
    **overrides: Any,
) -> Model: ...


@overload
def from_replication(
    path: str | os.PathLike[str],
    *,
    tokenizer: RecformerTokenizer | str | os.PathLike[str],
    model_class: type[Model] | None = None,
    config: RecformerConfig | str | os.PathLike[str] | None = None,
    **overrides: Any,
) -> tuple[Model, RecformerTokenizer]: ...


def from_replication(
    path: str | os.PathLike[str],
    *,
    model_class: type[Any] | None = None,
    config: RecformerConfig | str | os.PathLike[str] | None = None,
    tokenizer: RecformerTokenizer | str | os.PathLike[str] | None = None,
    **overrides: Any,
) -> Any:
    """Loads a Recformer from a weights file (`.bin`, `.pt`, `.ckpt`) of the public replication, AaronHeee/RecFormer.

    The names of the weights may start with `longformer.`, with nothing (an encoder alone), or with what Lightning and
    DeepSpeed add (`_forward_module.model.longformer.`). They may be at the top of the file or under `state_dict` or
    `model_state_dict`. The file is read with `weights_only=True`, so code in it is refused and never run. The
    replication does not tie its decoder to the word embeddings, so `tie_word_embeddings` becomes `False` unless the two
    are equal.

    Args:
        path: path of the file.
        model_class: class of the model. By default the file decides: [`RecformerForSeqRec`] if it has `item_embedding`,
            [`RecformerForPretraining`] if it has `lm_head`, otherwise [`RecformerModel`].
        config: the configuration, or where it is saved: a folder, a `config.json` (one of the replication too), a Hub
            id. By default the `config.json` beside the file. If there is none, sizes follow from the shapes of the
            weights, and everything else is as in the paper: heads of width 64, a window of 64, layer-norm epsilon 1e-5,
            padding id 1.
        tokenizer: the tokenizer that the replication used ("allenai/longformer-base-4096" for the authors'
            checkpoints), or where it is saved. It gets the limits of the configuration.
        **overrides: fields of [`RecformerConfig`] that replace those found (`num_attention_heads`, `pooler_type`, ...).

    Returns:
        the model, in float32 on the CPU and in evaluation mode; if `tokenizer` is given, model and tokenizer.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file holds anything but tensors, if its weights are not those that the configuration
            describes (the message names which are missing, unexpected or of another shape), or if the tokenizer does
            not fit it.
        TypeError: if an override is not a field of the configuration.
    """
    path = Path(path)
    check_settings(overrides)
    weights = _replication_names(_read_state_dict(path), path)
    has_items = "item_embeddings" in weights
    has_head = any(name.startswith("lm_head.") for name in weights)
    if model_class is None:
        model_class = RecformerForSeqRec if has_items else RecformerForPretraining if has_head else RecformerModel

    settings = {**_replication_settings(path, config, weights), **overrides}
    # The replication's configuration may name items that the file does not hold.
    settings["num_items"] = (
        len(weights["item_embeddings"]) if issubclass(model_class, RecformerForSeqRec) and has_items else 0
    )
    if issubclass(model_class, RecformerForPretraining) and WORDS in weights:
        settings["tie_word_embeddings"] = tie_decoder(weights, overrides.get("tie_word_embeddings"))
    new_config = RecformerConfig(**settings)
    model = fill(model_class, new_config, weights, str(path), head_is_optional=not has_head)
    return model if tokenizer is None else (model, _fitting_tokenizer(tokenizer, new_config))


def _fitting_tokenizer(
    tokenizer: RecformerTokenizer | str | os.PathLike[str], config: RecformerConfig
) -> RecformerTokenizer:
    """The tokenizer, loaded if it is a path, with the limits of a configuration."""
    limits = {limit: getattr(config, limit) for limit in LIMITS}
    if isinstance(tokenizer, RecformerTokenizer):
        for limit, value in limits.items():
            setattr(tokenizer, limit, value)
    else:
        tokenizer = RecformerTokenizer.from_pretrained(tokenizer, model_max_length=config.max_token_num, **limits)
    check_tokenizer(tokenizer, config)
    return tokenizer


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    """The weights in a file, by the names that it has for them."""
    if not path.is_file():
        inside = sorted(file.name for file in path.glob("*") if file.suffix in (".bin", ".pt", ".ckpt", ".pth"))
        hint = f" It is a folder; name one of its files: {', '.join(inside) or 'it has no .bin, .pt or .ckpt'}."
        raise FileNotFoundError(f"No weights file at {path}.{hint if path.is_dir() else ''}")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Everything before this mark is torch's long advice to load with weights_only=False.
        reason = str(error).split("WeightsUnpickler error:")[-1].strip().splitlines()[0]
        raise ValueError(
            f"{path} holds more than tensors, or is not a PyTorch file ({reason}). No code in it was run. If you trust "
            'it, save only its tensors: torch.save(torch.load(path, weights_only=False)["state_dict"], new_path).'
        ) from error
    except (RuntimeError, EOFError, KeyError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # torch seeks before the start of a short file
            raise
        raise ValueError(f"{path} cannot be read as a PyTorch file; it may be cut short: {error}") from error
    # Lightning, plain training scripts and DeepSpeed save the weights under these keys.
    for wrapper in ("state_dict", "model_state_dict", "module"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not loaded:
        what = f"a {type(loaded).__name__}" if not isinstance(loaded, Mapping) else "nothing"
        raise ValueError(f"{path} holds {what}; expected weights by name, at its top or under state_dict.")
    if others := [str(name) for name, value in loaded.items() if not isinstance(value, Tensor)]:
        raise ValueError(
            f"{path} holds entries that are not tensors ({first_few(others)}); expected weights by name, at its top or "
            "under state_dict."
        )
    return dict(loaded)


def _replication_names(saved: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Renames the replication's weights to those of a Recformer, and drops duplicates and what has no counterpart."""
    weights: dict[str, Tensor] = {}
    for name, weight in saved.items():
        # DeepSpeed, DistributedDataParallel, torch.compile and Lightning each put their own word in front.
        new = re.sub(r"^((_forward_module|module|_orig_mod|model)\.)*", "", name)
        new = re.sub(r"^longformer\.", "recformer.", new)
        new = re.sub(r"^(?=(embeddings|encoder|pooler)\.)", "recformer.", new)
        new = re.sub(r"^item_embeddings?(\.weight)?$", "item_embeddings", new)
        # Longformer's head has its bias under both names.
        new = "lm_head.decoder.bias" if new == "lm_head.bias" else new
        # A Recformer pools without weights, and computes positions instead of storing them.
        if new.startswith("recformer.pooler.") or new == "recformer.embeddings.position_ids":
            continue
        if new in weights and not torch.equal(weights[new], weight):
            raise ValueError(f"{path} holds {new} twice, with different values (once as {name}); remove one of them.")
        weights[new] = weight
    return weights


def _replication_settings(
    path: Path, config: RecformerConfig | str | os.PathLike[str] | None, weights: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Fields of the configuration: the given one, or the one beside the file, or what follows from the shapes."""
    beside = path.with_name("config.json")
    if config is None and beside.is_file():
        try:
            config = RecformerConfig.from_pretrained(beside)
        except ValueError as error:
            logger.warning(f"Ignored {beside}: {error}")
    if config is None:
        return _settings_from_shapes(path, weights)
    if not isinstance(config, RecformerConfig):
        config = RecformerConfig.from_pretrained(config)
    return {field: getattr(config, field) for field in RecformerConfig.__annotations__}


def _settings_from_shapes(path: Path, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Fields of the configuration that follow from the shapes of the weights."""
    first_layer = "recformer.encoder.layer.0.intermediate.dense.weight"
    needed = (WORDS, POSITIONS, TOKEN_TYPES, ITEM_POSITIONS, first_layer)
    shapes = {name: tuple(weights[name].shape) for name in needed if name in weights}
    if absent := [name.replace("recformer.", "longformer.") for name in needed if name not in shapes]:
        raise ValueError(
            f"{path} does not hold a Recformer of the public replication: missing weights {first_few(absent)}; found "
            f"{first_few(sorted(weights))}."
        )
    layers = {int(found[1]) for name in weights if (found := re.match(r"recformer\.encoder\.layer\.(\d+)\.", name))}
    vocab_size, hidden_size = shapes[WORDS]
    rows = shapes[POSITIONS][0]
    settings = {
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "num_hidden_layers": max(layers) + 1,
        # The shapes do not show the number of heads; the paper's heads have width 64.
        "num_attention_heads": max(hidden_size // 64, 1),
        "intermediate_size": shapes[first_layer][0],
        "max_position_embeddings": rows,
        # Positions start behind the padding id, so the table has pad_token_id + 1 rows that no token uses.
        "max_token_num": min(rows - RecformerConfig.pad_token_id - 1, RecformerConfig.max_token_num),
        "token_type_size": shapes[TOKEN_TYPES][0],
        "max_item_embeddings": shapes[ITEM_POSITIONS][0],
    }
    logger.warning(
        f"Found no configuration for {path}. Sizes were taken from the weights, and the paper's values were used for "
        f"num_attention_heads ({settings['num_attention_heads']}, heads of width 64), attention_window "
        f"({RecformerConfig.attention_window}), layer_norm_eps ({RecformerConfig.layer_norm_eps}) and pad_token_id "
        f"({RecformerConfig.pad_token_id}). If your model has others, pass config=..., or pass these by name."
    )
    return settings
