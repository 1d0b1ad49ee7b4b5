"""The Arrow table underneath an `ItemCatalog`: its schema, its checks, its rows as dictionaries, its fingerprint.

pyarrow is imported when a catalogue is used, not before: a checkpoint with its code loads where it is not installed.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from transformers.utils import logging

logger = logging.get_logger(__name__)

ITEM_ID = "item_id"
"""Column of the ids."""

ATTRIBUTES = "attributes"
"""Column of the attributes: for every item a list of `{"key": ..., "value": ...}`."""

CHUNK_ROWS = 16_384
"""Items in one Arrow record batch: text offsets are 32-bit, so a batch holds at most 2 GiB of text."""

OnInvalid = Literal["raise", "drop"]

# pyarrow's classes under their own names, without importing it.
Array = Any
ChunkedArray = Any
RecordBatch = Any
Schema = Any
Table = Any


def arrow(module: str = "pyarrow") -> Any:
    """`pyarrow`, or a module of it.

    Raises:
        ImportError: if pyarrow is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"An item catalogue needs pyarrow ({error}). Install it: `pip install pyarrow`.") from error


def schema() -> Schema:
    """Arrow schema of a catalogue: `item_id` string, `attributes` list of (key string, value string)."""
    pa = arrow()
    attribute = pa.struct([("key", pa.string()), ("value", pa.string())])
    return pa.schema([(ITEM_ID, pa.string()), (ATTRIBUTES, pa.list_(attribute))])


def describe(columns: Schema) -> str:
    """Names and types of a schema's columns, for a message."""
    return ", ".join(f"{field.name}: {field.type}" for field in columns)


def record_batch(ids: Array, offsets: np.ndarray, keys: Array, values: Array) -> RecordBatch:
    """One record batch of a catalogue; attributes without a key or a value are left out.

    Args:
        ids: string `[items]`.
        offsets: int `[items + 1]`, where each item's attributes begin and end.
        keys, values: string `[offsets[-1]]`.
    """
    pa = arrow()
    if values.null_count or keys.null_count:
        present = arrow("pyarrow.compute").and_(values.is_valid(), keys.is_valid())
        kept = np.concatenate([[0], np.cumsum(present.to_numpy(zero_copy_only=False))])
        keys, values, offsets = keys.filter(present), values.filter(present), kept[offsets]
    entries = pa.StructArray.from_arrays([keys, values], names=["key", "value"])
    lists = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), entries)
    return pa.RecordBatch.from_arrays([ids, lists], schema=schema())


def checked(table: Table, on_invalid: OnInvalid) -> Table:
    """The table without repeated ids, empty ids and items without any text; or an error that counts them.

    Args:
        table: of the catalogue's schema.
        on_invalid: `"raise"`, or `"drop"` to leave them out (the first of a repeated id stays) and log their number.

    Raises:
        ValueError: if there are any and `on_invalid` is `"raise"`, or if it is neither of the two.
    """
    if on_invalid not in ("raise", "drop"):
        raise ValueError(f"on_invalid is {on_invalid!r}; expected 'raise' or 'drop'.")
    pa = arrow()
    ids = table[ITEM_ID]
    empty = _blank(ids)
    textless = _textless(table) & ~empty
    # Of a repeated id the first that has text counts, so that dropping never loses an item that could stay.
    repeated = ~empty & ~textless
    repeated[repeated] = _repeated(ids.filter(pa.array(repeated)))
    kinds = (
        ("with an empty id, in rows", empty),
        ("with the id of an earlier one", repeated),
        ("without text", textless),
    )
    invalid = empty | repeated | textless
    if not invalid.any():
        return table
    counts = []
    for kind, mask in kinds:
        if mask.any():
            rows = np.flatnonzero(mask)
            shown = rows[:5].tolist() if mask is empty else ids.take(pa.array(rows[:5])).to_pylist()
            counts.append(f"{len(rows):,} {kind} ({', '.join(map(repr, shown))}{', ...' if len(rows) > 5 else ''})")
    message = f"{invalid.sum():,} of {len(table):,} items cannot be in a catalogue: {'; '.join(counts)}."
    if on_invalid == "raise":
        raise ValueError(f"{message} Mend the source, or leave them out with on_invalid='drop'.")
    logger.warning(f"{message} They are left out.")
    return table.filter(pa.array(~invalid))


def _blank(texts: ChunkedArray) -> np.ndarray:
    """Which texts are nothing but white space, bool `[texts]`."""
    pc = arrow("pyarrow.compute")
    return np.asarray(pc.equal(pc.binary_length(pc.utf8_trim_whitespace(texts)), 0), dtype=bool)


def _repeated(ids: ChunkedArray) -> np.ndarray:
    """Which ids have stood before already, bool `[ids]`."""
    pc = arrow("pyarrow.compute")
    repeated = np.zeros(len(ids), dtype=bool)
    if pc.count_distinct(ids).as_py() < len(ids):
        codes = pc.index_in(ids, value_set=pc.unique(ids)).to_numpy()
        repeated[:] = True
        repeated[np.unique(codes, return_index=True)[1]] = False
    return repeated


def _textless(table: Table) -> np.ndarray:
    """Which items have no value that is more than white space, bool `[items]`."""
    masks = [np.zeros(0, dtype=bool)]
    for batch in table.to_batches():
        texts_before = np.concatenate([[0], np.cumsum(~_blank(batch.column(1).flatten().field("value")))])
        ends = np.concatenate([[0], np.cumsum(batch.column(1).value_lengths().to_numpy())])
        masks.append(texts_before[ends[1:]] == texts_before[ends[:-1]])
    return np.concatenate(masks)


def attribute_dicts(batch: RecordBatch) -> Iterator[dict[str, str]]:
    """The attributes of each item of a record batch."""
    entries = batch.column(1).flatten()
    keys, values = entries.field("key").to_pylist(), entries.field("value").to_pylist()
    start = 0
    for count in batch.column(1).value_lengths().to_pylist():
        end = start + count
        yield dict(zip(keys[start:end], values[start:end], strict=True))
        start = end


def fingerprint(table: Table) -> str:
    """32 hexadecimal digits that depend on ids, keys, values and their order, not on chunks and slices (BLAKE2b).

    Every column of text is hashed as one stream of bytes and one of lengths, so that where a chunk ends never shows.
    """
    counts = hashlib.blake2b()
    lengths, contents = ([hashlib.blake2b() for _ in range(3)] for _ in range(2))
    for batch in table.to_batches():
        counts.update(batch.column(1).value_lengths().to_numpy().astype("<i4").tobytes())
        entries = batch.column(1).flatten()
        texts = (batch.column(0), entries.field("key"), entries.field("value"))
        for length, content, column in zip(lengths, contents, texts, strict=True):
            _hash_texts(length, content, column)
    digests = [stream.digest() for stream in (counts, *lengths, *contents)]
    return hashlib.blake2b(b"".join(digests), digest_size=16, person=b"ItemCatalog 1").hexdigest()


def _hash_texts(lengths: Any, content: Any, texts: Array) -> None:
    if len(texts) == 0:
        return
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    lengths.update(np.diff(ends).astype("<i4").tobytes())
    if data is not None:  # all texts are empty
        content.update(memoryview(data)[ends[0] : ends[-1]])
