"""Reads delimited text (CSV, TSV, MovieLens' `::`). pyarrow parses whole blocks; only an odd block is read in Python.

An ordinary block is one in which every line is a record. pyarrow reads it at full speed, and its lines keep their
numbers. What an odd block means, with quotes over several lines or without an end, is decided by `records`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from ..polars_engine import pl
from .cells import WHITE_SPACE
from .columns import check_columns
from .files import decoded_block, existing_file, line_blocks
from .header import column_names, columns_of_text, nameless_columns, nameless_error, sequence_columns
from .records import RecordSyntax
from .required import Required
from .source import DamagedFileError, DataError, FileReport, MissingColumnsError

# Stands for a delimiter of several characters, because pyarrow takes one of one byte. Text does not contain it.
_UNIT_SEPARATOR = "\x1f"
# Larger blocks are slower: their memory goes back to the system after every block.
BLOCK_BYTES = 4 << 20
_USUAL_DELIMITERS = (",", ";", "\t", "|", "::", " ")


@dataclass(frozen=True)
class Dialect:
    """How a delimited file is written.

    Args:
        delimiter: the text between two fields.
        quote: the quoting character, or False if the file has none.
        encoding: the file's encoding; by default UTF-8, or what a byte order mark says.
        names: the file's columns if it has no header line.
        typed: whether the names in the header are followed by RecBole's types ("item_id:token").
    """

    delimiter: str = ","
    quote: str | Literal[False] = '"'
    encoding: str | None = None
    names: Sequence[str] | None = None
    typed: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.delimiter, str) or not self.delimiter or set(self.delimiter) & set("\r\n\0"):
            raise DataError(f"delimiter is {self.delimiter!r}; expected the text between two fields, such as ';'.")
        if self.quote is not False and (not isinstance(self.quote, str) or len(self.quote) != 1):
            raise DataError(f"quote is {self.quote!r}; expected one character, or False for files without quoting.")
        if self.quote and (self.quote in self.delimiter or self.quote in "\r\n\0"):
            raise DataError(f"quote {self.quote!r} cannot be used with the delimiter {self.delimiter!r}.")

    @property
    def syntax(self) -> RecordSyntax:
        """How `records` divides the file."""
        return RecordSyntax(self.delimiter, self.quote or None, whole_fields=self.delimiter == "\t")


CSV = Dialect()
TSV = Dialect(delimiter="\t")
RECBOLE = Dialect(delimiter="\t", quote=False, typed=True)
# Enough for any header.
_HEADER_BYTES = 1 << 16


def read_delimited(
    path: str | Path,
    columns: Sequence[str] | None,
    required: Required,
    report: FileReport,
    dialect: Dialect = CSV,
) -> Iterator[pl.DataFrame]:
    """Some columns of a plain or compressed delimited file as text, in blocks and in order.

    Args:
        path: the file.
        columns: the columns to read, or None for all that have a name and are not pandas' index.
        required: a line that lacks one of these values, or has more or fewer fields than the header, is damaged.
        report: filled in while reading; a record of several lines has the number of its first.
        dialect: how the file is written.

    Yields:
        frames of the undamaged lines; an empty field is null, and the required values have no white space around them.

    Raises:
        MissingColumnsError: if the file lacks a column, or a column without a name holds values.
        DamagedFileError: if the compressed data are corrupt, or the file has another encoding.
        DataError: if the header names a column twice, or says that a required one holds sequences.
    """
    path = existing_file(path)
    table: _Table | None = None
    rest, rest_line = b"", 0
    for first_line, block in line_blocks(path, BLOCK_BYTES, encoding=dialect.encoding):
        if rest:
            block, first_line, rest = rest + block, rest_line, b""
        if table is None:
            start = _header(path, block, first_line, dialect)
            if start is None:
                continue
            _refuse_sequences(path, start.sequences, required)
            table = _Table(path, start.names, columns, required, report, dialect)
            block, first_line = block[start.size :], start.first_line
        rows, rest = table.rows(block, first_line, is_last=False)
        yield rows
        rest_line = first_line + block.count(b"\n", 0, len(block) - len(rest)) if rest else 0
    if table is None:
        raise MissingColumnsError(f"{path.name} is empty; expected a table with a header line.")
    if rest:
        rows, _ = table.rows(rest, rest_line, is_last=True)
        yield rows


def has_columns(path: Path, dialect: Dialect, columns: Sequence[str]) -> bool:
    """Whether a file's header line, read in a dialect, has these columns."""
    for first_line, block in line_blocks(path, _HEADER_BYTES, encoding=dialect.encoding):
        header = _header(path, block, first_line, dialect)
        if header is not None:
            return set(columns) <= set(header.names)
    return False


