"""From any source of items to the record batches of an `ItemCatalog`: ids, and attributes as text."""

from __future__ import annotations

import csv
import gzip
import json
import numbers
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from .arrow import ATTRIBUTES, CHUNK_ROWS, Array, RecordBatch, Table, arrow, record_batch
from .text import attribute_text


def item_id_text(value: Any) -> str:
    """An item id as text: whole numbers as their digits; a missing id is `""`.

    Raises:
        TypeError: if the id is neither text nor a whole number.
    """
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, (float, np.floating)) and value != value):
        return ""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return str(int(value))
    hint = " pandas makes floats of a column of whole numbers with gaps: read it as text."
    raise TypeError(
        f"The item id {value!r} is a {type(value).__name__}; expected text or a whole number."
        f"{hint if isinstance(value, (float, np.floating)) else ''}"
    )


def batches_from_pairs(
    pairs: Iterable[tuple[Any, Mapping[str, Any]]], attributes: Sequence[str] | None = None
) -> Iterator[RecordBatch]:
    """Record batches from (id, attributes) pairs, each item's keys in its own order.

    Args:
        pairs: any iterable, read once.
        attributes: keys to keep, in this order for every item; `None` keeps all as they stand.

    Raises:
        TypeError: for an id, an item, a key or a value of a type that cannot be kept; the message names the item.
        ValueError: if no item has any of the `attributes`.
    """
    pairs, row, has_wanted = iter(pairs), 0, attributes is None
    while chunk := list(islice(pairs, CHUNK_ROWS)):
        ids: list[str] = []
        ends: list[int] = [0]
        keys: list[str] = []
        values: list[str] = []
        for raw_id, item in chunk:
            ids.append(item_id_text(raw_id))
            for key, value in _selected(item, attributes, f"Item {row} (id {ids[-1]!r})"):
                try:
                    text = attribute_text(value)
                except TypeError as error:
                    raise TypeError(f"Item {row} (id {ids[-1]!r}): the value of {key!r} is {error}.") from None
                if text is not None:
                    keys.append(key)
                    values.append(text)
            ends.append(len(keys))
            row += 1
        has_wanted = has_wanted or bool(keys)
        yield record_batch(_strings(ids), np.array(ends), _strings(keys), _strings(values))
    if row and not has_wanted:
        raise ValueError(f"None of the {row:,} items has any of the attributes {list(attributes or [])}.")


def _selected(item: Any, attributes: Sequence[str] | None, where: str) -> Iterable[tuple[str, Any]]:
    if not isinstance(item, Mapping):
        raise TypeError(f"{where} is a {type(item).__name__}; expected a mapping of attributes.")
    for key in item:
        if not isinstance(key, str):
            raise TypeError(f"{where} has the key {key!r} of type {type(key).__name__}; keys are text.")
    return item.items() if attributes is None else [(name, item[name]) for name in attributes if name in item]


def batches_from_table(table: Table, id_column: str, attributes: Sequence[str] | None = None) -> Iterator[RecordBatch]:
    """Record batches from an Arrow table with a column for the id.

    A table that has a catalogue's own two columns (as `load_dataset(folder, "items")` gives) keeps every item's keys
    and their order. Any other table has one column an attribute: their order is every item's order, and a missing
    value leaves the attribute out.

    Args:
        table: `pyarrow.Table`.
        id_column: its column of ids, text or whole numbers.
        attributes: columns to take, in this order; `None` takes all but the id's.

    Raises:
        TypeError: for a column whose values cannot be text.
        ValueError: for columns that are not there.
    """
    names = [name for name in table.column_names if name != id_column] if attributes is None else list(attributes)
    missing = [name for name in [id_column, *names] if name not in table.column_names]
    if missing or not names:
        problem = f"has no column {', '.join(map(repr, missing))}" if missing else "has no attribute beside the id"
        raise ValueError(
            f"The table {problem}; its columns are {table.column_names}. Name the id's with id_column= and the "
            "attributes' with attributes=."
        )
    as_pairs = names == [ATTRIBUTES] and _is_pairs(table.schema.field(ATTRIBUTES).type)
    for batch in table.select([id_column, *names]).to_batches(max_chunksize=CHUNK_ROWS):
        ids = _id_column(batch.column(0))
        yield _batch_of_pairs(ids, batch.column(1)) if as_pairs else _batch_of_columns(ids, names, batch.columns[1:])


def _batch_of_pairs(ids: Array, lists: Array) -> RecordBatch:
    text = arrow().string()
    counts = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    entries = lists.flatten()
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    return record_batch(ids, offsets, entries.field("key").cast(text), entries.field("value").cast(text))


def _batch_of_columns(ids: Array, names: list[str], columns: list[Array]) -> RecordBatch:
    pa = arrow()
    rows, width = len(ids), len(names)
    texts = pa.concat_arrays([_text_column(column, name) for name, column in zip(names, columns, strict=True)])
    row_by_row = np.arange(rows)[:, None] + np.arange(width) * rows
    keys = pa.array(names, pa.string()).take(pa.array(np.tile(np.arange(width), rows)))
    return record_batch(ids, np.arange(rows + 1) * width, keys, texts.take(pa.array(row_by_row.ravel())))


