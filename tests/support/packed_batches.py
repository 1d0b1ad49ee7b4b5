"""Random items, their tokenized catalogues, sequences over them, and reading packed batches back."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from recformer_hf.data.sequences import Sequences
from recformer_hf.data.tokenized_catalog import TokenizedCatalog
from recformer_hf.data.torch_datasets import INDEX
from recformer_hf.tokenization_recformer import RecformerTokenizer

FIELDS = ("input_ids", "token_type_ids", "item_position_ids")

rng = np.random.default_rng(0)
WORDS = ["".join(rng.choice(list("abcdefgh"), size)) for size in rng.integers(2, 8, 60)]
ITEMS = [
    {"title": " ".join(rng.choice(WORDS, rng.integers(1, 9))), "brand": str(rng.choice(WORDS)), "year": int(row)}
    for row in range(50)
]
OTHER_ITEMS = [{"name": " ".join(rng.choice(WORDS, 3))} for _ in range(20)]
TOKENIZER = RecformerTokenizer.train_from_catalog(ITEMS, vocab_size=400)
CATALOG = TokenizedCatalog.from_items(ITEMS, TOKENIZER)
OTHER = TokenizedCatalog.from_items(OTHER_ITEMS, TOKENIZER)


def with_limits(**limits: int) -> RecformerTokenizer:
    """The tokenizer with other limits of a sequence; the tokenized catalogues stay valid."""
    return RecformerTokenizer(tokenizer_object=TOKENIZER.backend_tokenizer, **TOKENIZER.special_tokens_map, **limits)


def split(histories: list[list[int]], targets: list[int] | None = None) -> Sequences:
    return Sequences.from_lists([f"u{row}" for row in range(len(histories))], histories, targets)


def random_histories(num_users: int, num_items: int, longest: int = 12, seed: int = 0) -> list[list[int]]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, num_items, size).tolist() for size in generator.integers(2, longest, num_users)]


def sequences_of(batch: dict[str, Any], *fields: str) -> list[tuple[tuple[int, ...], ...]]:
    """The sequences of a packed batch, each a tuple of its fields."""
    bounds = batch["cu_seqlens"].tolist()
    flat = [batch[name][0].tolist() for name in (*FIELDS, *fields)]
    return [tuple(tuple(field[a:b]) for field in flat) for a, b in itertools.pairwise(bounds)]


def expected_sequence(tokenizer: RecformerTokenizer, catalog: TokenizedCatalog, history: list[int]) -> tuple:
    encoded = tokenizer.encode_history([catalog[item] for item in history])
    return tuple(tuple(encoded[name]) for name in FIELDS)


def index(users: range | list[int], epoch: int = 0, dataset: int = 0) -> np.ndarray:
    return np.array([(epoch, dataset, user) for user in users], dtype=INDEX)


def counted_sequences(lengths: Any, targets: bool = False, first_item: int = 0) -> Sequences:
    """Sequences of these lengths over items counted up from `first_item`."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = np.arange(offsets[-1], dtype=np.int32) + first_item
    return Sequences(
        [f"u{row}" for row in range(len(lengths))], items, offsets, items[offsets[:-1]] if targets else None
    )
