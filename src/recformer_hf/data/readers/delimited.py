"""Delimited text (CSV, TSV, MovieLens' `::`), streamed by pyarrow, which names the misshapen lines."""

from __future__ import annotations

import bisect
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv as pa_csv

from ..polars_engine import pl
from .common import (
    SHOWN_LINES,
    DamagedFileError,
    FileReport,
    MissingColumnsError,
    TimeUnit,
    existing_file,
    parse_timestamps,
)

BLOCK_BYTES = 8 << 20


def read_delimited(
    path: str | Path,
    columns: Sequence[str] | None,
    required: Sequence[str],
    report: FileReport,
    *,
    names: Sequence[str] | None = None,
    delimiter: str = ",",
    quote: str | Literal[False] = '"',
    encoding: str = "utf8",
    timestamp: str | None = None,
    unit: TimeUnit = "s",
) -> Iterator[pl.DataFrame]:
    """Some columns of a delimited file, plain or compressed (.gz, .bz2, .zst), as text, in blocks and in order.

    Line numbers count records: a quoted field with a line break in it is one line.

    Args:
        path: the file.
        columns: columns wanted; None takes all.
        required: columns that no line may have empty; a line that has, or has another number of fields, is damaged.
        report: filled in while reading.
        names: the file's columns where it has no header line.
        delimiter: one character between fields.
        quote: the quoting character, or False.
        encoding: of the file.
        timestamp: a required column of times, which comes out as by `parse_timestamps`.
        unit: of numeric times.

    Yields:
        frames of the undamaged lines; an empty field is null.

    Raises:
        MissingColumnsError: a wanted column is not in the file.
        DamagedFileError: the compressed data cannot be read, or the file is not of this encoding.
    """
    path = existing_file(path)
    damaged: dict[int, str] = {}

    def skip(row: Any) -> str:
        if row.text.strip():
            damaged[row.number] = f"{row.actual_columns} fields, not {row.expected_columns}"
        return "skip"

    try:
        with pa.input_stream(str(path)) as stream:
            present = list(names) if names is not None else _header(stream, delimiter, quote, encoding)
        if not present:
            raise MissingColumnsError(f"{path.name} is empty; a table with a header line was expected.")
        wanted = list(present if columns is None else columns)
        missing = [name for name in [*wanted, *required] if name not in present]
        if missing:
            raise MissingColumnsError(
                f"{path.name}: no column {', '.join(map(repr, dict.fromkeys(missing)))}; its columns are "
                f"{', '.join(map(repr, present))}. Name the columns, and check the delimiter ({delimiter!r})."
            )
        with pa.input_stream(str(path)) as stream:
            blocks = pa_csv.open_csv(
                stream,
                # One thread: only then are damaged lines given with their numbers.
                pa_csv.ReadOptions(
                    use_threads=False,
                    block_size=BLOCK_BYTES,
                    column_names=present,
                    skip_rows=0 if names is not None else 1,
                    encoding=encoding,
                ),
                pa_csv.ParseOptions(
                    delimiter=delimiter,
                    quote_char=quote,
                    newlines_in_values=quote is not False,
                    ignore_empty_lines=False,
                    invalid_row_handler=skip,
                ),
                pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(present, pa.string()),
                    include_columns=list(dict.fromkeys([*wanted, *required])),
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=True,
                    null_values=[""],
                ),
            )
            good_rows, header_lines = 0, int(names is None)
            for block in blocks:
                frame = pl.DataFrame(pl.from_arrow(block))
                yield _usable(frame, good_rows, header_lines, required, timestamp, unit, report, damaged).select(wanted)
                good_rows += frame.height
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise DamagedFileError(
            f"{path}: cannot be read as {encoding} text with {delimiter!r} between fields ({error})."
        ) from error
    report.lines += len(damaged)
    report.add_damaged(list(damaged.items()))


def _header(stream: Any, delimiter: str, quote: str | Literal[False], encoding: str) -> list[str]:
    first = stream.read(1 << 16).decode("latin-1" if encoding != "utf8" else "utf-8-sig", "replace").split("\n", 1)[0]
    return (
        next(csv.reader([first.rstrip("\r")], delimiter=delimiter, quotechar=quote or None), [])
        if first.strip()
        else []
    )


def _usable(
    frame: pl.DataFrame,
    good_rows_before: int,
    header_lines: int,
    required: Sequence[str],
    timestamp: str | None,
    unit: TimeUnit,
    report: FileReport,
    misshapen: dict[int, str],
) -> pl.DataFrame:
    """A block's rows that have what is required; the others go to the report under their line's number."""
    found = frame
    if timestamp is not None:
        frame = frame.with_columns(parse_timestamps(frame[timestamp], unit))
    blank = found.select(pl.all_horizontal(pl.all().is_null())).to_series()
    bad = frame.select(pl.any_horizontal(pl.col(name).is_null() for name in required)).to_series()
    numbers = sorted(misshapen)
    rows = (bad & ~blank).arg_true()
    examples = []
    for row in rows.head(SHOWN_LINES).to_list():
        name = next(name for name in required if frame[name][row] is None)
        number = good_rows_before + row + 1 + header_lines
        # The lines before it that were skipped for their shape count too.
        while (shifted := good_rows_before + row + 1 + header_lines + bisect.bisect_right(numbers, number)) != number:
            number = shifted
        value = found[name][row]
        missing = f"no {name!r}"
        examples.append(
            (number, missing if value is None else f"{name!r} is {value!r}, no time from 1970 to 2100 in {unit!r}")
        )
    report.add_damaged(examples, more=len(rows) - len(examples))
    report.lines += int((~blank).sum())
    report.check_so_far()
    return frame.filter(~bad & ~blank)