def _is_pairs(kind: Any) -> bool:
    types = arrow().types
    if not (types.is_list(kind) or types.is_large_list(kind)) or not types.is_struct(kind.value_type):
        return False
    return {field.name for field in kind.value_type} == {"key", "value"}


def _casts_to_text(kind: Any) -> bool:
    types = arrow().types
    if types.is_dictionary(kind):
        kind = kind.value_type
    # Arrow's third type of text is named, not tested: the first versions that `datasets` accepts have no test for it.
    return types.is_integer(kind) or str(kind) in ("string", "large_string", "string_view", "null")


def _id_column(column: Array) -> Array:
    if _casts_to_text(column.type):
        return column.cast(arrow().string()).fill_null("")
    return _strings([item_id_text(value) for value in column.to_pylist()])


def _text_column(column: Array, name: str) -> Array:
    if _casts_to_text(column.type):
        return column.cast(arrow().string())
    # numpy keeps a float32 what it is: 9.99, where a Python float would say 9.989999771118164.
    floating = arrow().types.is_floating(column.type)
    values = column.to_numpy(zero_copy_only=False) if floating else column.to_pylist()
    try:
        return _strings([attribute_text(value) for value in values])
    except TypeError as error:
        raise TypeError(f"The column {name!r} ({column.type}) holds {error}.") from None


def _strings(values: Sequence[str | None]) -> Array:
    pa = arrow()
    try:
        return pa.array(values, pa.string())
    except (
        UnicodeEncodeError
    ):  # halves of surrogate pairs, which JSON can hold and Unicode cannot: join or replace them
        whole = [
            value and value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") for value in values
        ]
        return pa.array(whole, pa.string())


def pairs_from_rows(rows: Iterable[Any], id_column: str) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """(id, attributes) of rows that hold the id beside the attributes.

    Raises:
        TypeError: for a row that is no mapping.
        ValueError: for a row without the id's column.
    """
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TypeError(f"Row {number} is a {type(row).__name__}; expected a mapping.")
        if id_column not in row:
            raise ValueError(f"Row {number} has no {id_column!r}; it has {list(row)}. Name the id with id_column=.")
        yield row[id_column], {key: value for key, value in row.items() if key != id_column}


def open_text(path: str | os.PathLike[str]) -> IO[str]:
    """A text file, gzipped or not, whose lines are read as UTF-8 (a byte-order mark is skipped)."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"No file {os.fspath(path)}.")
    if os.fspath(path).endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return open(path, encoding="utf-8-sig")


def json_content(path: str | os.PathLike[str]) -> dict[str, Any] | list[Any]:
    """What a JSON file holds: an object or a list.

    Raises:
        ValueError: if it is no JSON or holds something else.
    """
    with open_text(path) as file:
        try:
            content = json.load(file)
        except ValueError as error:  # malformed JSON or malformed UTF-8
            raise ValueError(
                f"{os.fspath(path)} is no JSON: {error}. A file with one object a line is JSON lines."
            ) from error
    if not isinstance(content, (dict, list)):
        raise ValueError(f"{os.fspath(path)} holds a {type(content).__name__}; expected an object or a list.")
    return content


def json_lines(path: str | os.PathLike[str]) -> Iterator[Any]:
    """The value of every line that is not blank.

    Raises:
        ValueError: if a line is no JSON, with its number.
    """
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield json.loads(line)
                except json.JSONDecodeError as error:
                    raise ValueError(f"{os.fspath(path)}, line {number}, is no JSON: {error}") from error


def csv_table(path: str | os.PathLike[str], delimiter: str) -> Table:
    """A CSV file with a header line, gzipped or not, as an Arrow table: every cell text, an empty one missing.

    Raises:
        ValueError: if the file cannot be read so.
    """
    pa, pa_csv = arrow(), arrow("pyarrow.csv")
    with open_text(path) as file:
        names = next(csv.reader(file, delimiter=delimiter), [])
    texts = pa_csv.ConvertOptions(
        column_types={name: pa.string() for name in names},
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
        null_values=[""],
    )
    parse = pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    try:
        return pa_csv.read_csv(os.fspath(path), parse_options=parse, convert_options=texts)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{os.fspath(path)} cannot be read as CSV with delimiter {delimiter!r}: {error}") from error


def parquet_table(path: str | os.PathLike[str]) -> Table:
    """A parquet file as an Arrow table.

    Raises:
        FileNotFoundError, ValueError: if it is not there, or no parquet.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"No file {os.fspath(path)}.")
    try:
        return arrow("pyarrow.parquet").ParquetFile(os.fspath(path)).read()
    except (arrow().ArrowInvalid, OSError) as error:
        raise ValueError(f"{os.fspath(path)} cannot be read as parquet: {error}") from error
