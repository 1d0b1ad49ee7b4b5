"""Interactions and items from Arrow tables: parquet files, and the data frames of other libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from ...items.arrow import is_list, is_string
from ...items.batches import is_index
from ...items.columns import python_values, text_column
from ..polars_engine import pl
from .cells import CellError, ids_as_text, stripped
from .columns import attribute_columns, check_columns
from .list_columns import check_lists, usable_rows
from .required import Required
from .source import DataError, FileReport
from .timestamps import UNITS_PER_SECOND, TimeUnit
from .timestamps import check_times as check_log_times

BATCH_ROWS = 1 << 20
# A row of lists holds up to thousands of interactions.
LIST_BATCH_ROWS = 1 << 14
# Rows of items become Python objects, which take many times the memory of their columns.
ITEM_BATCH_ROWS = 1 << 14

Row = TypeVar("Row")

_ADVICE = "Name the columns."
# The first and the last second that Python's datetime can show.
_EARLIEST, _LATEST = -62_135_596_800, 253_402_300_799


class ArrowTable(Protocol):
    """A table whose rows come in batches.

    `name` says in errors which table it is; `schema` has all of its columns.
    """

    @property
    def name(self) -> str: ...

    @property
    def schema(self) -> pa.Schema: ...

    def batches(self, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        """These columns in order, in batches of at most so many rows."""
        ...


@dataclass(frozen=True)
class TableInMemory:
    """A `pyarrow.Table` as an `ArrowTable`."""

    name: str
    table: pa.Table

    @property
    def schema(self) -> pa.Schema:
        return self.table.schema

    def batches(self, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        yield from self.table.select(columns).to_batches(max_chunksize=rows)


def interactions_of(
    table: ArrowTable, columns: Sequence[str], required: Required, report: FileReport, *, check_times: bool = True
) -> Iterator[pl.DataFrame]:
    """Some columns of a table in blocks and in order: ids as text, times as `parse_timestamps` returns them.

    A row may hold several interactions of its user, the first of `required.names`: lists of equal lengths, of items and
    perhaps of times and ratings.

    Args:
        table: the table.
        columns: the columns to read.
        required: a row that lacks one of these values is damaged. It also says which columns hold times and ratings;
            all others hold ids.
        report: filled in while reading; rows count as lines, from 1.
        check_times: refuse dates and datetimes that all lie in January 1970.

    Yields:
        frames of the undamaged rows.

    Raises:
        MissingColumnsError: if the table lacks a column.
        DataError: if a column has a type that ids or times do not have.
    """
    schema = table.schema
    check_columns(table.name, schema.names, columns, _ADVICE)
    columns = list(dict.fromkeys(columns))
    for name in columns:
        _check_type(table.name, name, schema.field(name).type, required)
    typed = required.timestamp is not None and _is_date(_plain(schema.field(required.timestamp).type))
    latest: list[object] = []
    first_row = 1
    has_lists = any(is_list(schema.field(name).type) for name in columns)
    for batch in table.batches(columns, LIST_BATCH_ROWS if has_lists else BATCH_ROWS):
        rows = _interactions(batch, first_row, required, report)
        first_row += batch.num_rows
        if typed:
            latest.append(rows[required.timestamp or ""].max())
        yield rows
    if typed and check_times:
        try:
            check_log_times(pl.Series(latest, dtype=pl.Int64), required.timestamp or "", typed=True)
        except DataError as error:
            raise DataError(f"{table.name}: {error}") from None


def rows_of(
    table: ArrowTable,
    keys: Sequence[str],
    needed: Sequence[str],
    convert: Callable[[dict[str, object]], Row],
    report: FileReport,
) -> Iterator[list[Row]]:
    """Rows of a table as dictionaries, converted one by one; blocks of them, in order.

    Args:
        table: the table.
        keys: the columns to read, as far as the table has them.
        needed: columns that the table must have.
        convert: a row -> what is kept of it; raises `CellError` if the row is damaged.
        report: filled in while reading; rows count as lines, from 1.
    """
    present = table.schema.names
    check_columns(table.name, present, [*needed, *(key for key in keys if key in present)], _ADVICE)
    columns = [key for key in dict.fromkeys(keys) if key in present]
    first_row = 1
    for batch in table.batches(columns, ITEM_BATCH_ROWS):
        values = [
            _values(column, table.name, name) for name, column in zip(batch.schema.names, batch.columns, strict=True)
        ]
        rows: list[Row] = []
        damaged = []
        for row, cells in enumerate(zip(*values, strict=True), first_row):
            try:
                rows.append(convert(dict(zip(columns, cells, strict=True))))
            except CellError as error:
                damaged.append((row, str(error)))
        report.add_lines(batch.num_rows, damaged)
        first_row += batch.num_rows
        yield rows


def items_of(
    table: ArrowTable, id_column: str, attributes: Sequence[str] | None, report: FileReport
) -> tuple[pl.DataFrame, list[str]]:
    """A table of items as text.

    Args:
        table: the table.
        id_column: the column of ids. A row without an id is damaged.
        attributes: the columns of the items' text; if None, all but the id and pandas' index without a name.
        report: filled in; rows count as lines.

    Returns:
        (the table, its attributes as `attribute_text` writes them, stripped; the names of its attributes).

    Raises:
        MissingColumnsError: if the table lacks a column.
        DataError: if the values of a column cannot become text.
    """
    schema = table.schema
    present = [name for place, name in enumerate(schema.names) if not is_index(name, place)]
    names = attribute_columns(present, id_column, attributes)
    check_columns(table.name, schema.names, [id_column, *names], _ADVICE)
    required = Required([id_column])
    _check_type(table.name, id_column, schema.field(id_column).type, required)
    columns = list(dict.fromkeys([id_column, *names]))
    blocks = [pl.DataFrame(schema=dict.fromkeys(columns, pl.String))]
    first_row = 1
    for batch in table.batches(columns, ITEM_BATCH_ROWS):
        found = (
            _ids(batch.column(id_column), id_column)
            .to_frame()
            .with_columns(
                _texts(batch.column(name), table.name, name, first_row) for name in names if name != id_column
            )
        )
        rows, unusable = required.check(found)
        problems, more = required.problems(found, unusable)
        report.add_lines(batch.num_rows, [(first_row + row, problem) for row, problem in problems], more)
        first_row += batch.num_rows
        blocks.append(rows.filter(~unusable))
    return pl.concat(blocks), names


def _interactions(batch: pa.RecordBatch, first_row: int, required: Required, report: FileReport) -> pl.DataFrame:
    """The usable interactions of a batch; the others go to the report."""
    line_of = pl.int_range(first_row, first_row + batch.num_rows, dtype=pl.Int64, eager=True)
    report.add_lines(batch.num_rows)
    if any(is_list(kind) for kind in batch.schema.types):
        batch, line_of = _exploded(batch, line_of, required, report)
    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name == required.timestamp:
            columns.append(_times(column, name))
        elif name == required.rating:
            columns.append(_series(column, name))
        else:
            columns.append(_ids(column, name))
    return usable_rows(pl.DataFrame(columns), line_of, required, report)


def _exploded(
    batch: pa.RecordBatch, line_of: pl.Series, required: Required, report: FileReport
) -> tuple[pa.RecordBatch, pl.Series]:
    """One row for each element of the lists, and its line; rows whose lists do not fit together go to the report."""
    lists = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if is_list(column.type):
            lists[name] = column.cast(pa.large_list(column.type.value_type))
    lengths = {name: pc.list_value_length(column).to_pylist() for name, column in lists.items()}
    good, damaged = [], []
    for row, found in enumerate(zip(*lengths.values(), strict=True)):
        of_row = dict(zip(lengths, found, strict=True))
        try:
            if None in found:
                raise CellError(f"no {list(lengths)[found.index(None)]!r}")
            check_lists(of_row, required)
            good.append(row)
        except CellError as error:
            damaged.append((int(line_of[row]), str(error)))
    report.add_damaged(damaged)
    kept = pa.array(good, pa.int64())
    lists = {name: column.take(kept) for name, column in lists.items()}
    rows = kept.take(pc.list_parent_indices(next(iter(lists.values()))))
    columns = {
        name: pc.list_flatten(lists[name]) if name in lists else column.take(rows)
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
    return pa.RecordBatch.from_pydict(columns), line_of.gather(rows.to_numpy())


def _check_type(table_name: str, name: str, kind: pa.DataType, required: Required) -> None:
    """Refuse a column whose values cannot be ids, times or ratings, before any row is read."""
    inner = _plain(kind)
    # polars has no decimals of 256 bits.
    is_decimal = pa.types.is_decimal(inner) and not pa.types.is_decimal256(inner)
    is_number = pa.types.is_integer(inner) or pa.types.is_floating(inner) or is_decimal
    if is_number or pa.types.is_null(inner) or is_string(inner):
        fits = not is_list(kind) or (name != required.names[0] and len(required.names) > 1)
    else:
        fits = name == required.timestamp and _is_date(inner)
    if not fits:
        expected = "text or whole numbers"
        if name == required.timestamp:
            expected = "numbers, dates, datetimes or text"
        elif name == required.rating:
            expected = "numbers"
        raise DataError(f"{table_name}: the column {name!r} has the type {kind}; expected {expected}.")


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type of the values in a column that may be dictionary-encoded or hold lists."""
    if is_list(kind) or pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    return kind


