"""Reads any table of interactions and table of items: delimited text, parquet, JSON lines, Excel, RecBole's files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from ..polars_engine import pl
from .cells import stripped
from .columns import InteractionCollector, attribute_columns, check_join, first_of_each_item
from .delimited import Dialect, read_delimited
from .excel import read_excel_interactions, read_excel_items
from .files import FilePaths, existing_files
from .json_items import read_json_items
from .json_lines import read_json_lines
from .parquet import read_parquet_interactions, read_parquet_items
from .required import Required
from .source import MAX_DAMAGED, DataError, FileReport, MissingColumnsError, ReadReport, Source
from .table_formats import TextOptions, table_dialect, table_format
from .timestamps import TimeUnit


def read_table(
    interactions: FilePaths,
    items: FilePaths,
    *,
    user_column: str = "user_id",
    item_column: str = "item_id",
    timestamp_column: str | None = "timestamp",
    timestamp_unit: TimeUnit = "s",
    timestamp_format: str | None = None,
    rating_column: str = "rating",
    min_rating: float | None = None,
    items_id_column: str | None = None,
    attributes: Sequence[str] | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    quote: str | Literal[False] | None = None,
    names: Sequence[str] | None = None,
    items_names: Sequence[str] | None = None,
    check_times: bool = True,
    max_damaged: float = MAX_DAMAGED,
) -> Source:
    """Read a table of interactions and a table of items, each of one or several files.

    A file's extension determines its format: .csv, .tsv, .parquet, .jsonl (or .ndjson, .json), .xlsx, or RecBole's
    .inter and .item, whose columns are called "item_id:token". Text files may be compressed. Files with other
    extensions are delimited text if `delimiter` is given. If several rows describe one item, the first is kept.

    Args:
        interactions: table of interactions: a file, a list of files, or a pattern such as "part-*.parquet", whose
            files are read in the order of their names.
        items: table of items, likewise. All its files must have the same columns (JSON lines may lack some).
        user_column: column of the users' ids, text or whole numbers.
        item_column: column of the items' ids.
        timestamp_column: column of times: numbers in `timestamp_unit`, dates, or text of either
            (`timestamps.parse_timestamps`). None: there are no times, and the order of the rows is that of the
            interactions.
        timestamp_unit: "s", "ms", "us" or "ns".
        timestamp_format: notation of the times as in `datetime.strptime`, such as "%m/%d/%Y %H:%M".
        rating_column: column of ratings; only read with `min_rating`.
        min_rating: skip interactions with a lower rating, or without one. By default all are kept.
        items_id_column: column of the ids in `items`; by default `item_column`.
        attributes: columns of `items` that make up an item's text, in this order; by default all but the id, and but
            the index that pandas wrote. Numbers become text, lists are joined by spaces.
        delimiter: text between the fields of delimited files, such as ";" or "::"; by default what the extension says.
            A file whose columns are found only with the delimiter of its extension is read with that one.
        encoding: encoding of delimited files, such as "latin-1" or "cp1252"; by default UTF-8, or what a byte order
            mark says.
        quote: quoting character of delimited files, or False if quotes are part of the values. By default `"`; if tabs
            are between the fields, it only counts if it encloses a whole field.
        names: the columns of delimited `interactions` without a header line.
        items_names: the columns of delimited `items` without a header line.
        check_times: refuse times that seem to be read in a wrong unit (`timestamps.check_times`).
        max_damaged: share of a file's lines, 0 to 1, that may be damaged before the file is refused.

    Returns:
        the source; `report.file_order` says that there are no times.

    Raises:
        MissingFileError, MissingColumnsError, DamagedFileError: see `source`.
        DataError: if a file's extension is unknown, or an argument cannot be or would have no effect.
    """
    options = TextOptions(delimiter, encoding, quote)
    attributes = _as_list(attributes, "attributes")
    names, items_names = _as_list(names, "names"), _as_list(items_names, "items_names")
    log_paths, item_paths = existing_files(interactions), existing_files(items)
    options.check_effect([*log_paths, *item_paths])
    _check_names(names, log_paths, "names", options)
    _check_names(items_names, item_paths, "items_names", options)
    report = ReadReport("tables", file_order=timestamp_column is None)
    columns = [name for name in (user_column, item_column, timestamp_column) if name is not None]
    if len(set(columns)) < len(columns):
        raise DataError(f"User, item and time must be in columns of their own; the columns are {columns}.")
    required = Required(columns, timestamp_column, timestamp_unit, timestamp_format, rating_column, min_rating)
    log = InteractionCollector(
        user_column, item_column, timestamp_column, unit=timestamp_unit, format=timestamp_format, check=check_times
    )
    for path in log_paths:
        file = report.add_file(path.name, max_damaged)
        for block in _interaction_blocks(path, required, file, options, names, check_times):
            log.add(required.rated(block, report))
        file.check()
    table = _read_items(
        item_paths, items_id_column or item_column, attributes, report, max_damaged, options, items_names
    )
    unique = first_of_each_item(table, report, "repeated_items")
    found = log.interactions(*(path.name for path in log_paths))
    advice = f"The log names its items by {item_column!r}, the table by {items_id_column or item_column!r}."
    check_join(found["item_id"], unique["item_id"], advice)
    return Source(found, unique, report)


def _as_list(names: Sequence[str] | None, argument: str) -> list[str] | None:
    if isinstance(names, str):
        raise DataError(f"{argument} is {names!r}; expected a list of columns, such as [{names!r}].")
    if names is not None and not names:
        raise DataError(f"{argument} is empty; expected at least one column.")
    return None if names is None else list(names)


def _check_names(names: Sequence[str] | None, paths: Sequence[Path], argument: str, options: TextOptions) -> None:
    other = next((path for path in paths if table_format(path, options) != "delimited"), None)
    if names is not None and other is not None:
        raise DataError(f"{argument} would have no effect on {other.name}, which names its columns itself.")


def _interaction_blocks(
    path: Path,
    required: Required,
    report: FileReport,
    options: TextOptions,
    names: Sequence[str] | None,
    check_times: bool,
) -> Iterator[pl.DataFrame]:
    kind, columns = table_format(path, options), required.columns
    if kind == "parquet":
        return read_parquet_interactions(path, columns, required, report, check_times=check_times)
    if kind == "jsonl":
        return read_json_lines(path, columns, required, report)
    if kind == "excel":
        return read_excel_interactions(path, columns, required, report)
    return read_delimited(path, columns, required, report, table_dialect(path, options, names, columns))


def _read_items(
    paths: Sequence[Path],
    id_column: str,
    attributes: Sequence[str] | None,
    report: ReadReport,
    max_damaged: float,
    options: TextOptions,
    names: Sequence[str] | None,
) -> pl.DataFrame:
    """The table of items in several files: `item_id` and its attributes as text."""
    tables: list[pl.DataFrame] = []
    for path in paths:
        file = report.add_file(path.name, max_damaged)
        table = _read_items_file(path, id_column, attributes, file, options, names)
        file.check()
        if tables and set(table.columns) != set(tables[0].columns) and table_format(path, options) != "jsonl":
            raise MissingColumnsError(
                f"{path.name} has other columns than {paths[0].name}: {table.columns[1:]} instead of "
                f"{tables[0].columns[1:]}. Choose columns that all files have with attributes=."
            )
        tables.append(table)
    return pl.concat(tables, how="diagonal")


def _read_items_file(
    path: Path,
    id_column: str,
    attributes: Sequence[str] | None,
    report: FileReport,
    options: TextOptions,
    names: Sequence[str] | None,
) -> pl.DataFrame:
    """A file of items: `item_id` and its attributes as text."""
    kind = table_format(path, options)
    if kind == "parquet":
        table, found = read_parquet_items(path, id_column, attributes, report)
    elif kind == "jsonl":
        table, found = read_json_items(path, id_column, attributes, report)
    elif kind == "excel":
        table, found = read_excel_items(path, id_column, attributes, report)
    else:
        dialect = table_dialect(path, options, names, [id_column, *(attributes or [])])
        table, found = _read_delimited_items(path, id_column, attributes, report, dialect)
    if not found:
        raise MissingColumnsError(f"{path.name} has no column besides the id {id_column!r}; an item needs text.")
    return table.select(pl.col(id_column).alias("item_id"), stripped(pl.col(found)))


def _read_delimited_items(
    path: Path, id_column: str, attributes: Sequence[str] | None, report: FileReport, dialect: Dialect
) -> tuple[pl.DataFrame, list[str]]:
    """The table of items, and the names of its attributes."""
    wanted = None if attributes is None else [id_column, *attribute_columns([], id_column, attributes)]
    table = pl.concat(list(read_delimited(path, wanted, Required([id_column]), report, dialect)))
    return table, attribute_columns(table.columns, id_column, attributes)
