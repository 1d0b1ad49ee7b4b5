"""From rows and tables of items to the record batches of an `ItemCatalog`: ids and attributes as text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np

from .arrow import ATTRIBUTES, CHUNK_ROWS, Array, DataType, RecordBatch, Table, arrow, record_batch
from .columns import text_column
from .ids import id_texts, item_id_text, strings
from .text import attribute_text, shown


def batches_from_pairs(
    pairs: Iterable[tuple[object, object]],
    attributes: Sequence[str] | None = None,
    place: Callable[[int], str] = "Item {}".format,
) -> Iterator[RecordBatch]:
    """Record batches from (id, attributes) pairs. Every item keeps its own order of keys.

    Args:
        pairs: any iterable, read once; the second of a pair is a mapping.
        attributes: keys to keep, in this order for every item. `None` keeps all in the item's own order.
        place: from the number of a pair to how errors name it.

    Raises:
        TypeError: if an id, an item, a key or a value has an unsupported type. The message names the item.
        ValueError: if no item has any of the `attributes`.
    """
    check_attributes(attributes)
    pairs, row, has_wanted = iter(pairs), 0, attributes is None
    while chunk := list(islice(pairs, CHUNK_ROWS)):
        ids: list[str] = []
        ends: list[int] = [0]
        keys: list[str] = []
        values: list[str] = []
        for raw_id, item in chunk:
            ids.append(_id_text(raw_id, place, row))
            for key, value in _selected(item, attributes, place, row, ids[-1]):
                try:
                    text = attribute_text(value)
                except TypeError as error:
                    where = f"{place(row)} (id {ids[-1]!r})"
                    raise TypeError(f"{where}: the value of {key!r} is or holds {error}.") from None
                if text is not None:
                    keys.append(key)
                    values.append(text)
            ends.append(len(keys))
            row += 1
        has_wanted = has_wanted or bool(keys)
        yield record_batch(strings(ids), np.array(ends), strings(keys), strings(values))
    # The names are probably misspelled, which an error about items without text would not say.
    if row and not has_wanted:
        raise ValueError(f"None of the {row:,} items has any of the attributes {list(attributes or [])}.")


def _id_text(raw_id: object, place: Callable[[int], str], row: int) -> str:
    try:
        return item_id_text(raw_id)
    except TypeError as error:
        raise TypeError(f"{place(row)}: {error}") from None


def _selected(
    item: object, attributes: Sequence[str] | None, place: Callable[[int], str], row: int, item_id: str
) -> Iterable[tuple[str, object]]:
    if not isinstance(item, Mapping):
        raise TypeError(
            f"{place(row)} (id {item_id!r}) is a {type(item).__name__}; expected a mapping of attributes. Columns "
            "({'item_id': [...], 'title': [...]}) are read as a table: ItemCatalog.from_arrow(pyarrow.table(columns))."
        )
    for key in item:
        if not isinstance(key, str):
            raise TypeError(
                f"{place(row)} (id {item_id!r}) has the key {shown(key)} of type {type(key).__name__}; "
                "keys must be strings."
            )
    return item.items() if attributes is None else [(name, item[name]) for name in attributes if name in item]


def check_attributes(attributes: Sequence[str] | None) -> None:
    """Refuses a single name, which would be read as a list of letters, and names that occur twice.

    Raises:
        TypeError, ValueError: see above.
    """
    if attributes is None:
        return
    if isinstance(attributes, str) or not all(isinstance(name, str) for name in attributes):
        raise TypeError(f"attributes= is a list of names, got {shown(attributes)}.")
    check_distinct(attributes, "The attribute", "is asked for twice")


def check_distinct(names: Sequence[str], subject: str, problem: str) -> None:
    """Raises a `ValueError` that names the first repeated name."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{subject} {name!r} {problem}.")
        seen.add(name)


def pairs_from_rows(
    rows: Iterable[object],
    id_column: str,
    attributes: Sequence[str] | None = None,
    place: Callable[[int], str] = "Row {}".format,
) -> Iterator[tuple[object, Mapping[object, object]]]:
    """(id, attributes) of rows that hold the id besides the attributes.

    The id is among the attributes only if `attributes` names it.

    Raises:
        TypeError: if a row is not a mapping.
        ValueError: if a row has no `id_column`.
    """
    keep_id = attributes is not None and id_column in attributes
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TypeError(
                f"{place(number)} is a {type(row).__name__}; expected a mapping of the item's id and its attributes."
            )
        if id_column not in row:
            raise ValueError(
                f"{place(number)} has no {id_column!r}; it has {shown_names(row)}. "
                "Name the id's column with id_column=."
            )
        yield row[id_column], row if keep_id else {key: value for key, value in row.items() if key != id_column}


def shown_names(names: Iterable[object]) -> str:
    """A list of names, cut after twenty."""
    first = list(islice(names, 21))
    return f"[{', '.join(map(repr, first[:20]))}{', ...' if len(first) > 20 else ''}]"


