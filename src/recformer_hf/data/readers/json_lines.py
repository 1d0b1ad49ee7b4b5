"""Reads files with one object per line. polars parses whole blocks; only a damaged block is parsed line by line.

Reading a clean log therefore runs no Python code per row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..polars_engine import pl
from .cells import CellValue, cell_value
from .column_types import ColumnTypes
from .columns import check_columns
from .files import existing_file, line_blocks
from .required import Required
from .source import FileReport

# How many lines suffice to recognise a file of another layout.
_CHECKED_LINES = 100


@dataclass(frozen=True)
class Notation:
    """How the lines of a file write their objects.

    Args:
        parse: a line -> its value; raises an exception if the line is damaged. It defines what a line means.
        to_json: a line of another notation -> the same line as JSON, for polars' parser. It must be exact wherever the
            result is valid JSON. None if the lines are JSON.
    """

    parse: Callable[[bytes], object] = json.loads
    to_json: Callable[[bytes], bytes] | None = None

    def block_to_json(self, block: bytes) -> bytes:
        """A block of lines as JSON lines."""
        if self.to_json is None:
            return block
        return b"\n".join([self.to_json(line) if line else line for line in block.split(b"\n")])


JSON = Notation()


def read_json_lines(
    path: str | Path, columns: ColumnTypes, required: Required, report: FileReport, notation: Notation = JSON
) -> Iterator[pl.DataFrame]:
    """Some columns of a plain or gzipped file with one object per line, in blocks and in order.

    Args:
        path: the file.
        columns: name -> polars type (String, Int64, lists of String) of the columns to read; all others are ignored. A
            column of times is Int64 if they are numbers, and String if they may be text.
        required: a line that lacks one of these values is damaged.
        report: filled in while reading.
        notation: how the lines write their objects.

    Yields:
        frames with `columns` of the undamaged lines.

    Raises:
        MissingColumnsError: if the first objects of the file lack a required column.
        DamagedFileError: if the gzip data are corrupt or end too early.
    """
    path = existing_file(path)
    for first_line, block in line_blocks(path):
        if report.lines == 0:
            _check_first_objects(path, block, required, notation)
        rows = _parse_clean_block(notation.block_to_json(block), columns, required)
        if rows is not None:
            report.add_lines(rows.height)
        else:
            parsed = _parse_line_by_line(block, columns, required, notation)
            rows = parsed.rows
            damaged = [(first_line + line, problem) for line, problem in parsed.damaged]
            report.add_lines(parsed.lines, damaged, parsed.more_damaged)
        if rows.height:
            yield rows


def _check_first_objects(path: Path, block: bytes, required: Required, notation: Notation) -> None:
    """Recognise a file of another layout, so that the error is not "every line is damaged"."""
    first: dict[str, object] | None = None
    for line in block.split(b"\n", _CHECKED_LINES)[:_CHECKED_LINES]:
        try:
            row = _parse_object(line, notation)
        except _DamagedLineError:
            continue
        if all(name in row for name in required.names):
            return
        first = row if first is None else first
    if first is not None:
        check_columns(path.name, first, required.names, "Check that the file has the requested layout.")


def _parse_clean_block(text: bytes, columns: ColumnTypes, required: Required) -> pl.DataFrame | None:
    """The rows of a block, or None if any of its lines is or may be damaged."""
    if not text.strip():
        return pl.DataFrame(schema=columns)
    try:
        # With `ignore_errors` a value of another type becomes null instead of failing the block.
        found = pl.read_ndjson(text, schema=columns, ignore_errors=True)
    except (pl.exceptions.ComputeError, pl.exceptions.PanicException):
        return None
    rows, unusable = required.check(found)
    return None if unusable.any() else rows


class _ParsedLines(NamedTuple):
    """The content of a block that is not clean."""

    rows: pl.DataFrame
    lines: int
    """Number of lines that are not blank."""
    damaged: list[tuple[int, str]]
    """(index of the line in the block, from 0; what is wrong with it)."""
    more_damaged: int
    """Number of damaged lines that `damaged` does not list."""


class _DamagedLineError(ValueError):
    """A line cannot be used; the message says why."""


def _parse_line_by_line(block: bytes, columns: ColumnTypes, required: Required, notation: Notation) -> _ParsedLines:
    lines = [(position, line) for position, line in enumerate(block.split(b"\n")) if line.strip()]
    values: dict[str, list[CellValue | None]] = {name: [] for name in columns}
    positions, damaged = [], []
    for position, line in lines:
        try:
            row = _parse_row(line, columns, required, notation)
        except _DamagedLineError as error:
            damaged.append((position, str(error)))
            continue
        positions.append(position)
        for name, value in row.items():
            values[name].append(value)
    found = pl.DataFrame(values, schema=columns)
    rows, unusable = required.check(found)
    problems, more_damaged = required.problems(found, unusable)
    damaged += [(positions[row], problem) for row, problem in problems]
    return _ParsedLines(rows.filter(~unusable), len(lines), damaged, more_damaged)


def _parse_row(
    line: bytes, columns: ColumnTypes, required: Required, notation: Notation
) -> dict[str, CellValue | None]:
    """The values of a line, with all that are required; the times are not parsed yet."""
    found = _parse_object(line, notation)
    row = {name: cell_value(found.get(name), dtype) for name, dtype in columns.items()}
    for name in required.names:
        if row[name] is None or row[name] == "":
            raise _DamagedLineError(f"{name!r} is {found[name]!r}" if name in found else f"no {name!r}")
    return row


def _parse_object(line: bytes, notation: Notation) -> dict[str, object]:
    try:
        found = notation.parse(line)
    except Exception as error:  # whatever a broken line makes the parser raise
        reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else getattr(error, "msg", None) or str(error)
        raise _DamagedLineError(f"not readable ({reason})") from error
    if not isinstance(found, dict):
        raise _DamagedLineError(f"a {type(found).__name__}, expected an object")
    return found
