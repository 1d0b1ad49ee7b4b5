"""The Arrow table underneath an `ItemCatalog`: its schema, its checks and its rows as dictionaries.

pyarrow is imported on first use. This module travels with checkpoints, and a checkpoint loads where pyarrow is not
installed.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from transformers.utils import logging

logger = logging.get_logger(__name__)

ITEM_ID = "item_id"
"""Column of the ids."""

ATTRIBUTES = "attributes"
"""Column of the attributes: for every item a list of `{"key": ..., "value": ...}`."""

CHUNK_ROWS = 16_384
"""Items in one Arrow record batch. Text offsets are 32-bit, so a batch holds at most 2 GiB of text."""

OnInvalid = Literal["raise", "drop"]

# Classes of pyarrow and of libraries that give Arrow tables. Importing them under TYPE_CHECKING would not work:
# transformers reads all imports of a checkpoint's code and refuses to load it where one of them is not installed.
Array = Any
ChunkedArray = Any
DataType = Any
RecordBatch = Any
Schema = Any
Table = Any
Dataset = Any
PandasFrame = Any
PolarsFrame = Any


def arrow(module: str = "pyarrow") -> Any:
    """`pyarrow`, or one of its modules.

    Raises:
        ImportError: if pyarrow is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"An item catalogue needs pyarrow ({error}). Install it: `pip install pyarrow`.") from error


# By name, because the oldest pyarrow that `datasets` accepts has neither is_string_view() nor is_list_view().
def is_string(kind: DataType) -> bool:
    """Whether this is one of Arrow's types of text."""
    return str(kind) in ("string", "large_string", "string_view")


def is_list(kind: DataType) -> bool:
    """Whether this is one of Arrow's types of lists."""
    return str(kind).startswith(("list", "large_list", "fixed_size_list"))


def schema() -> Schema:
    """Arrow schema of a catalogue: `item_id` string, `attributes` list of (key string, value string)."""
    pa = arrow()
    # A list of pairs keeps every item's own order of keys and tells a missing key from an empty value. One column per
    # key would do neither, and a catalogue of many kinds of items would have thousands of nearly empty columns.
    attribute = pa.struct([("key", pa.string()), ("value", pa.string())])
    return pa.schema([(ITEM_ID, pa.string()), (ATTRIBUTES, pa.list_(attribute))])


def describe(columns: Schema) -> str:
    """Names and types of a schema's columns, for a message."""
    return ", ".join(f"{field.name}: {field.type}" for field in columns)


def check_schema(found: Schema) -> None:
    """Raises a `ValueError` if these are not a catalogue's columns."""
    if found != schema():
        raise ValueError(
            f"Not a catalogue's table: its columns are {describe(found)}; expected {describe(schema())}. "
            "Use ItemCatalog.from_arrow or another from_* method."
        )


def check_content(table: Table) -> None:
    """Checks a table with a catalogue's columns that comes from elsewhere: offsets, texts, missing values and ids.

    Raises:
        pyarrow.ArrowInvalid: if an offset points outside of its buffer, or a text is not UTF-8.
        ValueError: if a value is missing, or an id empty or repeated.
    """
    table.validate(full=True)
    for batch in table.to_batches():
        entries = batch.column(1).flatten()
        for name, column in (
            (ITEM_ID, batch.column(0)),
            (ATTRIBUTES, batch.column(1)),
            ("attribute", entries),
            ("key", entries.field("key")),
            ("value", entries.field("value")),
        ):
            if column.null_count:
                raise ValueError(f"{column.null_count:,} missing values in {name!r}.")
    for problem, mask in (("empty", _blank(table[ITEM_ID])), ("repeated", _repeated(table[ITEM_ID]))):
        if mask.any():
            raise ValueError(f"{mask.sum():,} ids are {problem}, the first in row {mask.argmax()}.")


