"""Reads parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..polars_engine import pl
from .cells import id_as_text
from .columns import attribute_columns, check_columns
from .files import open_parquet
from .required import Required
from .source import FileReport

BATCH_ROWS = 1 << 20

_ADVICE = "Name the columns."


def read_parquet_interactions(
    path: Path, columns: Sequence[str], required: Required, report: FileReport
) -> Iterator[pl.DataFrame]:
    """Some columns of a parquet file in blocks and in order: ids as text, times as `parse_timestamps` returns them.

    Args:
        path: an existing file.
        columns: the columns to read.
        required: a row that lacks one of these values is damaged.
        report: filled in while reading; rows count as lines, from 1.

    Yields:
        frames of the undamaged rows.

    Raises:
        MissingColumnsError: if the file lacks a column.
        DamagedFileError: if the file is not a parquet file.
    """
    file = open_parquet(path)
    check_columns(path.name, file.schema_arrow.names, columns, _ADVICE)
    ids = [id_as_text(name) for name in columns if name != required.timestamp]
    first_row = 1
    for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(columns)):
        found = pl.DataFrame(pl.from_arrow(batch)).with_columns(ids)
        rows, unusable = required.check(found)
        problems, more = required.problems(found, unusable)
        report.add_lines(found.height, [(first_row + row, problem) for row, problem in problems], more)
        first_row += found.height
        yield rows.filter(~unusable)


def read_parquet_items(
    path: Path, id_column: str, attributes: Sequence[str] | None, report: FileReport
) -> tuple[pl.DataFrame, list[str]]:
    """A table of items, with the column types of the file.

    Args:
        path: an existing file.
        id_column: the column of ids.
        attributes: the columns of the items' text; if None, all but the id.
        report: filled in; rows count as lines.

    Returns:
        (the table, the names of its attributes).
    """
    file = open_parquet(path)
    present = file.schema_arrow.names
    names = attribute_columns(present, id_column, attributes)
    check_columns(path.name, present, [id_column, *names], _ADVICE)
    table = pl.DataFrame(pl.from_arrow(file.read([id_column, *names])))
    report.add_lines(table.height)
    return table, names
