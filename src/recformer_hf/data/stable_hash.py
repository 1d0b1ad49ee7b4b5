"""The hash behind the draws of preparation and splits: whether an id is drawn depends only on it and on the seed.

Adding users or items therefore leaves the draw of all others as it was, and the order of the rows does not matter.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def stable_hash(texts: pa.Array | pa.ChunkedArray, seed: int = 0) -> np.ndarray:
    """A 64-bit hash of every text, the same on every machine and version (FNV-1a of the UTF-8 bytes, then SplitMix64).

    Args:
        texts: Arrow strings `[n]` without nulls.
        seed: another seed gives an unrelated hash.

    Returns:
        uint64 `[n]`.
    """
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    texts = texts.cast(pa.large_string())
    _, ends, data = texts.buffers()
    # A slice shares its parent's buffers, so its own offsets start at `texts.offset`.
    offsets = np.frombuffer(ends, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    letters = np.frombuffer(data, dtype=np.uint8) if data is not None else np.zeros(0, dtype=np.uint8)
    starts, lengths = offsets[:-1], np.diff(offsets)
    start_value = mix(np.array([seed % 2**64], dtype=np.uint64))[0] ^ np.uint64(0xCBF29CE484222325)
    hashes = np.full(len(texts), start_value, dtype=np.uint64)
    # FNV-1a is sequential in the bytes of a text, so the loop runs over positions and takes all texts at once.
    longer, position = np.flatnonzero(lengths > 0), 0
    while len(longer):
        hashes[longer] = (hashes[longer] ^ letters[starts[longer] + position]) * np.uint64(0x100000001B3)
        position += 1
        longer = longer[lengths[longer] > position]
    return mix(hashes)


def mix(numbers: np.ndarray) -> np.ndarray:
    """SplitMix64's output function (Steele, Lea and Flood, OOPSLA 2014), uint64 `[n]`: every bit affects all bits."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = numbers ^ (numbers >> np.uint64(31))
    return mixed


def first_by_hash(ids: pa.Array, number: int, seed: int) -> np.ndarray:
    """Positions of the `number` ids with the smallest hashes, int64 `[number]`."""
    return np.argsort(stable_hash(ids, seed), kind="stable")[:number]
