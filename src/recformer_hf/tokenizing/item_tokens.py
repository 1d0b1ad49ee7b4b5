"""From the attributes of items, as texts, to tokens: key, value, key, value ... (the paper, section 2.2.1)."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer

from ..items.places import Place, PlacedText
from .encoded_items import KEY_TYPE, VALUE_TYPE, EncodedItems

TEXTS_PER_CALL = 8_192
"""How many texts the Rust tokenizer gets at once. Its result, an object per text, takes far more memory than the
ids."""

_READ_CHARACTERS = 65_536
_CHARACTERS_PER_TOKEN = 64


def readable_part(text: str, max_attr_length: int) -> str:
    """The beginning of a text that is long enough for all tokens that are kept of it.

    The tokenizer would take seconds for a text of a megabyte, of which `max_attr_length` tokens are kept. What is read
    are 65,536 characters from the first that is no space, or 64 for each token if that is more.
    """
    limit = max(_READ_CHARACTERS, _CHARACTERS_PER_TOKEN * max_attr_length)
    if len(text) <= limit:
        return text
    return text[: len(text) - len(text.lstrip()) + limit]


def encode_attributes(
    rows: Sequence[Sequence[tuple[str, str]]], backend: Tokenizer, max_attr_length: int
) -> EncodedItems:
    """Tokenizes the attributes of several items.

    Every distinct text goes through the tokenizer once: keys, brands and categories repeat in nearly every item.

    Args:
        rows: (key, value) texts of each item, at least one per item.
        backend: the Rust tokenizer of item text.
        max_attr_length: tokens of an attribute, its key included.

    Raises:
        ValueError: if an item gives no tokens.
    """
    numbers: dict[str, int] = {}
    text = np.array(
        [numbers.setdefault(text, len(numbers)) for row in rows for attribute in row for text in attribute], np.int64
    )
    texts = [readable_part(each, max_attr_length) for each in numbers]
    flat, starts, lengths = _encode_texts(texts, backend, max_attr_length)

    # Keys are at even places, values at odd ones. A value gets the tokens that its key leaves of the attribute's limit.
    kept = lengths[text]
    kept[1::2] = np.minimum(kept[1::2], max_attr_length - kept[0::2])
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])
    source = np.arange(bounds[-1]) + np.repeat(starts[text] - bounds[:-1], kept)
    types = np.tile(np.array([KEY_TYPE, VALUE_TYPE], dtype=np.uint8), len(text) // 2)

    attributes_before = np.cumsum([0] + [len(row) for row in rows])
    offsets = bounds[2 * attributes_before]
    if (empty := np.flatnonzero(np.diff(offsets) == 0)).size:
        row = int(empty[0])
        problem = f"gives no tokens: {reprlib.repr(dict(rows[row]))}. Give it an attribute with text."
        raise ValueError(PlacedText(Place(row), problem))
    return EncodedItems(flat[source], np.repeat(types, kept), offsets)


def _encode_texts(texts: list[str], backend: Tokenizer, limit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first `limit` ids of each text: flat ids int32, starts int64 `[len(texts)]`, lengths int64 `[len(texts)]`."""
    ids: list[int] = []
    lengths: list[int] = []
    for start in range(0, len(texts), TEXTS_PER_CALL):
        chunk = texts[start : start + TEXTS_PER_CALL]
        # The fast variant does not keep track of character positions, which are not needed here.
        for encoding in backend.encode_batch_fast(chunk, add_special_tokens=False):
            kept = encoding.ids[:limit]
            ids += kept
            lengths.append(len(kept))
    sizes = np.array(lengths, dtype=np.int64)
    return np.array(ids, dtype=np.int32), np.cumsum(sizes) - sizes, sizes


__all__ = ["encode_attributes", "readable_part"]