def _refuse_sequences(path: Path, sequences: Sequence[str], required: Required) -> None:
    for name in required.names:
        if name in sequences:
            raise DataError(
                f"{path.name}: the column {name!r} is declared as a sequence, a list of values in each row; expected "
                "one id or time. Files of splits, such as .train.inter, hold such lists; read the whole log."
            )


class _Header(NamedTuple):
    """What stands before the first row of a file."""

    names: list[str]
    size: int
    """Number of bytes before the first row."""
    first_line: int
    """Number of the line that holds it."""
    sequences: Sequence[str] = ()
    """The columns with a list of values in each row."""


def _header(path: Path, block: bytes, first_line: int, dialect: Dialect) -> _Header | None:
    """The header at the beginning of a file's first block; None if the block is blank."""
    if dialect.names is not None:
        return _Header(list(dialect.names), 0, first_line)
    text = decoded_block(path, block, first_line)
    start = len(text) - len(text.lstrip("\r\n \ufeff"))
    start = text.rfind("\n", 0, start) + 1
    if not text.strip():
        return None
    fields, size = dialect.syntax.first_record(text[start:])
    if "\0" in text[start : start + size]:
        raise DamagedFileError(
            f"{path} has NUL characters in its first line. If it is written in UTF-16, name the encoding: "
            "encoding='utf-16-le' or 'utf-16-be'."
        )
    before = text[: start + size]
    names = column_names(fields, typed=dialect.typed)
    sequences = sequence_columns(fields) if dialect.typed else []
    return _Header(names, len(before.encode()), first_line + before.count("\n"), sequences)


class _Parsed(NamedTuple):
    """The rows of a block, and its lines that are no rows."""

    table: pl.DataFrame
    lines: np.ndarray | None
    """Number of each row's line, from 0 for the first of the block, int64 `[n]`; None if every line is a row."""
    damaged: list[tuple[int, str]]
    """(line, what is wrong with it)."""
    unfinished: bytes = b""
    """The beginning of a record that ends in the next block."""

    def line(self, row: int) -> int:
        """The line of a row."""
        return row if self.lines is None else int(self.lines[row])


