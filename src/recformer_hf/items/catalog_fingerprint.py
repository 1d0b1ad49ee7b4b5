"""The fingerprint of an `ItemCatalog`."""

from __future__ import annotations

import hashlib

import numpy as np

from .arrow import Array, Table


def fingerprint(table: Table) -> str:
    """32 hexadecimal digits that depend on ids, keys, values and their order, not on chunks and slices (BLAKE2b).

    Every text column is hashed as one stream of bytes and one of lengths, so that chunk boundaries leave no trace.
    """
    counts = hashlib.blake2b()
    lengths, contents = ([hashlib.blake2b() for _ in range(3)] for _ in range(2))
    for batch in table.to_batches():
        # The byte order is fixed, so that every machine computes the same.
        counts.update(batch.column(1).value_lengths().to_numpy().astype("<i4").tobytes())
        entries = batch.column(1).flatten()
        texts = (batch.column(0), entries.field("key"), entries.field("value"))
        for length, content, column in zip(lengths, contents, texts, strict=True):
            _hash_texts(length, content, column)
    digests = [stream.digest() for stream in (counts, *lengths, *contents)]
    return hashlib.blake2b(b"".join(digests), digest_size=16, person=b"ItemCatalog 1").hexdigest()


def _hash_texts(lengths: hashlib.blake2b, content: hashlib.blake2b, texts: Array) -> None:
    if len(texts) == 0:
        return
    # A slice shares the whole array's buffers, which may be padded; its own texts are found by its offset.
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32, count=texts.offset + len(texts) + 1)[texts.offset :]
    lengths.update(np.diff(ends).astype("<i4").tobytes())
    if data is not None:  # Arrow may allocate no buffer when all texts are empty
        content.update(memoryview(data)[ends[0] : ends[-1]])