def _is_date(kind: pa.DataType) -> bool:
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))


def _series(column: pa.Array, name: str) -> pl.Series:
    """A column as polars holds it."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.type == pa.float16():
        column = column.cast(pa.float32())
    return pl.Series(name, pl.from_arrow(column))


def _ids(column: pa.Array, name: str) -> pl.Series:
    return ids_as_text(_series(column, name), "Float16" if column.type == pa.float16() else None)


def _times(column: pa.Array, name: str) -> pl.Series:
    """A column of times in a type that `parse_timestamps` takes."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not _is_date(column.type):
        return _series(column, name)
    # Not by a cast of polars, in which times of far away years would overflow.
    if pa.types.is_date32(column.type):
        seconds = pl.Series(name, pl.from_arrow(column.cast(pa.int32()))).cast(pl.Int64) * 86_400
    else:
        unit: TimeUnit = "ms" if pa.types.is_date64(column.type) else column.type.unit
        seconds = pl.Series(name, pl.from_arrow(column.cast(pa.int64()))) // UNITS_PER_SECOND[unit]
    return (seconds.clip(_EARLIEST, _LATEST) * 10**6).cast(pl.Datetime("us"))


def _texts(column: pa.Array, table_name: str, name: str, first_row: int) -> pl.Series:
    """A column of attributes as text."""
    try:
        texts = text_column(column, name, first_row)
    except TypeError as error:
        raise DataError(f"{table_name}: {error} Leave the column out with attributes=.") from error
    return stripped(pl.Series(name, pl.from_arrow(texts)))


def _values(column: pa.Array, table_name: str, name: str) -> list[object]:
    """A column as Python objects."""
    try:
        return python_values(column)
    except (TypeError, ValueError, OverflowError, LookupError, NotImplementedError) as error:
        raise DataError(f"{table_name}: the column {name!r} ({column.type}) cannot become text: {error}.") from error
