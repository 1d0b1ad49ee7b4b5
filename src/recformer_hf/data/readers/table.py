"""Reads any table of interactions and table of items: CSV, TSV, parquet or JSON lines, columns named by arguments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from ..polars_engine import pl
from .cells import column_as_text, id_as_text
from .columns import InteractionCollector, attribute_columns, first_of_each_item
from .delimited import CSV, TSV, Dialect, read_delimited
from .files import existing_file
from .json_items import read_json_items
from .json_lines import read_json_lines
from .parquet import read_parquet_interactions, read_parquet_items
from .required import Required
from .source import MAX_DAMAGED, SHOWN_LINES, DataError, FileReport, MissingColumnsError, ReadReport, Source
from .timestamps import TimeUnit

TableFormat = Literal["csv", "tsv", "parquet", "jsonl"]
_ENDINGS: dict[str, TableFormat] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
_COMPRESSED = (".gz", ".bz2", ".zst")
_DIALECTS: dict[TableFormat, Dialect] = {"csv": CSV, "tsv": TSV}


def read_table(
    interactions: str | Path,
    items: str | Path,
    *,
    user_column: str = "user_id",
    item_column: str = "item_id",
    timestamp_column: str = "timestamp",
    timestamp_unit: TimeUnit = "s",
    items_id_column: str | None = None,
    attributes: Sequence[str] | None = None,
    max_damaged: float = MAX_DAMAGED,
) -> Source:
    """Read a table of interactions and a table of items.

    A file's extension determines its format: .csv, .tsv, .parquet, .jsonl (or .ndjson, .json: one object per line); the
    text formats may have .gz added. If several rows describe one item, the first is kept.

    Args:
        interactions: table of interactions.
        items: table of items.
        user_column: column of the users' ids, text or whole numbers.
        item_column: column of the items' ids.
        timestamp_column: column of times: numbers in `timestamp_unit`, dates, or text of either
            (`timestamps.parse_timestamps`).
        timestamp_unit: "s", "ms", "us" or "ns".
        items_id_column: column of the ids in `items`; by default `item_column`.
        attributes: columns of `items` that make up an item's text, in this order; by default all but the id. Numbers
            become text, lists are joined by spaces.
        max_damaged: share of a file's lines, 0 to 1, that may be damaged before the file is refused.

    Returns:
        the source.

    Raises:
        MissingFileError, MissingColumnsError, DamagedFileError: see `source`.
        DataError: if a file's extension is unknown.
    """
    log_path, items_path = existing_file(interactions), existing_file(items)
    report = ReadReport("tables")
    file = report.add_file(log_path.name, max_damaged)
    columns = [user_column, item_column, timestamp_column]
    log = InteractionCollector(*columns)
    for block in _interaction_blocks(log_path, Required(columns, timestamp_column, timestamp_unit), file):
        log.add(block)
    file.check()
    file = report.add_file(items_path.name, max_damaged)
    table = _read_items(items_path, items_id_column or item_column, attributes, file)
    file.check()
    unique = first_of_each_item(table, report, "repeated_items")
    return Source(log.interactions(log_path.name), unique, report)


def table_format(path: Path) -> TableFormat:
    """The format that belongs to a file's extension.

    Raises:
        DataError: if the extension is unknown.
    """
    endings = [ending.lower() for ending in path.suffixes if ending.lower() not in _COMPRESSED]
    found = _ENDINGS.get(endings[-1]) if endings else None
    if found is None:
        raise DataError(
            f"{path.name} has an unknown extension; expected one of {', '.join(_ENDINGS)} (text formats: or with .gz)."
        )
    return found


def _interaction_blocks(path: Path, required: Required, report: FileReport) -> Iterator[pl.DataFrame]:
    kind, columns = table_format(path), required.names
    if kind == "parquet":
        return read_parquet_interactions(path, columns, required, report)
    if kind == "jsonl":
        return read_json_lines(path, columns, required, report)
    return read_delimited(path, columns, required, report, _DIALECTS[kind])


def _read_items(path: Path, id_column: str, attributes: Sequence[str] | None, report: FileReport) -> pl.DataFrame:
    """The table of items: `item_id` and its attributes as text."""
    kind = table_format(path)
    if kind == "parquet":
        table, names = read_parquet_items(path, id_column, attributes, report)
    elif kind == "jsonl":
        table, names = read_json_items(path, id_column, attributes, report)
    else:
        table, names = _read_delimited_items(path, id_column, attributes, report, _DIALECTS[kind])
    if not names:
        raise MissingColumnsError(f"{path.name} has no column besides the id {id_column!r}; an item needs text.")
    items = table.select(id_as_text(id_column).alias("item_id"), *(column_as_text(table, name) for name in names))
    without_id = items["item_id"].is_null()
    rows = without_id.arg_true()
    shown = [(row + 1, f"no {id_column!r}") for row in rows.head(SHOWN_LINES).to_list()]
    report.add_damaged(shown, len(rows) - len(shown))
    return items.filter(~without_id)


def _read_delimited_items(
    path: Path, id_column: str, attributes: Sequence[str] | None, report: FileReport, dialect: Dialect
) -> tuple[pl.DataFrame, list[str]]:
    """The table of items, and the names of its attributes."""
    wanted = None if attributes is None else [id_column, *attributes]
    blocks = list(read_delimited(path, wanted, Required([id_column]), report, dialect))
    table = pl.concat(blocks) if blocks else pl.DataFrame(schema=dict.fromkeys(wanted or [id_column], pl.String))
    return table, attribute_columns(table.columns, id_column, attributes)
