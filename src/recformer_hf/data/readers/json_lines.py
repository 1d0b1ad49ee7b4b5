"""Reads files with one object per line, or with one list of objects. Python's `json` defines what a line means.

Logs are read by pyarrow, block by block, with the types of their columns fixed beforehand. It then either gives what
Python would give, or refuses the block, which is then parsed line by line. No damaged line changes what others give.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.json as pa_json

from ...items.text import shown
from ..polars_engine import pl
from .cells import CellError, id_text, number_text, time_text
from .columns import check_columns
from .files import existing_file, line_blocks
from .json_documents import document_objects
from .list_columns import check_lists, usable_rows
from .required import Required
from .source import SHOWN_LINES, FileReport

Row = TypeVar("Row")

# How many lines suffice to recognise a file of another layout, and the types of its columns.
_CHECKED_LINES = 100
# pyarrow counts the bytes of a block in 32 bits.
_LARGEST_BLOCK = 1 << 30
_LARGEST_EXACT_FLOAT = 2.0**53
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NEWLINE, _RETURN, _OPENING, _CLOSING = b"\n\r{}"


def parse_json(line: bytes) -> object:
    """The value of a line, by Python's `json`. A number of thousands of digits becomes the text of its digits.

    Raises:
        ValueError: if the line is not JSON in UTF-8.
        RecursionError: if it is nested a thousand times.
    """
    text = line.decode()
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # Python refuses to convert such numbers
        return json.loads(text, parse_int=_whole_number)


def _whole_number(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:
        return digits


@dataclass(frozen=True)
class Notation:
    """How the lines of a file write their objects.

    Args:
        parse: a line -> its value; raises an exception if the line is damaged. It defines what a line means.
        to_json: a block of lines of another notation -> the block as JSON lines, for pyarrow's parser. It must be exact
            wherever the result is valid JSON. None if the lines are JSON.
    """

    parse: Callable[[bytes], object] = parse_json
    to_json: Callable[[bytes], bytes] | None = None


JSON = Notation()


def read_json_lines(
    path: str | Path, columns: Sequence[str], required: Required, report: FileReport, notation: Notation = JSON
) -> Iterator[pl.DataFrame]:
    """Some columns of a log with one object per line, in blocks and in order.

    The log may also be one JSON list of objects, whose elements count as lines. A line may hold several interactions
    of its user, the first of `required.names`: lists of equal lengths, of items and perhaps of times and ratings.

    Args:
        path: the file, plain or compressed.
        columns: the columns to read; all others are ignored.
        required: a line that lacks one of these values is damaged. It also says which columns hold times and ratings;
            all others hold ids.
        report: filled in while reading.
        notation: how the lines write their objects.

    Yields:
        frames with `columns` of the undamaged lines: ids as text, times as `parse_timestamps` returns them, ratings as
        numbers or text.

    Raises:
        MissingColumnsError: if the first objects of the file lack a required column.
        DamagedFileError: if the compressed data are corrupt or end too early.
        DataError: if the file holds another JSON document.
    """
    columns = list(columns)
    for block in _blocks(existing_file(path), required.names, notation):
        rows = None if block.document is not None else _parse_clean_block(block.text, columns, required, notation)
        if rows is None:
            rows = _parse_line_by_line(block, columns, required, report, notation)
        else:
            report.add_lines(rows.height)
        if rows.height:
            yield rows


def read_json_rows(
    path: str | Path,
    names: Sequence[str],
    convert: Callable[[dict[str, object]], Row],
    report: FileReport,
    notation: Notation = JSON,
) -> Iterator[list[Row]]:
    """Every object of a file, converted one by one; blocks of them, in order.

    Args:
        path: the file, plain or compressed.
        names: keys that the objects must have; see `read_json_lines` for the errors.
        convert: an object -> what is kept of it; raises `CellError` if the line is damaged.
        report: filled in while reading.
        notation: how the lines write their objects.
    """
    for block in _blocks(existing_file(path), names, notation):
        yield [row for _, row in block.converted(convert, report, notation)]


class _DamagedLines:
    """The damaged lines of a block: the first few with what is wrong with them, and the number of the others."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, str]] = []
        self.more = 0

    def add(self, line: int, problem: str) -> None:
        """Count a line."""
        if len(self.shown) < SHOWN_LINES:
            self.shown.append((line, problem))
        else:
            self.more += 1


