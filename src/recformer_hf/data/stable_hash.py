"""The hash behind the draws of preparation and splits: who is drawn depends on their id and the seed alone."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def stable_hash(texts: pa.Array, seed: int = 0) -> np.ndarray:
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
    offsets = np.frombuffer(ends, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    letters = np.frombuffer(data, dtype=np.uint8) if data is not None else np.zeros(0, dtype=np.uint8)
    starts, lengths = offsets[:-1], np.diff(offsets)
    start_value = mix(np.array([seed % 2**64], dtype=np.uint64))[0] ^ np.uint64(0xCBF29CE484222325)
    hashes = np.full(len(texts), start_value, dtype=np.uint64)
    longer, position = np.flatnonzero(lengths > 0), 0
    while len(longer):
        hashes[longer] = (hashes[longer] ^ letters[starts[longer] + position]) * np.uint64(0x100000001B3)
        position += 1
        longer = longer[lengths[longer] > position]
    return mix(hashes)


def mix(numbers: np.ndarray) -> np.ndarray:
    """SplitMix64's output function (Steele, Lea and Flood, OOPSLA 2014): spreads every bit over all, uint64 `[n]`."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def first_by_hash(ids: pa.Array, number: int, seed: int) -> np.ndarray:
    """Positions of the `number` ids with the smallest hashes, int64 `[number]`."""
    return np.argsort(stable_hash(ids, seed), kind="stable")[:number]