class _Table:
    """Reads the blocks of one file."""

    def __init__(
        self,
        path: Path,
        names: list[str],
        columns: Sequence[str] | None,
        required: Required,
        report: FileReport,
        dialect: Dialect,
    ) -> None:
        self._path, self._required, self._report, self._dialect = path, required, report, dialect
        self._width = len(names)
        self._columns = columns_of_text(names) if columns is None else list(columns)
        wanted = list(dict.fromkeys([*self._columns, *required.names]))
        check_columns(
            path.name,
            [name for name in names if name],
            wanted,
            _advice(names, [*(columns or []), *required.names], dialect),
        )
        # Column -> position in the file. A column without a name is read to see that it is empty.
        first = {name: position for position, name in reversed(list(enumerate(names)))}
        self._positions = {name: first[name] for name in wanted}
        self._nameless = nameless_columns(names) if columns is None else []

    def rows(self, block: bytes, first_line: int, *, is_last: bool) -> tuple[pl.DataFrame, bytes]:
        """The usable rows of a block of lines.

        Args:
            block: whole lines.
            first_line: number of the first of them.
            is_last: whether nothing follows.

        Returns:
            (the rows; the bytes at the block's end that belong to the next block).
        """
        if not block.isascii():
            decoded_block(self._path, block, first_line)  # names the byte that is not UTF-8
        ordinary = self._parse_ordinary(block)
        parsed = self._parse_records(block, is_last) if ordinary is None else ordinary
        self._check_nameless(parsed, first_line)
        found = parsed.table.select(list(self._positions))
        if ordinary is None or _may_have_blanks(block, self._dialect.delimiter):
            ids = [name for name in self._required.names if name != self._required.timestamp]
            found = found.with_columns(pl.col(ids).str.strip_chars(WHITE_SPACE))
        rows, unusable = self._required.check(found)
        blank = self._blank_rows(found, unusable, parsed, block)
        problems, more = self._required.problems(found, unusable & ~blank)
        damaged = [*parsed.damaged, *((parsed.line(row), problem) for row, problem in problems)]
        numbered = [(first_line + line, problem) for line, problem in damaged]
        self._report.add_lines(found.height - int(blank.sum()) + len(parsed.damaged), numbered, more)
        return rows.filter(~unusable).select(self._columns), parsed.unfinished

    def _parse_ordinary(self, block: bytes) -> _Parsed | None:
        """The rows of a block in which every line is a record, by pyarrow; None if it is or may be another one."""
        syntax = _arrow_syntax(block, self._dialect)
        if syntax is None:
            return None
        # Quotes that only count around whole fields are removed afterwards. All columns are then read, because a quote
        # in any of them may mean that the line is odd.
        unquote = self._dialect.quote if syntax.quote and self._dialect.syntax.whole_fields else False
        if unquote:
            syntax = syntax._replace(quote=False)
        skipped = _SkippedLines(syntax)
        names = {position: name for name, position in self._positions.items()}
        names |= {
            position: _nameless_name(position)
            for position in (range(self._width) if unquote else self._nameless)
            if position not in names
        }
        try:
            found = _read_by_arrow(self._width, list(names), syntax, skipped)
        except pa.ArrowInvalid:
            return None
        lines = found.num_rows + len(skipped.problems)
        # Without quotes, every line is a record.
        if syntax.quote and (lines != _number_of_lines(block) or self._ends_in_a_quote(block)):
            return None
        table = pl.DataFrame(pl.from_arrow(found))
        table.columns = list(names.values())
        if unquote:
            unquoted = None if skipped.problems else _unquoted(table, unquote)
            return None if unquoted is None else _Parsed(unquoted, None, [])
        if not skipped.problems:
            return _Parsed(table, None, [])
        damaged = [(line, problem) for line, problem in skipped.problems.items() if problem is not None]
        return _Parsed(table, np.delete(np.arange(lines), list(skipped.problems)), damaged)

    def _ends_in_a_quote(self, block: bytes) -> bool:
        """Whether the last line of a block has a quoted field without an end."""
        line = block[block.rfind(b"\n", 0, len(block) - 1) + 1 :].decode("utf-8")
        records, _ = self._dialect.syntax.records(line, is_last=True)
        return any(record.problem is not None for record in records)

    def _parse_records(self, block: bytes, is_last: bool) -> _Parsed:
        """The rows of any block, in Python."""
        text = block.decode("utf-8")
        records, size = self._dialect.syntax.records(text, is_last)
        rows, damaged = [], []
        for record in records:
            if record.problem is not None:
                damaged.append((record.line, record.problem))
            elif len(record.fields) == self._width:
                rows.append(record)
            elif not record.is_blank:
                damaged.append((record.line, f"{len(record.fields)} fields, not {self._width}"))
        positions = {**self._positions, **{_nameless_name(position): position for position in self._nameless}}
        values = {name: [row.fields[position] or None for row in rows] for name, position in positions.items()}
        table = pl.DataFrame(values, schema=dict.fromkeys(positions, pl.String))
        return _Parsed(table, np.array([row.line for row in rows], np.int64), damaged, text[size:].encode())

    def _check_nameless(self, parsed: _Parsed, first_line: int) -> None:
        for position in self._nameless:
            values = parsed.table[_nameless_name(position)].str.strip_chars()
            filled = (values != "").fill_null(False).arg_true()
            if len(filled):
                row = int(filled[0])
                raise nameless_error(self._path.name, position, first_line + parsed.line(row), values[row])

    def _blank_rows(self, found: pl.DataFrame, unusable: pl.Series, parsed: _Parsed, block: bytes) -> pl.Series:
        """Whether a row is of a line without any value, bool `[n]`. Such a line is neither usable nor damaged."""
        blank = pl.repeat(False, found.height, dtype=pl.Boolean, eager=True)
        if not unusable.any():
            return blank
        empty = found.select(pl.all_horizontal(pl.all().fill_null("").str.strip_chars() == "")).to_series()
        candidates = empty.arg_true().to_list()
        if candidates:
            lines = block.split(b"\n")
            marks = (self._dialect.delimiter + (self._dialect.quote or "")).encode()
            rows = [row for row in candidates if not lines[parsed.line(row)].translate(None, marks).strip()]
            blank = blank.scatter(rows, True)
        return blank


def _number_of_lines(block: bytes) -> int:
    return block.count(b"\n") + (not block.endswith(b"\n"))


def _may_have_blanks(block: bytes, delimiter: str) -> bool:
    """Whether a field on one line may have white space around it. Few logs have any, and looking for it is cheap."""
    blanks = [blank for blank in WHITE_SPACE if blank.isascii() and blank not in "\r\n" and blank != delimiter]
    return not block.isascii() or any(blank.encode() in block for blank in blanks)


def _advice(names: Sequence[str], wanted: Sequence[str], dialect: Dialect) -> str:
    advice = f"Name the columns, and check the delimiter ({dialect.delimiter!r})."
    if len(names) == 1:
        for other in _USUAL_DELIMITERS:
            if set(wanted) <= set(column_names(names[0].split(other), typed=dialect.typed)):
                return f"{advice} delimiter={other!r} fits."
    return advice


