"""Vectors of a catalogue's texts, from any frozen text encoder or from none."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import torch
from huggingface_hub import constants
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedConfig
from transformers.utils import logging

from ...configuration_recformer import RecformerConfig
from ...data.draws import Draws, Stream
from ...encoder.packing import length_sorted_batches
from ...items.catalog import ItemCatalog
from ...memory.text_index import TextIndex, words_of
from ...memory.text_neighbours import unit_vectors, whitened
from ...modeling_recformer import RecformerForSeqRec
from ...recommending.encode_catalog import encoder_fingerprint
from ...recommending.vectors import evaluating
from ...storage.atomic import atomic_file
from ...tokenization_recformer import RecformerTokenizer
from ...tokenizing.tokenizer_fingerprint import tokenizer_fingerprint

logger = logging.get_logger(__name__)

Pooling = Literal["mean", "cls"]
WORDS = "words"
"""The encoder that needs no model: TF-IDF vectors of words, projected at random."""
MOST_TOKENS = 512
"""Tokens of an item that a text encoder reads, unless its tokenizer says fewer."""


def text_vectors(
    catalog: ItemCatalog,
    encoder: str = WORDS,
    *,
    width: int = 384,
    pooling: Pooling = "mean",
    cache_dir: str | os.PathLike[str] | None = None,
    device: torch.device | str | None = None,
    max_tokens: int = 8192,
) -> Tensor:
    """A vector of each item's text: the values of its attributes, in their order.

    The vectors of a model are kept on disk, under the fingerprints of its weights and tokenizer and of the catalogue,
    and are read from there the next time.

    Args:
        catalog: the items.
        encoder: a folder or Hub id of a Recformer, which encodes items as `encode_items` does, or of any encoder that
            `AutoModel` loads. `"words"` needs no model: each word has a vector of random signs, the same in every
            catalogue, and an item has the sum of its words' by TF-IDF. Its cosines are about those of TF-IDF.
        width: of the vectors of `"words"`; those of a model are as wide as the model.
        pooling: of a model other than a Recformer: the mean of its last hidden states, or the first of them.
        cache_dir: where vectors are kept, by default `recformer_hf/text_vectors` in Hugging Face's own folder
            (`HF_HOME`).
        device: where a model runs, by default on the CPU.
        max_tokens: tokens of one forward pass.

    Returns:
        float32 `[num_items, width]`, on the CPU.

    Raises:
        OSError: if there is no such model, or it is no text encoder with its tokenizer.
        ValueError: if a vector is not finite.
    """
    if encoder == WORDS:
        return _vectors_of_words(catalog, width)
    model = _loaded(encoder, pooling, device)
    name = f"{model.fingerprint}-{catalog.fingerprint}.npy"
    path = Path(constants.HF_HOME, "recformer_hf", "text_vectors") if cache_dir is None else Path(cache_dir)
    path = path / name
    found = _kept(path, len(catalog))
    if found is None:
        found = model.encode(catalog, max_tokens)
        _keep(path, found)
    return found


def prepared(vectors: Tensor | np.ndarray, whitening: float | None) -> Tensor:
    """Text vectors as a network's inputs: whitened, and of length sqrt(width), so that a value is about 1 in size.

    Args:
        vectors: float `[num_items, width]`.
        whitening: power of [`~recformer_hf.memory.text_neighbours.whitened`]; None only sets the length.

    Raises:
        ValueError: if the vectors are not a finite matrix.
    """
    units = unit_vectors(vectors) if whitening is None else whitened(vectors, whitening)
    return units * math.sqrt(units.shape[1])


def without_words(catalog: ItemCatalog, share: float, seed: int) -> ItemCatalog:
    """The same items with a share of their texts' words left out at random; an item keeps at least one word.

    Args:
        catalog: the items.
        share: chance of each word, in [0, 1).
        seed: in [0, 2^64). A draw depends on it and on the row of the item alone.
    """
    draws, items = Draws(seed), {}
    for row, (item_id, item) in enumerate(zip(catalog.ids, catalog, strict=True)):
        words = [(key, word) for key, value in item.items() for word in value.split()]
        kept = draws.uniform(Stream.ITEM_WORDS, 0, 0, row, size=max(len(words), 1)) >= share
        kept[0] |= not kept.any()
        texts: dict[str, list[str]] = {}
        for (key, word), keep in zip(words, kept.tolist(), strict=False):
            if keep:
                texts.setdefault(key, []).append(word)
        items[item_id] = {key: " ".join(parts) for key, parts in texts.items()} or item
    return ItemCatalog.from_items(items)


def _vectors_of_words(catalog: ItemCatalog, width: int) -> Tensor:
    index = TextIndex.build(_texts(catalog))
    words = list(dict.fromkeys(word for text in _texts(catalog) for word in words_of(text)))
    vectors = np.zeros((len(catalog), width), np.float32)
    signs = np.empty((len(words), width), np.float32)
    for number, word in enumerate(words):
        bits = np.frombuffer(hashlib.shake_128(word.encode("utf-8", "surrogatepass")).digest(-(-width // 8)), np.uint8)
        signs[number] = np.unpackbits(bits)[:width]
    signs = (2 * signs - 1) / np.float32(width**0.5)
    for row in range(len(catalog)):
        own = slice(index.offsets[row], index.offsets[row + 1])
        vectors[row] = index.weights[own] @ signs[index.words[own]]
    return torch.from_numpy(vectors)


def _texts(catalog: ItemCatalog) -> Iterator[str]:
    return (" ".join(item.values()) for item in catalog)


def _loaded(encoder: str, pooling: Pooling, device: torch.device | str | None) -> _RecformerEncoder | _AnyEncoder:
    try:
        config = AutoConfig.from_pretrained(encoder)
        kind = _RecformerEncoder if isinstance(config, RecformerConfig) else _AnyEncoder
        return kind(encoder, config, pooling, device)
    except (OSError, ValueError) as error:
        raise OSError(
            f"The text encoder {encoder!r} cannot be loaded. Give the folder or Hub id of a text encoder that has its "
            f"tokenizer, or {WORDS!r}, which needs no model. The reason: {error}"
        ) from error


class _RecformerEncoder:
    """Item vectors of a Recformer."""

    def __init__(
        self, name: str, config: PreTrainedConfig, pooling: Pooling, device: torch.device | str | None
    ) -> None:
        self.model = RecformerForSeqRec.from_pretrained(name).to(device)
        self.tokenizer = RecformerTokenizer.from_pretrained(name)
        self.fingerprint = f"{encoder_fingerprint(self.model)}-{tokenizer_fingerprint(self.tokenizer)}"

    def encode(self, catalog: ItemCatalog, max_tokens: int) -> Tensor:
        vectors: Tensor = self.model.encode_items(catalog, self.tokenizer, max_tokens)
        return vectors


class _AnyEncoder:
    """Pooled hidden states of a text encoder of transformers."""

    def __init__(
        self, name: str, config: PreTrainedConfig, pooling: Pooling, device: torch.device | str | None
    ) -> None:
        self.model = AutoModel.from_pretrained(name, config=config, dtype=torch.float32).to(device)
        self.tokenizer = AutoTokenizer.from_pretrained(name)
        self.pooling, self.limit = pooling, min(self.tokenizer.model_max_length, MOST_TOKENS)
        whole: Any = SimpleNamespace(config=self.model.config, recformer=self.model)
        rules = [self.tokenizer(text)["input_ids"] for text in ("", "Recformer, 2023: naïve ÄÖÜ!")]
        digest = hashlib.blake2b(
            repr((len(self.tokenizer), rules, pooling, self.limit)).encode(), digest_size=16, person=b"TextEncoder"
        )
        self.fingerprint = f"{encoder_fingerprint(whole)}-{digest.hexdigest()}"

    @torch.no_grad()
    def encode(self, catalog: ItemCatalog, max_tokens: int) -> Tensor:
        encoded: Any = self.tokenizer(list(_texts(catalog)), truncation=True, max_length=self.limit)
        lengths = np.array([len(ids) for ids in encoded["input_ids"]])
        vectors = torch.empty(len(lengths), self.model.config.hidden_size)
        bar = logging.tqdm(total=len(lengths), desc="Encoding items", unit="item", disable=len(lengths) < 512)
        with bar, evaluating(self.model):
            for rows in length_sorted_batches(lengths, max_tokens):
                batch = {key: [encoded[key][row] for row in rows.tolist()] for key in encoded}
                inputs = self.tokenizer.pad(batch, return_tensors="pt").to(self.model.device)
                hidden = self.model(**inputs).last_hidden_state.float()
                mask = inputs["attention_mask"][..., None]
                mean = (hidden * mask).sum(1) / mask.sum(1)
                vectors[torch.from_numpy(rows)] = (hidden[:, 0] if self.pooling == "cls" else mean).cpu()
                bar.update(len(rows))
        if not bool(vectors.isfinite().all()):
            row = int((~vectors.isfinite().all(1)).nonzero()[0, 0])
            raise ValueError(
                f"The text encoder gives item {catalog.id_of(row)!r} (row {row}) a vector with NaN or infinite values; "
                "load its weights again, or use another one."
            )
        return vectors


def _kept(path: Path, num_items: int) -> Tensor | None:
    """Vectors that were kept, or None if there are none, or they are damaged."""
    if not path.is_file():
        return None
    try:
        vectors = np.load(path)
    except (ValueError, OSError, EOFError) as error:
        logger.warning(f"{path} cannot be read ({error}); the items are encoded again.")
        return None
    return torch.from_numpy(vectors) if vectors.dtype == np.float32 and len(vectors) == num_items else None


def _keep(path: Path, vectors: Tensor) -> None:
    try:
        with atomic_file(path) as temporary, open(temporary, "wb") as file:
            np.save(file, vectors.numpy())
    except OSError as error:  # a full or a read-only disk: the vectors are there nevertheless
        logger.warning(f"The text vectors are not kept for the next time: {error}")


__all__ = ["WORDS", "Pooling", "prepared", "text_vectors", "without_words"]
