"""Any table of interactions and table of items: CSV, TSV, parquet or JSON lines, the columns named by arguments."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pa_parquet

from ..polars_engine import pl
from .common import (
    MAX_DAMAGED,
    SHOWN_LINES,
    DamagedFileError,
    DataError,
    FileReport,
    MissingColumnsError,
    ReadReport,
    Source,
    TimeUnit,
    as_categories,
    concat_interactions,
    existing_file,
    parse_timestamps,
)
from .delimited import read_delimited
from .json_lines import iter_blocks, read_json_lines

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

    The format is told by the file's ending: .csv, .tsv, .parquet, .jsonl (.ndjson, .json: one object a line), the
    text formats also with .gz. Of several rows of one item the first is kept.

    Args:
        interactions: table of interactions.
        items: table of items.
        user_column: column of the users' ids, text or whole numbers.
        item_column: column of the items' ids.
        timestamp_column: column of times: numbers in `timestamp_unit`, dates, or text of either
            (`common.parse_timestamps`).
        timestamp_unit: "s", "ms", "us" or "ns".
        items_id_column: the id's column in `items`; `item_column` unless given.
        attributes: columns of `items` that make up an item's text, in this order; all but the id unless given.
            Numbers become text, lists are joined by spaces.
        max_damaged: share of a file's lines, 0 to 1, that may be damaged before it is refused.

    Returns:
        the source.

    Raises:
        MissingFileError, MissingColumnsError, DamagedFileError: see `common`.
        DataError: a file's ending names no known format.
    """
    paths = existing_file(interactions), existing_file(items)
    report = ReadReport("tables")
    report.files.append(file := FileReport(paths[0].name, max_damaged))
    users, item_ids = pl.Categories.random(), pl.Categories.random()
    columns = [user_column, item_column, timestamp_column]
    frames = []
    for frame in _interaction_blocks(paths[0], columns, timestamp_unit, file):
        named = frame.select(
            pl.col(user_column).cast(pl.String).alias("user_id"),
            pl.col(item_column).cast(pl.String).alias("item_id"),
            pl.col(timestamp_column).alias("timestamp"),
        )
        frames.append(as_categories(named, users, item_ids))
    file.check()
    report.files.append(file := FileReport(paths[1].name, max_damaged))
    table = _read_items(paths[1], items_id_column or item_column, attributes, file)
    file.check()
    unique = table.unique("item_id", keep="first", maintain_order=True)
    report.count("repeated_items", table.height - unique.height)
    return Source(concat_interactions(frames), unique, report)


def table_format(path: Path) -> TableFormat:
    """The format that a file's ending names.

    Raises:
        DataError: it names none.
    """
    endings = [ending.lower() for ending in path.suffixes if ending.lower() not in _COMPRESSED]
    found = _ENDINGS.get(endings[-1]) if endings else None
    if found is None:
        raise DataError(
            f"{path.name}: the ending names no known format; expected one of {', '.join(_ENDINGS)}, or one with .gz."
        )
    return found


def _interaction_blocks(path: Path, columns: list[str], unit: TimeUnit, report: FileReport) -> Iterator[pl.DataFrame]:
    kind, timestamp = table_format(path), columns[-1]
    if kind == "parquet":
        yield from _parquet_blocks(path, columns, unit, report)
    elif kind == "jsonl":
        types = dict.fromkeys(columns, pl.String)
        yield from read_json_lines(path, types, columns, report, timestamp=timestamp, unit=unit)
    else:
        delimiter = "\t" if kind == "tsv" else ","
        yield from read_delimited(path, columns, columns, report, delimiter=delimiter, timestamp=timestamp, unit=unit)


