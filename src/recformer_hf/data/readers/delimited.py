"""Reads delimited text (CSV, TSV, MovieLens' `::`). pyarrow streams it and reports the malformed lines."""

from __future__ import annotations

import bisect
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa
import pyarrow.csv as pa_csv

from ..polars_engine import pl
from .columns import check_columns
from .files import decompressed_stream, existing_file, header_line
from .required import Required
from .source import DamagedFileError, FileReport, MissingColumnsError

BLOCK_BYTES = 8 << 20


@dataclass(frozen=True)
class Dialect:
    """How a delimited file is written.

    Args:
        delimiter: the character between two fields.
        quote: the quoting character, or False if the file has none.
        encoding: "utf8", or another encoding that pyarrow knows.
        names: the file's columns if it has no header line.
    """

    delimiter: str = ","
    quote: str | Literal[False] = '"'
    encoding: str = "utf8"
    names: Sequence[str] | None = None

    @property
    def header_lines(self) -> int:
        """Number of lines before the first row."""
        return int(self.names is None)


CSV = Dialect()
TSV = Dialect(delimiter="\t")


def read_delimited(
    path: str | Path,
    columns: Sequence[str] | None,
    required: Required,
    report: FileReport,
    dialect: Dialect = CSV,
) -> Iterator[pl.DataFrame]:
    """Some columns of a plain or compressed (.gz, .bz2, .zst) delimited file as text, in blocks and in order.

    Line numbers count records: a quoted field that contains a line break is part of one line.

    Args:
        path: the file.
        columns: the columns to read, or None for all.
        required: a line that lacks one of these values, or has more or fewer fields than the header, is damaged.
        report: filled in while reading.
        dialect: how the file is written.

    Yields:
        frames of the undamaged lines; an empty field is null.

    Raises:
        MissingColumnsError: if the file lacks a column.
        DamagedFileError: if the compressed data are corrupt, or the file has another encoding.
    """
    path = existing_file(path)
    skipped = _SkippedLines(dialect.header_lines)
    try:
        present = list(dialect.names) if dialect.names is not None else _header(path, dialect)
        if not present:
            raise MissingColumnsError(f"{path.name} is empty; expected a table with a header line.")
        wanted = list(present if columns is None else columns)
        advice = f"Name the columns, and check the delimiter ({dialect.delimiter!r})."
        check_columns(path.name, present, [*wanted, *required.names], advice)
        with decompressed_stream(path) as stream:
            rows_before = 0
            for block in _open_csv(stream, present, [*wanted, *required.names], dialect, skipped):
                found = pl.DataFrame(pl.from_arrow(block))
                yield _usable_rows(found, rows_before, required, skipped, report).select(wanted)
                rows_before += found.height
    except FileNotFoundError:
        raise
    except (pa.ArrowInvalid, OSError) as error:
        raise DamagedFileError(
            f"{path} cannot be read as {dialect.encoding} text with {dialect.delimiter!r} between fields ({error})."
        ) from error
    report.add_lines(len(skipped.problems), list(skipped.problems.items()))


def _header(path: Path, dialect: Dialect) -> list[str]:
    line = header_line(path, dialect.encoding)
    if not line.strip():
        return []
    return next(csv.reader([line], delimiter=dialect.delimiter, quotechar=dialect.quote or None), [])


def _open_csv(
    stream: pa.NativeFile, present: list[str], wanted: list[str], dialect: Dialect, skipped: _SkippedLines
) -> pa_csv.CSVStreamingReader:
    return pa_csv.open_csv(
        stream,
        pa_csv.ReadOptions(
            use_threads=False,  # with more threads pyarrow does not number the lines that it skips
            block_size=BLOCK_BYTES,
            column_names=present,
            skip_rows=dialect.header_lines,
            encoding=dialect.encoding,
        ),
        pa_csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote,
            newlines_in_values=dialect.quote is not False,
            ignore_empty_lines=False,  # an ignored line would shift the numbers of those after it
            invalid_row_handler=skipped.skip,
        ),
        pa_csv.ConvertOptions(
            column_types=dict.fromkeys(present, pa.string()),  # inferred types would turn the id "007" into 7
            include_columns=list(dict.fromkeys(wanted)),
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            null_values=[""],  # the default has "NA" and "null" too, which may be titles
        ),
    )


def _usable_rows(
    found: pl.DataFrame, rows_before: int, required: Required, skipped: _SkippedLines, report: FileReport
) -> pl.DataFrame:
    """The usable rows of a block; the others go to the report."""
    rows, unusable = required.check(found)
    # A blank line is a row without values. It is neither usable nor damaged.
    blank = found.select(pl.all_horizontal(pl.all().is_null())).to_series()
    problems, more = required.problems(found, unusable & ~blank)
    damaged = [(skipped.line_number(rows_before + row), problem) for row, problem in problems]
    report.add_lines(int((~blank).sum()), damaged, more)
    return rows.filter(~unusable)


class _InvalidRow(Protocol):
    """`pyarrow.csv.InvalidRow`, a line with more or fewer fields than the header."""

    number: int
    text: str
    actual_columns: int
    expected_columns: int


class _SkippedLines:
    """The malformed lines, which pyarrow leaves out of its blocks and reports while it parses."""

    def __init__(self, header_lines: int) -> None:
        self.problems: dict[int, str] = {}
        self._header_lines = header_lines

    def skip(self, row: _InvalidRow) -> Literal["skip"]:
        """pyarrow's handler of invalid rows."""
        if row.text.strip():
            self.problems[row.number] = f"{row.actual_columns} fields, not {row.expected_columns}"
        return "skip"

    def line_number(self, row: int) -> int:
        """The number, from 1, of the line that holds a row of the blocks (counted from 0 over all blocks)."""
        skipped = sorted(self.problems)
        first = row + 1 + self._header_lines
        number = first
        # Every skipped line before the row moves it down by one, which may move it past another skipped line.
        while (moved := first + bisect.bisect_right(skipped, number)) != number:
            number = moved
        return number
