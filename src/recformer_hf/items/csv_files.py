"""Delimited text files as Arrow tables of text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import NamedTuple

from .arrow import Array, Table, arrow
from .text_files import FilePath, text_of

# A last record that an open quote would swallow. No text of a file looks like it.
_END = "\x1f end \x1f"
# A cell of a tab-separated text, enclosed in quotes or not, with the character after it.
_TAB_CELL = re.compile(r'(?:"([^"]*(?:""[^"]*)*)"(?=[\t\r\n]|\Z)|([^\t\r\n]*))(?:[\t\r\n]|\Z)')


def csv_table(path: FilePath, delimiter: str = ",", encoding: str | None = None) -> Table:
    """A delimited file with a header line as an Arrow table. Every cell is text without white space around it; an empty
    one is null.

    A first column without a name, as pandas writes its index, is called "Unnamed: 0". A later one must be empty, and is
    left out. In a tab-separated file, a quote that does not enclose its whole cell is a character like any other.

    Args:
        path: the file, plain or compressed.
        delimiter: one character.
        encoding: by default UTF-8, or what a byte-order mark says.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file cannot be read as such. The message names line and column.
    """
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n':
        raise ValueError(f"delimiter is {delimiter!r}; expected one character, such as ';' or '\\t'.")
    text = text_of(path, encoding)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"line {line} holds a NUL character. Is the file written in UTF-16? encoding='utf-16-le'.")
    header = _header(text, delimiter)
    if len(header.names) == 1:
        fits = next((other for other in ",;\t|" if other in header.names[0]), None)
        advice = "" if fits is None else f" delimiter={fits!r} fits."
        raise ValueError(f"the file has one column, {header.names[0]!r}; an item needs an id and an attribute.{advice}")
    plain = delimiter == "\t" and _has_inner_quotes(text)
    columns = _split_lines(text, header) if plain else _parsed(text, header, delimiter)
    return _without_nameless(columns, header)


class _Header(NamedTuple):
    names: list[str]
    size: int
    """Number of characters before the first row."""
    lines: int
    """Number of lines before it."""


def _header(text: str, delimiter: str) -> _Header:
    size = lines = 0

    def counted() -> Iterator[str]:
        nonlocal size, lines
        for line in io.StringIO(text, newline=""):
            size, lines = size + len(line), lines + 1
            yield line

    try:
        # Blank lines before the header give no names.
        names = next(
            (names for names in csv.reader(counted(), delimiter=delimiter, strict=True) if any(map(str.strip, names))),
            None,
        )
    except csv.Error as error:
        raise ValueError(f"the header, up to line {lines}, cannot be read: {error}.") from error
    if names is None:
        raise ValueError("the file is empty; expected a header line.")
    return _Header([name.strip() for name in names], size, lines)


def _parsed(text: str, header: _Header, delimiter: str) -> list[Array]:
    pa, pa_csv = arrow(), arrow("pyarrow.csv")
    width = len(header.names)
    body = text[header.size :]
    content = f"{body}\n{_END}{delimiter * (width - 1)}\n".encode()
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(content),
            # One block, because a cell may be longer than any smaller one.
            read_options=pa_csv.ReadOptions(block_size=len(content) + 1, column_names=[str(i) for i in range(width)]),
            parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            # Without a type for every column Arrow would infer one, and the id "007" would become the number 7.
            convert_options=pa_csv.ConvertOptions(column_types={str(i): pa.string() for i in range(width)}),
        )
    except (pa.ArrowException, OverflowError) as error:
        raise ValueError(
            _first_problem(body, header, delimiter) or f"the file cannot be read as CSV: {error}"
        ) from error
    columns = [column.combine_chunks() for column in table.columns]
    if columns[0][-1].as_py() != _END:
        raise ValueError(_first_problem(body, header, delimiter) or "a quote is not closed.")
    return [column[:-1] for column in columns]


def _first_problem(body: str, header: _Header, delimiter: str) -> str | None:
    """The first record that does not fit the header, with its line."""
    expected = len(header.names)
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=delimiter)
    limit = csv.field_size_limit(len(body) + 1)
    try:
        begin = following = header.lines + 1
        for record in reader:
            begin, following = following, header.lines + reader.line_num + 1
            if record and len(record) != expected:
                return (
                    f"line {begin} has {len(record)} cells, but the header has {expected} columns. A cell that holds "
                    f"the delimiter {delimiter!r} must be in quotes; another delimiter is named with delimiter=."
                )
        return f"a quote that is opened in the record of line {begin} is not closed." if body.strip() else None
    finally:
        csv.field_size_limit(limit)


def _has_inner_quotes(text: str) -> bool:
    """Whether a cell of a tab-separated text begins with a quote and is not enclosed in quotes, or swallows a row."""
    if '"' not in text:
        return False
    for cell in _TAB_CELL.finditer(text):
        quoted, plain = cell.groups()
        if plain is not None and plain.startswith('"'):
            return True
        if quoted is not None and "\t" in quoted and re.search(r"[\n\r][^\t]*\t", quoted):
            return True
    return False


def _split_lines(text: str, header: _Header) -> list[Array]:
    rows = []
    for number, line in enumerate(io.StringIO(text[header.size :], newline=None), start=header.lines + 1):
        cells = line.rstrip("\n").split("\t")
        if not line.strip():
            continue
        if len(cells) != len(header.names):
            raise ValueError(f"line {number} has {len(cells)} cells, but the header has {len(header.names)} columns.")
        rows.append([_unquoted(cell) for cell in cells])
    columns = zip(*rows, strict=True) if rows else [[] for _ in header.names]
    return [arrow().array(list(column), arrow().string()) for column in columns]


def _unquoted(cell: str) -> str:
    inner = cell[1:-1]
    enclosed = len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if enclosed else cell


def _without_nameless(columns: list[Array], header: _Header) -> Table:
    pa, pc = arrow(), arrow("pyarrow.compute")
    names, kept = [], []
    for place, (name, column) in enumerate(zip(header.names, columns, strict=True)):
        trimmed = pc.utf8_trim_whitespace(column)
        texts = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)
        if not name and place:
            filled = pc.index(texts.is_valid(), True).as_py()
            if filled >= 0:
                raise ValueError(
                    f"column {place + 1} has no name in the header, but holds {texts[filled].as_py()!r} in row "
                    f"{filled}. Name it, or empty it."
                )
            continue
        names.append(name or "Unnamed: 0")  # as pandas calls its index when it reads it again
        kept.append(texts)
    return pa.Table.from_arrays(kept, names=names)