def _parquet_blocks(path: Path, columns: list[str], unit: TimeUnit, report: FileReport) -> Iterator[pl.DataFrame]:
    file = _open_parquet(path)
    present = file.schema_arrow.names
    _check_columns(path, present, columns)
    timestamp, row_number = columns[-1], 1
    for batch in file.iter_batches(batch_size=1 << 20, columns=columns):
        found = pl.DataFrame(pl.from_arrow(batch))
        frame = found.with_columns(
            parse_timestamps(found[timestamp], unit), *(pl.col(name).cast(pl.String) for name in columns[:-1])
        )
        bad = frame.select(
            pl.any_horizontal(
                *(pl.col(name).is_null() for name in columns), *(pl.col(name) == "" for name in columns[:-1])
            )
        ).to_series()
        rows = bad.arg_true()
        examples = [
            (row_number + row, ", ".join(f"{name!r} is {found[name][row]!r}" for name in columns))
            for row in rows.head(SHOWN_LINES).to_list()
        ]
        report.add_damaged(examples, more=len(rows) - len(examples))
        report.lines += frame.height
        report.check_so_far()
        row_number += frame.height
        yield frame.filter(~bad)


def _open_parquet(path: Path) -> pa_parquet.ParquetFile:
    try:
        return pa_parquet.ParquetFile(path)
    except (ValueError, OSError) as error:
        raise DamagedFileError(f"{path}: not a readable parquet file ({error}).") from error


def _check_columns(path: Path, present: Sequence[str], wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in present]
    if missing:
        raise MissingColumnsError(
            f"{path.name}: no column {', '.join(map(repr, missing))}; its columns are {', '.join(map(repr, present))}. "
            "Name the columns."
        )


def _read_items(path: Path, id_column: str, attributes: Sequence[str] | None, report: FileReport) -> pl.DataFrame:
    """The table of items: `item_id` and its attributes as text."""
    kind = table_format(path)
    if kind == "parquet":
        file = _open_parquet(path)
        names = (
            [name for name in file.schema_arrow.names if name != id_column] if attributes is None else list(attributes)
        )
        _check_columns(path, file.schema_arrow.names, [id_column, *names])
        frame = pl.DataFrame(pl.from_arrow(file.read([id_column, *names])))
        report.lines += frame.height
    elif kind == "jsonl":
        found = _json_types(path)
        names = [name for name in found if name != id_column] if attributes is None else list(attributes)
        types = {id_column: pl.String, **{name: found.get(name, pl.String) for name in names}}
        frame = pl.concat([pl.DataFrame(schema=types), *read_json_lines(path, types, [id_column], report)])
        _check_columns(path, [*found, *(name for name in names if frame[name].count())], names)
    else:
        delimiter = "\t" if kind == "tsv" else ","
        wanted = None if attributes is None else [id_column, *attributes]
        frames = list(read_delimited(path, wanted, [id_column], report, delimiter=delimiter))
        frame = pl.concat(frames) if frames else pl.DataFrame(schema=dict.fromkeys(wanted or [id_column], pl.String))
        names = [name for name in frame.columns if name != id_column] if attributes is None else list(attributes)
    if not names:
        raise MissingColumnsError(f"{path.name}: no column of text beside the id {id_column!r}.")
    frame = frame.select(pl.col(id_column).cast(pl.String).alias("item_id"), *(_as_text(frame, name) for name in names))
    missing = frame["item_id"].is_null()
    rows = missing.arg_true()
    examples = [(row + 1, f"no {id_column!r}") for row in rows.head(SHOWN_LINES).to_list()]
    report.add_damaged(examples, more=len(rows) - len(examples))
    return frame.filter(~missing)


def _as_text(frame: pl.DataFrame, name: str) -> pl.Expr:
    """A column as text without white space around it; null where nothing is left."""
    dtype, column = frame.schema[name], pl.col(name)
    if isinstance(dtype, (pl.List, pl.Array)):
        column = column.cast(pl.List(pl.String)).list.drop_nulls().list.join(" ")
    return column.cast(pl.String).str.strip_chars().replace("", None)


def _json_types(path: Path) -> dict[str, Any]:
    """Keys of the first thousand objects in order of appearance, each a text or a list of texts."""
    types: dict[str, Any] = {}
    _, block = next(iter_blocks(path), (1, b""))
    for line in block.split(b"\n", 1000)[:1000]:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        for name, value in row.items() if isinstance(row, dict) else ():
            types[name] = pl.List(pl.String) if isinstance(value, list) else types.get(name, pl.String)
    return types
