"""Loads the model that a service answers with; item vectors stay in the file, which all processes share."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from transformers import PretrainedConfig
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, logging
from transformers.utils.hub import cached_file

from ..items.catalog import ItemCatalog
from ..modeling_recformer import RecformerForSeqRec
from ..recommending.item_store import ITEM_WEIGHTS
from ..tokenization_recformer import RecformerTokenizer
from .items_journal import Position

logger = logging.get_logger(__name__)

SAMPLED_ITEMS = 200
"""Items that are tokenized to estimate the tokens of an item."""

Signature = tuple[tuple[str, int, int, int], ...]
"""The files of a folder: name, inode, size and time of the last change."""


@dataclass
class Recommender:
    """A model that is ready to answer.

    Args:
        name: what it was loaded from.
        model: with items and their catalogue.
        tokenizer: its tokenizer; None if the model reads ids alone.
        tokens_per_item: how many tokens an item has on average.
        signature: of its folder, as it was before the model was loaded; None for a repository of the Hub.
        position: up to where the journal of changes was followed.
    """

    name: str
    model: Any
    tokenizer: Any
    tokens_per_item: float = 1.0
    signature: Signature | None = None
    position: Position = field(default_factory=Position)

    @property
    def catalog(self) -> ItemCatalog:
        catalog: ItemCatalog | None = self.model.catalog
        assert catalog is not None
        return catalog

    @property
    def reads_text(self) -> bool:
        """Whether the model can read items that it does not know."""
        return self.tokenizer is not None

    def tokens_of(self, histories: Sequence[Sequence[Any]]) -> int:
        """About how many tokens histories have."""
        if not self.reads_text:
            return sum(map(len, histories))
        config = self.model.config
        newest = config.max_item_embeddings - 1
        if config.sequence_head == "two_level":  # an id is looked up; a description is encoded
            return sum(1 + self._tokens(e, 0.0) for history in histories for e in history[-newest:])
        sizes = (sum(self._tokens(e, self.tokens_per_item) for e in history[-newest:]) for history in histories)
        return int(sum(min(1 + size, config.max_token_num) for size in sizes))

    def _tokens(self, entry: Any, of_id: float) -> int:
        if not isinstance(entry, Mapping):
            return int(of_id)
        length = sum(len(key) + len(value) if isinstance(value, str) else 16 for key, value in entry.items())
        return int(min(1 + length // 4, self.tokenizer.max_attr_num * self.tokenizer.max_attr_length))


def load_recommender(name: str | os.PathLike[str], **options: Any) -> Recommender:
    """Loads a model with its catalogue and tokenizer, with the code of this package alone.

    A checkpoint's own code is never run, and pickled weights are refused.

    Args:
        name: a folder, or a repository on the Hub: a `RecformerForSeqRec` or a neural baseline.
        options: of `from_pretrained`, such as `revision`. `dtype` is the name of one, by default the checkpoint's.

    Raises:
        ValueError: for a checkpoint of another model, one without catalogue, or one that names pickled weights.
        OSError: if there is no checkpoint, or the model's tokenizer is not there.
    """
    name = os.fspath(name)
    signature = folder_signature(name)
    config, _ = PretrainedConfig.get_config_dict(name, **_of_hub(options))
    kind = config.get("model_type")
    weights = config.get("transformers_weights") or SAFE_WEIGHTS_NAME
    if not str(weights).endswith((".safetensors", ".safetensors.index.json")):
        raise ValueError(f"{name} names {weights!r} as its weights; they must be in safetensors files. Save it again.")
    # Not in another dtype at once: while transformers loads, it would be the default of all threads that run torch.
    dtype = options.pop("dtype", None) or config.get("dtype") or "float32"
    options = {**options, "use_safetensors": True, "dtype": torch.float32}
    if kind == "recformer":
        model: Any = RecformerForSeqRec.from_pretrained(name, **options)
        tokenizer = RecformerTokenizer.from_pretrained(name, **_of_hub(options))
        if dtype != "float32":
            model.to(getattr(torch, dtype))
        map_item_weights(model, name, _of_hub(options))
    else:
        from ..baselines import NEURAL  # its trainers take seconds to import

        if kind not in NEURAL:
            known = ", ".join(["recformer", *NEURAL])
            raise ValueError(
                f"{name} is a checkpoint of model_type {kind!r}; a service needs one of {known}, with a catalogue. "
                "recformer finetune trains a recformer."
            )
        model, tokenizer = NEURAL[kind].from_pretrained(name, **options), None
    return prepared(Recommender(name, model, tokenizer, signature=signature))


def prepared(recommender: Recommender) -> Recommender:
    """Checks that a model can recommend, and runs it once, so that the first request does not wait.

    Raises:
        ValueError: for a model without items or catalogue.
    """
    model, tokenizer = recommender.model.eval(), recommender.tokenizer
    model.check_item_vectors()
    if model.catalog is None:
        raise ValueError(
            f"{recommender.name} has no item_catalog.arrow for its items, so nothing says which item a row is. Save "
            "the model with its catalogue: model.catalog = catalog; model.save_pretrained(folder)."
        )
    catalog = recommender.catalog
    if tokenizer is not None:
        rows = np.linspace(0, len(catalog) - 1, min(len(catalog), SAMPLED_ITEMS)).astype(int)
        encoded = tokenizer.encode_items([catalog[row] for row in rows.tolist()])
        recommender.tokens_per_item = float(np.diff(encoded.offsets).mean())
    model.recommend([[catalog.ids[0]]], tokenizer, 1, exclude_history=False, progress=False)
    return recommender


def map_item_weights(model: Any, name: str, options: Mapping[str, Any]) -> None:
    """Replaces a model's vectors of items by those in its file, mapped into memory: processes share one copy.

    Args:
        model: on the CPU; on another device nothing happens.
        name: folder or repository that it was loaded from.
        options: `revision`, `token`, ... of the call that loaded it.
    """
    for weight_name in ITEM_WEIGHTS:
        weight = getattr(model, weight_name)
        if weight is None or weight.device.type != "cpu" or (path := _file_of(weight_name, name, options)) is None:
            continue
        with safe_open(path, "pt") as file:
            if weight_name not in file.keys():  # noqa: SIM118 - it has no `in`
                continue
            mapped = file.get_tensor(weight_name)
        # A file that was replaced after the model was loaded is not taken; the service will see that and load it again.
        if mapped.dtype == weight.dtype and mapped.shape == weight.shape and mapped.equal(weight.data):
            weight.data = mapped


def _file_of(weight_name: str, name: str, options: Mapping[str, Any]) -> str | None:
    """The safetensors file that has a weight."""
    quiet = {"_raise_exceptions_for_missing_entries": False, **options}
    index = cached_file(name, SAFE_WEIGHTS_INDEX_NAME, **quiet)
    file = SAFE_WEIGHTS_NAME
    if index is not None:
        file = json.loads(Path(index).read_text("utf-8"))["weight_map"].get(weight_name, file)
    return cached_file(name, file, **quiet)


def folder_signature(name: str | os.PathLike[str]) -> Signature | None:
    """What tells whether a checkpoint's folder was replaced or written to; None if it is no folder."""
    try:
        entries = sorted(path for path in Path(name).iterdir() if not path.name.startswith("."))
        stats = [(path.name, path.stat()) for path in entries if path.is_file()]
    except OSError:  # also while the folder is being replaced
        return None
    return tuple((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def _of_hub(options: Mapping[str, Any]) -> dict[str, Any]:
    names = ("subfolder", "revision", "token", "cache_dir", "force_download", "local_files_only")
    return {name: options[name] for name in names if options.get(name) is not None}


__all__ = ["Recommender", "Signature", "folder_signature", "load_recommender", "map_item_weights", "prepared"]