def _nameless_name(position: int) -> str:
    """The name under which a column without one is read; no header can contain it."""
    return f"\0{position}"


class _ArrowSyntax(NamedTuple):
    """A block as pyarrow reads it."""

    block: bytes
    delimiter: str
    quote: str | Literal[False]


def _arrow_syntax(block: bytes, dialect: Dialect) -> _ArrowSyntax | None:
    """How pyarrow reads a block as `records` would; None if it would not."""
    if b"\0" in block or (b"\r" in block and block.count(b"\r") != block.count(b"\r\n")):
        return None
    delimiter, quote = dialect.delimiter, dialect.quote
    if quote and quote.encode() not in block:
        quote = False
    if quote and (not quote.isascii() or len(delimiter) > 1):
        return None
    if len(delimiter.encode()) > 1:
        if _UNIT_SEPARATOR.encode() in block:
            return None
        block, delimiter = block.replace(delimiter.encode(), _UNIT_SEPARATOR.encode()), _UNIT_SEPARATOR
    return _ArrowSyntax(block, delimiter, quote)


def _unquoted(table: pl.DataFrame, quote: str) -> pl.DataFrame | None:
    """Fields that were read with their quotes, without them; None if a quote does not enclose a whole field."""
    for name in table.columns:
        column = table[name]
        is_quoted = column.str.starts_with(quote).fill_null(False)
        if not is_quoted.any():
            continue
        fields = column.filter(is_quoted)
        inside = fields.str.strip_prefix(quote).str.strip_suffix(quote)
        closed = fields.str.ends_with(quote) & (fields.str.len_bytes() > 1)
        if inside.str.contains(quote, literal=True).any():
            closed &= ~inside.str.replace_all(quote * 2, "", literal=True).str.contains(quote, literal=True)
            inside = inside.str.replace_all(quote * 2, quote, literal=True)
        if not closed.all():
            return None
        values = inside.set(inside == "", None)
        table = table.with_columns(values if is_quoted.all() else column.scatter(is_quoted.arg_true(), values))
    return table


def _read_by_arrow(width: int, positions: Sequence[int], syntax: _ArrowSyntax, skipped: _SkippedLines) -> pa.Table:
    """Some columns of a block, called by their positions, because names may repeat."""
    threaded = _SkippedLines(syntax)
    found = pa_csv.read_csv(pa.BufferReader(syntax.block), *_arrow_options(width, positions, syntax, threaded, True))
    if not threaded.number:
        return found
    # With threads pyarrow does not number the lines that it skips.
    return pa_csv.read_csv(pa.BufferReader(syntax.block), *_arrow_options(width, positions, syntax, skipped, False))


def _arrow_options(
    width: int, positions: Sequence[int], syntax: _ArrowSyntax, skipped: _SkippedLines, use_threads: bool
) -> tuple[pa_csv.ReadOptions, pa_csv.ParseOptions, pa_csv.ConvertOptions]:
    return (
        pa_csv.ReadOptions(
            use_threads=use_threads,
            block_size=len(syntax.block) + 1,
            column_names=list(map(str, range(width))),
        ),
        pa_csv.ParseOptions(
            delimiter=syntax.delimiter,
            quote_char=syntax.quote,
            newlines_in_values=syntax.quote is not False,
            ignore_empty_lines=False,  # an ignored line would shift the numbers of those after it
            invalid_row_handler=skipped.skip,
        ),
        pa_csv.ConvertOptions(
            # Inferred types would turn the id "007" into 7.
            column_types={str(position): pa.string() for position in range(width)},
            include_columns=list(map(str, positions)),
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            null_values=[""],  # the default has "NA" and "null" too, which may be titles
        ),
    )


class _InvalidRow(Protocol):
    """`pyarrow.csv.InvalidRow`, a line with more or fewer fields than the header."""

    number: int | None
    text: str
    actual_columns: int
    expected_columns: int


class _SkippedLines:
    """The lines that pyarrow leaves out of a block, and reports while it parses."""

    def __init__(self, syntax: _ArrowSyntax) -> None:
        self._marks = syntax.delimiter + (syntax.quote or "") + WHITE_SPACE
        self.number = 0
        self.problems: dict[int, str | None] = {}
        """Line, from 0 -> what is wrong with it; None if it is blank."""

    def skip(self, row: _InvalidRow) -> Literal["skip"]:
        """pyarrow's handler of invalid rows."""
        self.number += 1
        if row.number is not None:
            problem = f"{row.actual_columns} fields, not {row.expected_columns}"
            self.problems[row.number - 1] = problem if row.text.strip(self._marks) else None
        return "skip"