def record_batch(ids: Array, offsets: np.ndarray, keys: Array, values: Array) -> RecordBatch:
    """One record batch of a catalogue. Attributes whose key or value is null are left out.

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


class _Invalid(NamedTuple):
    """Items that cannot be in a catalogue, bool `[items]` each; an item is in at most one of them."""

    empty: np.ndarray
    repeated: np.ndarray
    textless: np.ndarray


def checked(table: Table, on_invalid: OnInvalid) -> Table:
    """The table without repeated ids, empty ids and items without text, or an error that counts them.

    Args:
        table: has the catalogue's schema.
        on_invalid: `"raise"`, or `"drop"` to drop such items and log their number. Of several items with the same id,
            the first one that has text stays.

    Raises:
        ValueError: if there are invalid items and `on_invalid` is `"raise"`, or if `on_invalid` is neither value.
    """
    if on_invalid not in ("raise", "drop"):
        raise ValueError(f"on_invalid is {on_invalid!r}; expected 'raise' or 'drop'.")
    invalid = _invalid(table)
    dropped = invalid.empty | invalid.repeated | invalid.textless
    if not dropped.any():
        return table
    message = f"{dropped.sum():,} of {len(table):,} items cannot be in a catalogue: {_counted(table, invalid)}."
    if on_invalid == "raise":
        raise ValueError(f"{message} Fix the source, or drop these items with on_invalid='drop'.")
    logger.warning(f"{message} They are dropped.")
    return table.filter(arrow().array(~dropped))


def _invalid(table: Table) -> _Invalid:
    ids = table[ITEM_ID]
    empty = _blank(ids)
    textless = _textless(table) & ~empty
    # Only items with text compete for a repeated id. Dropping then never loses an item that could have stayed.
    repeated = ~empty & ~textless
    repeated[repeated] = _repeated(ids.filter(arrow().array(repeated)))
    return _Invalid(empty, repeated, textless)


def _counted(table: Table, invalid: _Invalid) -> str:
    """How many items are invalid in each way, with the first five of each kind."""
    kinds = (
        ("with an empty id, in rows", invalid.empty),
        ("with the id of an earlier one", invalid.repeated),
        ("without text", invalid.textless),
    )
    counts = []
    for kind, mask in kinds:
        rows = np.flatnonzero(mask)
        if len(rows):
            is_empty = mask is invalid.empty
            first = rows[:5].tolist() if is_empty else table[ITEM_ID].take(arrow().array(rows[:5])).to_pylist()
            counts.append(f"{len(rows):,} {kind} ({', '.join(map(repr, first))}{', ...' if len(rows) > 5 else ''})")
    return "; ".join(counts)


def _blank(texts: ChunkedArray) -> np.ndarray:
    """Which texts are empty or only white space, bool `[texts]`."""
    pc = arrow("pyarrow.compute")
    return np.asarray(pc.equal(pc.binary_length(pc.utf8_trim_whitespace(texts)), 0), dtype=bool)


def _repeated(ids: ChunkedArray) -> np.ndarray:
    """Which ids equal an earlier one, bool `[ids]`."""
    pc = arrow("pyarrow.compute")
    repeated = np.zeros(len(ids), dtype=bool)
    # Counting is much cheaper than looking every id up, and nearly every source has no repeated id.
    if pc.count_distinct(ids).as_py() < len(ids):
        codes = pc.index_in(ids, value_set=pc.unique(ids)).to_numpy()
        repeated[:] = True
        repeated[np.unique(codes, return_index=True)[1]] = False
    return repeated


def _textless(table: Table) -> np.ndarray:
    """Which items have no value but white space, bool `[items]`."""
    masks = [np.zeros(0, dtype=bool)]
    for batch in table.to_batches():
        texts_before = np.concatenate([[0], np.cumsum(~_blank(batch.column(1).flatten().field("value")))])
        ends = np.concatenate([[0], np.cumsum(batch.column(1).value_lengths().to_numpy())])
        masks.append(texts_before[ends[1:]] == texts_before[ends[:-1]])
    return np.concatenate(masks)


def attribute_names(table: Table) -> list[str]:
    """Every key that any item has, in order of first appearance."""
    unique = arrow("pyarrow.compute").unique
    keys = (unique(batch.column(1).flatten().field("key")).to_pylist() for batch in table.to_batches())
    return list(dict.fromkeys(key for names in keys for key in names))


def attribute_dicts(batch: RecordBatch) -> Iterator[dict[str, str]]:
    """The attributes of each item of a record batch."""
    # Converting the two flat columns is many times faster than converting item by item with as_py().
    entries = batch.column(1).flatten()
    keys, values = entries.field("key").to_pylist(), entries.field("value").to_pylist()
    start = 0
    for count in batch.column(1).value_lengths().to_pylist():
        end = start + count
        yield dict(zip(keys[start:end], values[start:end], strict=True))
        start = end