class _Block(NamedTuple):
    """Some lines of a file: their bytes or, if the whole file is one document, its objects."""

    first_line: int
    text: bytes
    document: list[object] | None = None

    def objects(self, notation: Notation) -> Iterator[tuple[int, dict[str, object] | CellError]]:
        """(number, object or what is wrong) of each line that is not blank."""
        if self.document is not None:
            for number, element in enumerate(self.document, self.first_line):
                yield number, _checked_object(element)
            return
        for number, line in enumerate(self.text.split(b"\n"), self.first_line):
            if line.strip():
                yield number, parse_object(line, notation)

    def converted(
        self, convert: Callable[[dict[str, object]], Row], report: FileReport, notation: Notation
    ) -> Iterator[tuple[int, Row]]:
        """(number, what `convert` keeps) of each undamaged line; at the end, the report counts all lines."""
        damaged = _DamagedLines()
        lines = 0
        for number, found in self.objects(notation):
            lines += 1
            try:
                if isinstance(found, CellError):
                    raise found
                row = convert(found)
            except CellError as error:
                damaged.add(number, str(error))
            else:
                yield number, row
        report.add_lines(lines, damaged.shown, damaged.more)


def parse_object(line: bytes, notation: Notation) -> dict[str, object] | CellError:
    """The object of a line, or what is wrong with it."""
    try:
        found = notation.parse(line)
    except UnicodeDecodeError as error:
        return CellError(f"not UTF-8 (byte {line[error.start : error.start + 1].hex()} at {error.start + 1:,})")
    except RecursionError:
        return CellError("not readable (lists or objects too deep inside each other)")
    except Exception as error:  # whatever a broken line makes the parser raise
        if notation is JSON and line.lstrip().startswith((b"{'", b"{u'", b'{u"')):
            return CellError("a Python literal, not JSON")
        return CellError(f"not readable ({getattr(error, 'msg', None) or error})")
    return _checked_object(found)


def _checked_object(found: object) -> dict[str, object] | CellError:
    return found if isinstance(found, dict) else CellError(f"a {type(found).__name__}, expected an object")


def _blocks(path: Path, names: Sequence[str], notation: Notation) -> Iterator[_Block]:
    checked = False
    for first_line, text in line_blocks(path):
        block = _Block(first_line, text.removeprefix(_BYTE_ORDER_MARK) if first_line == 1 else text)
        first = None if checked else next(block.objects(notation), None)
        if first is None:  # checked already, or blank so far
            yield block
            continue
        checked = True
        document = document_objects(path, block.text, first[1], names)
        if document is not None:
            block = _Block(1, b"", document)
        _check_first_objects(path, block, names, notation)
        yield block
        if document is not None:
            return


def _check_first_objects(path: Path, block: _Block, names: Sequence[str], notation: Notation) -> None:
    """Recognise a file of another layout, so that the error is not "every line is damaged"."""
    first: dict[str, object] | None = None
    for _, row in islice(block.objects(notation), _CHECKED_LINES):
        if isinstance(row, CellError):
            continue
        if all(name in row for name in names):
            return
        first = row if first is None else first
    if first is not None:
        check_columns(path.name, first, names, "Check that the file has the requested layout.")


def _parse_clean_block(text: bytes, columns: list[str], required: Required, notation: Notation) -> pl.DataFrame | None:
    """The rows of a block, or None if one of its lines is or may be damaged, or may mean something else to Python."""
    rows = _parse_typed(text, columns, required)
    if rows is None and notation.to_json is not None:
        rows = _parse_typed(notation.to_json(text), columns, required)
    return rows


