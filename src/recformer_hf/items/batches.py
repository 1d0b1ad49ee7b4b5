"""From rows and tables of items to the record batches of an `ItemCatalog`: ids and attributes as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np

from .arrow import ATTRIBUTES, CHUNK_ROWS, Array, DataType, PandasFrame, RecordBatch, Table, arrow, record_batch
from .ids import item_id_text
from .text import attribute_text, without_lone_surrogates


def batches_from_pairs(
    pairs: Iterable[tuple[object, Mapping[str, object]]], attributes: Sequence[str] | None = None
) -> Iterator[RecordBatch]:
    """Record batches from (id, attributes) pairs. Every item keeps its own order of keys.

    Args:
        pairs: any iterable, read once.
        attributes: keys to keep, in this order for every item. `None` keeps all in the item's own order.

    Raises:
        TypeError: if an id, an item, a key or a value has an unsupported type. The message names the item.
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
                    raise TypeError(f"Item {row} (id {ids[-1]!r}): the value of {key!r} is or holds {error}.") from None
                if text is not None:
                    keys.append(key)
                    values.append(text)
            ends.append(len(keys))
            row += 1
        has_wanted = has_wanted or bool(keys)
        yield record_batch(_strings(ids), np.array(ends), _strings(keys), _strings(values))
    # The names are probably misspelled, which an error about items without text would not say.
    if row and not has_wanted:
        raise ValueError(f"None of the {row:,} items has any of the attributes {list(attributes or [])}.")


def _selected(item: object, attributes: Sequence[str] | None, where: str) -> Iterable[tuple[str, object]]:
    if not isinstance(item, Mapping):
        raise TypeError(f"{where} is a {type(item).__name__}; expected a mapping of attributes.")
    for key in item:
        if not isinstance(key, str):
            raise TypeError(f"{where} has the key {key!r} of type {type(key).__name__}; keys must be strings.")
    return item.items() if attributes is None else [(name, item[name]) for name in attributes if name in item]


def pairs_from_rows(rows: Iterable[object], id_column: str) -> Iterator[tuple[object, Mapping[str, object]]]:
    """(id, attributes) of rows that hold the id besides the attributes.

    Raises:
        TypeError: if a row is not a mapping.
        ValueError: if a row has no `id_column`.
    """
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TypeError(f"Row {number} is a {type(row).__name__}; expected a mapping.")
        if id_column not in row:
            raise ValueError(
                f"Row {number} has no {id_column!r}; it has {list(row)}. Name the id's column with id_column=."
            )
        yield row[id_column], {key: value for key, value in row.items() if key != id_column}


def batches_from_table(table: Table, id_column: str, attributes: Sequence[str] | None = None) -> Iterator[RecordBatch]:
    """Record batches from an Arrow table with a column for the id.

    A table with a catalogue's own two columns (as `load_dataset(folder, "items")` gives) keeps every item's keys and
    their order. Any other table has one column per attribute: the columns' order is every item's order, and a missing
    value leaves the attribute out.

    Args:
        table: `pyarrow.Table`.
        id_column: its column of ids, text or whole numbers.
        attributes: columns to take, in this order. `None` takes all but the id's.

    Raises:
        TypeError: if a column's values cannot become text.
        ValueError: if the table lacks a column.
    """
    names = [name for name in table.column_names if name != id_column] if attributes is None else list(attributes)
    missing = [name for name in [id_column, *names] if name not in table.column_names]
    if missing or not names:
        problem = f"has no column {', '.join(map(repr, missing))}" if missing else "has no attribute besides the id"
        raise ValueError(
            f"The table {problem}; its columns are {table.column_names}. Name the id's column with id_column= and the "
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
    # The columns are put end to end and then gathered row by row: every item gets all `width` attributes, and
    # `record_batch` removes those without a value.
    texts = pa.concat_arrays([_text_column(column, name) for name, column in zip(names, columns, strict=True)])
    row_by_row = np.arange(rows)[:, None] + np.arange(width) * rows
    keys = pa.array(names, pa.string()).take(pa.array(np.tile(np.arange(width), rows)))
    return record_batch(ids, np.arange(rows + 1) * width, keys, texts.take(pa.array(row_by_row.ravel())))


def batches_from_pandas(
    frame: PandasFrame, id_column: str, attributes: Sequence[str] | None = None
) -> Iterator[RecordBatch]:
    """Record batches from a pandas frame; arguments and errors as in `batches_from_table`.

    Args:
        frame: `pandas.DataFrame` in which `id_column` is a column or a level of the index.
    """
    pa = arrow()
    if id_column not in frame.columns and id_column in frame.index.names:
        frame = frame.reset_index(id_column)
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # a column of mixed types has no Arrow type: take it value by value
        rows = (dict(zip(frame.columns, row, strict=True)) for row in frame.itertuples(index=False, name=None))
        return batches_from_pairs(pairs_from_rows(rows, id_column), attributes)
    return batches_from_table(table, id_column, attributes)


def _is_pairs(kind: DataType) -> bool:
    types = arrow().types
    if not (types.is_list(kind) or types.is_large_list(kind)) or not types.is_struct(kind.value_type):
        return False
    return {field.name for field in kind.value_type} == {"key", "value"}


def _casts_to_text(kind: DataType) -> bool:
    types = arrow().types
    if types.is_dictionary(kind):
        kind = kind.value_type
    # Text types are compared by name: the oldest pyarrow that `datasets` accepts has no is_string_view().
    return bool(types.is_integer(kind)) or str(kind) in ("string", "large_string", "string_view", "null")


def _id_column(column: Array) -> Array:
    if _casts_to_text(column.type):
        return column.cast(arrow().string()).fill_null("")
    return _strings([item_id_text(value) for value in column.to_pylist()])


def _text_column(column: Array, name: str) -> Array:
    if _casts_to_text(column.type):
        return column.cast(arrow().string())
    # numpy keeps the precision of a float32, 9.99, where to_pylist() would give the Python float 9.989999771118164.
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
    except UnicodeEncodeError:
        return pa.array([value and without_lone_surrogates(value) for value in values], pa.string())