def batches_from_table(table: Table, id_column: str, attributes: Sequence[str] | None = None) -> Iterator[RecordBatch]:
    """Record batches from an Arrow table with a column for the id.

    A table with a catalogue's own two columns (as `load_dataset(folder, "items")` gives) keeps every item's keys and
    their order. Any other table has one column per attribute: the columns' order is every item's order, and a missing
    value leaves the attribute out. An index without a name that pandas wrote into a file is no attribute, unless
    `attributes` asks for it.

    Args:
        table: `pyarrow.Table`.
        id_column: its column of ids, text or whole numbers.
        attributes: columns to take, in this order. `None` takes all but the id's.

    Raises:
        TypeError: if a column's values cannot become text.
        ValueError: if the table lacks a column, or has one twice.
    """
    names = column_choice(table.column_names, id_column, attributes)
    as_pairs = names == [ATTRIBUTES] and is_pairs(table.schema.field(ATTRIBUTES).type)
    row = 0
    for batch in table.select([id_column, *names]).to_batches(max_chunksize=CHUNK_ROWS):
        ids = _id_column(batch.column(0), id_column, row)
        if as_pairs:
            yield _batch_of_pairs(ids, batch.column(1), row)
        else:
            yield _batch_of_columns(ids, names, batch.columns[1:], row)
        row += len(batch)


def column_choice(columns: Sequence[str], id_column: str, attributes: Sequence[str] | None) -> list[str]:
    """The columns of attributes: those of `attributes`, or all but the id's and the index of pandas.

    Raises:
        ValueError: if a column is not there, or there twice.
    """
    check_attributes(attributes)
    names = list(attributes or ())
    if attributes is None:
        names = [name for place, name in enumerate(columns) if name != id_column and not is_index(name, place)]
    present = set(columns)
    missing = [name for name in dict.fromkeys([id_column, *names]) if name not in present]
    if missing or not names:
        problem = f"has no column {', '.join(map(repr, missing))}" if missing else "has no attribute besides the id"
        raise ValueError(
            f"The table {problem}; its columns are {shown_names(columns)}. Name the id's column with id_column= and "
            "the attributes' with attributes=."
        )
    wanted = {id_column, *names}
    check_distinct([name for name in columns if name in wanted], "The column", "occurs twice; rename one of them")
    return names


def is_index(name: str, place: int) -> bool:
    """Whether a column is the index of a pandas frame that gave it no name, as parquet files and `read_csv` call it.

    Args:
        name: the column's name.
        place: its place in the table, from 0.
    """
    return re.fullmatch(r"__index_level_\d+__", name) is not None or (
        place < 2 and re.fullmatch(r"Unnamed: 0(\.\d+)*", name) is not None
    )


def _batch_of_pairs(ids: Array, lists: Array, first_row: int) -> RecordBatch:
    counts = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    keys, values = (lists.flatten().field(name) for name in ("key", "value"))
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    keys, values = text_column(keys, f"{ATTRIBUTES}.key"), text_column(values, f"{ATTRIBUTES}.value")
    batch = record_batch(ids, offsets, keys, values)
    _check_distinct_keys(batch.column(1), first_row)
    return batch


def _check_distinct_keys(lists: Array, first_row: int) -> None:
    keys = lists.flatten().field("key").dictionary_encode()
    rows = np.repeat(np.arange(len(lists)), lists.value_lengths().to_numpy())
    pairs, counts = np.unique(rows * len(keys.dictionary) + keys.indices.to_numpy(), return_counts=True)
    repeated = pairs[counts > 1]
    if repeated.size:
        row, code = divmod(int(repeated[0]), len(keys.dictionary))
        raise ValueError(f"Row {first_row + row} has the key {keys.dictionary[code].as_py()!r} twice.")


def _batch_of_columns(ids: Array, names: list[str], columns: list[Array], first_row: int) -> RecordBatch:
    pa = arrow()
    rows, width = len(ids), len(names)
    # The columns are put end to end and then gathered row by row: every item gets all `width` attributes, and
    # `record_batch` removes those without a value.
    texts = [text_column(column, name, first_row) for name, column in zip(names, columns, strict=True)]
    row_by_row = np.arange(rows)[:, None] + np.arange(width) * rows
    keys = strings(names).take(pa.array(np.tile(np.arange(width), rows)))
    values = pa.concat_arrays(texts).take(pa.array(row_by_row.ravel()))
    return record_batch(ids, np.arange(rows + 1) * width, keys, values)


def _id_column(column: Array, name: str, first_row: int) -> Array:
    try:
        return id_texts(column, first_row)
    except TypeError as error:
        raise TypeError(f"The column {name!r} ({column.type}): {error}") from None


def is_pairs(kind: DataType) -> bool:
    """Whether a column of this type holds attributes as a catalogue does: lists of keys and values."""
    types = arrow().types
    if not (types.is_list(kind) or types.is_large_list(kind)) or not types.is_struct(kind.value_type):
        return False
    return {field.name for field in kind.value_type} == {"key", "value"}