def _parse_typed(text: bytes, columns: list[str], required: Required) -> pl.DataFrame | None:
    lines = _lines_of_one_object(text)
    schema = _schema(text, columns, required) if lines else None
    if schema is None or len(text) > _LARGEST_BLOCK:
        return None
    try:
        text.decode()  # pyarrow does not check the text that it skips
        found = pa_json.read_json(
            pa.BufferReader(text),
            pa_json.ReadOptions(use_threads=False, block_size=len(text) + 1),
            # A value of another type is an error, and so is a key that an object has twice.
            pa_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    if found.num_rows != lines or _has_lost_digits(found):
        return None
    rows, unusable = required.check(pl.DataFrame(pl.from_arrow(found)))
    ids = [name for name in columns if name not in (required.timestamp, required.rating)]
    return None if unusable.any() else rows.with_columns(pl.col(ids).cast(pl.String))


def _lines_of_one_object(text: bytes) -> int:
    """The number of lines if every line begins with "{" and ends with "}", else 0.

    Together with the number of objects, this makes sure that every line holds one: inside a list or an object, "{"
    never follows "}", only a comma does.
    """
    # Without a copy of the block, which would take as long as half of the parsing.
    data = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(data == _NEWLINE)
    if not len(ends) or ends[-1] != len(data) - 1:
        ends = np.append(ends, len(data))
    starts = np.append(0, ends[:-1] + 1)
    if (ends - starts < 2).any():  # a blank line, or one that is too short to hold an object
        return 0
    last = data[ends - 1]
    last = np.where(last == _RETURN, data[ends - 2], last)
    return len(ends) if (last == _CLOSING).all() and (data[starts] == _OPENING).all() else 0


def _schema(text: bytes, columns: list[str], required: Required) -> pa.Schema | None:
    """Types of the columns as the first lines show them; None if they need Python's rules."""
    kinds: dict[str, pa.DataType] = {}
    for line in islice(BytesIO(text), _CHECKED_LINES):
        row = parse_object(line, JSON)
        for name in columns:
            value = None if isinstance(row, CellError) or name in kinds else row.get(name)
            if isinstance(value, str):
                kinds[name] = pa.string()
            elif isinstance(value, int) and not isinstance(value, bool):
                kinds[name] = pa.int64()
            elif isinstance(value, float) and name in (required.timestamp, required.rating):
                kinds[name] = pa.float64()
        if len(kinds) == len(columns):
            return pa.schema([(name, kinds[name]) for name in columns])
    return None


def _has_lost_digits(found: pa.Table) -> bool:
    """Whether a column of floats has numbers so large that a whole number among them would have lost digits."""
    for column in found.columns:
        if pa.types.is_floating(column.type):
            values = column.to_numpy()
            if (np.abs(values[~np.isnan(values)]) >= _LARGEST_EXACT_FLOAT).any():
                return True
    return False


def _parse_line_by_line(
    block: _Block, columns: list[str], required: Required, report: FileReport, notation: Notation
) -> pl.DataFrame:
    values: dict[str, list[str | None]] = {name: [] for name in columns}
    line_of: list[int] = []
    convert = partial(_interactions, columns=columns, required=required)
    for line, interactions in block.converted(convert, report, notation):
        for name in columns:
            values[name] += interactions[name]
        line_of += [line] * len(interactions[columns[0]])
    found_rows = pl.DataFrame(values, schema=dict.fromkeys(columns, pl.String))
    return usable_rows(found_rows, pl.Series(line_of, dtype=pl.Int64), required, report)


def _interactions(found: dict[str, object], columns: list[str], required: Required) -> dict[str, list[str | None]]:
    """The interactions of a line, usually one, column by column; the times are not parsed yet."""
    lists = {name: value for name in columns if isinstance(value := found.get(name), list)}
    check_lists({name: len(value) for name, value in lists.items()}, required)
    length = len(next(iter(lists.values()))) if lists else 1
    rows: dict[str, list[str | None]] = {}
    for name in columns:
        texts = [_cell_text(name, value, name in found, required) for value in lists.get(name, [found.get(name)])]
        rows[name] = texts if name in lists else texts * length
    return rows


def _cell_text(name: str, value: object, is_there: bool, required: Required) -> str | None:
    if name == required.rating:
        return number_text(value)
    try:
        text = time_text(value) if name == required.timestamp else id_text(value)
    except CellError as error:
        raise CellError(f"{name!r} is {error}") from error
    if text is None and name in required.names:
        raise CellError(f"{name!r} is {shown(value)}" if is_there else f"no {name!r}")
    return text
