"""What the readers have to make of a file, by a slow and obvious reading that shares no code with them.

One function for each format turns the bytes of a file into `PlainRow`s. A row has the outcomes that are right for it:
usually one, several where the rules leave a choice (a number written as "1e9" may be a time or a damaged line).
"""

from __future__ import annotations

import ast
import bz2
import gzip
import io
import itertools
import json
import lzma
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet

from tests.support.plain_values import (
    BLANK,
    DAMAGED,
    WHOLE_FILE,
    Mark,
    bare,
    id_outcomes,
    joined_surrogates,
    looks_like_another_notation,
    text_of,
    time_outcomes,
)


class Refused(Exception):
    """The file has to be refused as a whole; the message says why."""


@dataclass
class PlainRow:
    """One line, record or row of a file.

    Args:
        number: the line's number, from 1.
        outcomes: what is right for it: values, `DAMAGED` (skipped and counted), `BLANK` (skipped), `WHOLE_FILE`.
        also_numbered: another number under which a report may name it: the line on which a record begins.
    """

    number: int
    outcomes: list[Any]
    also_numbered: int | None = None


@dataclass
class Several:
    """The interactions of a line that lists several: the outcomes of each."""

    rows: list[list[Any]]


@dataclass
class PlainFile:
    """The rows of a file.

    Args:
        rows: in the file's order.
        may_refuse: reasons for which a reader may refuse the file; without any, it has to read it.
        sure_rows: the first rows that are certain. Of those after them only the values are known: `text` holds them.
            None: all.
        text: the file's text.
    """

    rows: list[PlainRow]
    may_refuse: list[str] = field(default_factory=list)
    sure_rows: int | None = None
    text: str = ""


# Bytes and text


def unpacked(data: bytes) -> tuple[bytes, list[str]]:
    """The bytes of a file without its compression, and why a reader may refuse it all the same.

    Raises:
        Refused: if they are corrupt or end too early.
    """
    openers: list[tuple[bytes, Callable[[bytes], bytes]]] = [
        (b"\x1f\x8b", gzip.decompress),
        (b"BZh", bz2.decompress),
        (b"\xfd7zXZ\0", lzma.decompress),
        (b"\x28\xb5\x2f\xfd", _unpacked_zstd),
        (b"PK\x03\x04", _unpacked_zip),
    ]
    for magic, unpack in openers:
        if data.startswith(magic) and not (magic == b"BZh" and data[4:8] not in (b"1AY&", b"\x17rE8")):
            try:
                return unpack(data), []
            except Exception as error:  # every module has errors of its own
                if magic == b"\x1f\x8b" and (kept := _members_before_garbage(data)) is not None:
                    return kept, ["something follows the gzip data"]
                raise Refused(f"not readable as compressed data: {error}") from error
    return data, []


def _members_before_garbage(data: bytes) -> bytes | None:
    """The content of complete gzip members with something else behind them."""
    for end in range(len(data) - 1, 17, -1):
        try:
            return gzip.decompress(data[:end])
        except Exception:
            continue
    return None


def _unpacked_zstd(data: bytes) -> bytes:
    with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
        return b"".join(iter(stream.read, b""))  # one frame after the other


def _unpacked_zip(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        if len(names) != 1:
            raise ValueError(f"{len(names)} members")
        return archive.read(names[0])


def as_text(data: bytes, encoding: str | None = None) -> str:
    """A file's text: UTF-8, with or without a mark; UTF-16 and UTF-32 with one.

    Raises:
        Refused: if it is neither.
    """
    try:
        if data.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
            return data.decode("utf-32")
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return data.decode("utf-16")
        return data.decode("utf-8-sig" if encoding is None else encoding)
    except UnicodeDecodeError as error:
        raise Refused(f"not {encoding or 'UTF-8'}: {error}") from error


def with_line_breaks(text: str) -> str:
    """The text of a file; if its first line ends in a carriage return alone, all of them become line breaks."""
    first = re.search("\r\n|\r|\n", text)
    return text.replace("\r\n", "\n").replace("\r", "\n") if first and first.group() == "\r" else text


# Tables: what a row is for interactions and for items

Cells = Mapping[str, Any]


@dataclass(frozen=True)
class Log:
    """A table of interactions: its columns."""

    user: str = "user_id"
    item: str = "item_id"
    time: str = "timestamp"
    unit: str = "s"
    strip: bool = False

    def outcomes(self, cells: Cells) -> list[Any]:
        """(user, item, seconds), `Several` of them, or marks."""
        if isinstance(items := cells.get(self.item), (list, tuple, np.ndarray)):
            times = cells.get(self.time)
            listed = times if isinstance(times, (list, tuple, np.ndarray)) else [times] * len(items)
            if len(items) != len(listed) or not len(items):
                return [DAMAGED, BLANK, WHOLE_FILE]
            rows = [
                self.outcomes({**cells, self.item: item, self.time: time})
                for item, time in zip(items, listed, strict=True)
            ]
            return [Several(rows), DAMAGED, WHOLE_FILE]
        parts = [
            id_outcomes(cells.get(self.user), strip=self.strip),
            id_outcomes(cells.get(self.item), strip=self.strip),
            time_outcomes(cells.get(self.time), self.unit),
        ]
        return combined(parts, tuple)

    def doubts(self, rows: Iterable[Cells], plain: list[PlainRow]) -> list[str]:
        """Why a file of these rows may be refused."""
        rows = list(rows)
        usable = [outcome for row in plain for outcome in row.outcomes if isinstance(outcome, tuple)]
        doubts = [] if usable else ["no usable row"]
        if any(isinstance(outcome, Several) for row in plain for outcome in row.outcomes):
            doubts.append("lists of interactions")
        times = [row.get(self.time) for row in rows]
        readable = [time for time in times if DAMAGED not in time_outcomes(time, self.unit)]
        for some in (times, readable) if self.time else ():
            if some and looks_like_another_notation(some, [seconds for _, _, seconds in usable]):
                doubts.append("the times look like another notation")
        return doubts

    @property
    def needed(self) -> tuple[str, ...]:
        return self.user, self.item, self.time


@dataclass(frozen=True)
class Items:
    """A table of items: the column of its ids, and the attributes that are read (None: all others)."""

    id: str = "item_id"
    attributes: Sequence[str] | None = None
    strip: bool = False
    refuse_repeated_keys: bool = False

    def outcomes(self, cells: Cells) -> list[Any]:
        """(id, attributes) or marks."""
        names = [name for name in cells if name != self.id] if self.attributes is None else self.attributes
        attributes: dict[str, Any] = {}
        marks: list[Any] = []
        for name in names:
            try:
                text = text_of(cells.get(name))
            except (TypeError, ValueError):
                marks = [DAMAGED, WHOLE_FILE]
                continue
            if text is not None:
                attributes[joined_surrogates(name)] = text
        ids = id_outcomes(cells.get(self.id), strip=self.strip)
        if any(bare(name) is None for name in names):
            ids.append(DAMAGED)
        return marks or [outcome if isinstance(outcome, Mark) else (outcome, attributes) for outcome in ids]

    def doubts(self, rows: Iterable[Cells], plain: list[PlainRow]) -> list[str]:
        """Why a file of these rows may be refused."""
        usable = [outcome for row in plain for outcome in row.outcomes if isinstance(outcome, tuple)]
        names = {name for row in rows for name in row}
        doubts = [] if usable else ["no usable row"]
        if not any(attributes for _, attributes in usable):
            doubts.append("no text")
        if self.id != "item_id" and "item_id" in names and self.attributes is None:
            doubts.append("a column item_id beside the ids")
        if any(not name.strip() or name != joined_surrogates(name) for name in names):
            doubts.append("a column without a name")
        return doubts

    @property
    def needed(self) -> tuple[str, ...]:
        return (self.id, *(self.attributes or ()))


Table = Log | Items


def combined(parts: list[list[Any]], make: Callable[[Any], Any]) -> list[Any]:
    outcomes = []
    for choice in itertools.product(*parts):
        marks = [part for part in choice if isinstance(part, Mark)]
        outcome = (DAMAGED if DAMAGED in marks else marks[0]) if marks else make(choice)
        if outcome not in outcomes:
            outcomes.append(outcome)
    if any(WHOLE_FILE in part for part in parts) and WHOLE_FILE not in outcomes:
        outcomes.append(WHOLE_FILE)
    return outcomes


# JSON


def plain_json_lines(data: bytes, table: Table, parse: Callable[[str], object] = json.loads) -> PlainFile:
    """One object a line."""
    data, may_refuse = unpacked(data)
    rows, good = [], []
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        data = as_text(data).encode("utf-8", "surrogatepass")
    if b"\r" in data.replace(b"\r\n", b""):
        may_refuse.append("carriage returns alone")
    data = with_line_breaks(data.removeprefix(b"\xef\xbb\xbf").decode("latin-1")).encode("latin-1")
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            if line:
                rows.append(PlainRow(number, [BLANK]))
            continue
        try:
            value = parse(line.decode("utf-8"))
        except Exception as error:  # whatever a broken line makes the parser raise
            doubtful = line.startswith(b"\xef\xbb\xbf") or not line.strip(b" \t\r\n\x0b\x0c\0")
            rows.append(PlainRow(number, [DAMAGED, BLANK] if doubtful else [DAMAGED]))
            if isinstance(error, UnicodeDecodeError):
                may_refuse.append("not UTF-8")
            continue
        if isinstance(value, dict):
            good.append(value)
            rows.append(PlainRow(number, table.outcomes(value)))
            if isinstance(table, Items) and table.refuse_repeated_keys and has_repeated_keys(line):
                may_refuse.append(f"a key twice in line {number}")
        else:
            rows.append(PlainRow(number, [DAMAGED]))
    first = data.lstrip()[:1]
    if first == b"[" or (first == b"{" and rows and DAMAGED in rows[0].outcomes):
        may_refuse.append("begins like one document")
    if not any(all(name in row for name in table.needed) for row in good):
        may_refuse.append("no row has the columns")
    text = data.decode("utf-8", "replace")
    if not good and first == b"[":
        try:
            json.loads(data)
            return plain_json(data, table)
        except (ValueError, RecursionError):
            pass
    return PlainFile(rows, may_refuse + table.doubts(good, rows), text=text)


def has_repeated_keys(text: str | bytes) -> bool:
    """Whether any object in some JSON has a key twice."""
    repeated = []

    def checked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        repeated.append(len(dict(pairs)) < len(pairs))
        return dict(pairs)

    json.loads(text, object_pairs_hook=checked)
    return any(repeated)


def literal(text: str) -> object:
    """JSON or, if a line is none, a Python literal."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        value: object = ast.literal_eval(text.strip())
        return value


def plain_json(data: bytes, table: Table) -> PlainFile:
    """An array of objects. A file that is none may be refused, or read as lines."""
    data, may_refuse = unpacked(data)
    try:
        content = json.loads(as_text(data))
    except (ValueError, RecursionError, Refused):
        content = None
    if not isinstance(content, (dict, list)):
        file = plain_json_lines(data, table)
        return PlainFile(file.rows, [*file.may_refuse, "no array"], text=file.text)
    if isinstance(table, Items) and table.refuse_repeated_keys and has_repeated_keys(as_text(data)):
        may_refuse.append("a key twice")
    if isinstance(content, dict):
        may_refuse.append("one object")
        lists = [
            value for value in content.values() if isinstance(value, list) and any(isinstance(v, dict) for v in value)
        ]
        content = lists[0] if len(lists) == 1 and not all(name in content for name in table.needed) else [content]
    good = [value for value in content if isinstance(value, dict)]
    rows = [
        PlainRow(number, table.outcomes(value) if isinstance(value, dict) else [DAMAGED, WHOLE_FILE])
        for number, value in enumerate(content, start=1)
    ]
    if not any(all(name in row for name in table.needed) for row in good):
        may_refuse.append("no row has the columns")
    return PlainFile(rows, may_refuse + table.doubts(good, rows))


# Delimited text


@dataclass(frozen=True)
class Written:
    """How a delimited file is written.

    Args:
        delimiter: between two fields, of any length.
        quotes: whether fields may be quoted.
        names: the columns, if the file has no header.
        typed: whether the header's names have types: "item_id:token".
        encodings: the first one that fits the whole file is taken.
    """

    delimiter: str = ","
    quotes: bool = True
    names: Sequence[str] | None = None
    typed: bool = False
    encodings: Sequence[str | None] = (None,)


def plain_delimited(data: bytes, table: Table, written: Written) -> PlainFile:
    """Records of fields."""
    data, may_refuse = unpacked(data)
    text, doubt = _decoded(data, written, log=isinstance(table, Log))
    text = with_line_breaks(text)
    may_refuse += doubt
    records, sure = _records(text, written)
    if (returned := _first_with_a_return(records)) is not None:
        sure = returned if sure is None else min(sure, returned)
    while written.names is None and len(records) > 1 and not any(map(bare, records[0][2])):
        may_refuse += ["empty fields before the header"] * any(records[0][2])
        may_refuse += ["empty fields before the header"] * (len(records[0][2]) > 1)
        records = records[1:]  # blank lines before the header
    names, may = _names(written, records)
    may_refuse += may
    body = records if written.names is not None else records[1:]
    rows, good = [], []
    for number, line, fields in body:
        values = [field if field.strip() else None for field in fields]
        if not any(values):
            few = len(fields) == 1 or len(fields) == len(names)
            rows.append(PlainRow(number, [BLANK] if few and not fields[0] else [BLANK, DAMAGED], line))
        elif len(fields) != len(names):
            rows.append(PlainRow(number, [DAMAGED], line))
        else:
            cells = {name: value for name, value in zip(names, values, strict=True) if name is not None}
            good.append(cells)
            outcomes = table.outcomes(cells)
            rows.append(PlainRow(number, outcomes + [DAMAGED] * any("\0" in field for field in fields), line))
    if sure == 1:
        may_refuse.append("a doubtful header")
    may_refuse += _header_doubts(names, table, body, sure)
    if "\0" in text:
        may_refuse.append("holds NUL")
    sure_rows = None if sure is None else max(0, sum(1 for number, _, _ in body if number < sure))
    return PlainFile(rows, may_refuse + table.doubts(good, rows), sure_rows, text)


def _decoded(data: bytes, written: Written, *, log: bool) -> tuple[str, list[str]]:
    """(The text, why the file may be refused.)"""
    for encoding in written.encodings[:-1]:
        try:
            return as_text(data, encoding), []
        except Refused:
            continue
    marked = data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"))
    return as_text(data, written.encodings[-1]), ["not UTF-8"] if len(written.encodings) > 1 and (log or marked) else []


def _records(text: str, written: Written) -> tuple[list[tuple[int, int, list[str]]], int | None]:
    """((number, number of its first line, fields) of each record; number of the first record with doubtful quotes)."""
    lines = _lines(text)
    if not written.quotes or len(written.delimiter) > 1:
        return [
            (number, number, _without_end(line).split(written.delimiter)) for number, line in enumerate(lines, 1)
        ], None
    records, sure, line, number = [], None, 0, 0
    while line < len(lines):
        first, fields = line, None
        record = lines[line]
        while fields is None:
            fields, state = _fields(record, written.delimiter)
            line += 1
            if fields is None:
                if line == len(lines):
                    fields, state = record.split(written.delimiter), "odd"
                else:
                    record += lines[line]
        number += 1
        if (state == "odd" or line - first > 1) and sure is None and (state == "odd" or not _meant(record)):
            sure = number
        records.append((number, first + 1, fields))
    return records, sure


def _meant(record: str) -> bool:
    """Whether a record over several lines is one of a sample's, not the work of a stray quote."""
    return "of two lines" in record


def _lines(text: str) -> list[str]:
    """The lines with their ends."""
    return [line + "\n" for line in text.split("\n")[:-1]] + [line for line in text.split("\n")[-1:] if line]


def _first_with_a_return(records: list[tuple[int, int, list[str]]]) -> int | None:
    """The first record with a carriage return that may or may not end a line."""
    return next((number for number, _, fields in records if any("\r" in field for field in fields)), None)


def _without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _fields(record: str, delimiter: str) -> tuple[list[str] | None, str]:
    """(The fields of a record, None if a quote is still open; "plain" or "odd")."""
    text, fields, state, position = _without_end(record), [], "plain", 0
    while True:
        if text[position : position + 1] == '"':
            match = re.compile(r'"((?:[^"]|"")*)"').match(text, position)
            if match is None:
                return None, "odd"
            end = match.end()
            rest = text.find(delimiter, end)
            rest = len(text) if rest < 0 else rest
            if rest != end:
                state = "odd"  # something between the closing quote and the delimiter
            fields.append(match[1].replace('""', '"') + text[end:rest])
            position = rest
        else:
            end = text.find(delimiter, position)
            end = len(text) if end < 0 else end
            if '"' in text[position:end]:
                state = "odd"
            fields.append(text[position:end])
            position = end
        if position >= len(text):
            return fields, state
        position += len(delimiter)
        if position == len(text):
            return [*fields, ""], state


def _names(written: Written, records: list[tuple[int, int, list[str]]]) -> tuple[list[str | None], list[str]]:
    """The columns, None for those that are no attributes; and why the file may be refused."""
    if written.names is not None:
        return list(written.names), []
    if not records or not any(bare(field) for field in records[0][2]):
        raise Refused("no header")
    names: list[str | None] = [bare(field) for field in records[0][2]]
    doubts = ["white space around a column's name"] if any(name != bare(name) for name in records[0][2] if name) else []
    if written.typed:
        typed = re.compile(r"(.*):(token|token_seq|float|float_seq)\Z", re.DOTALL)
        if not all(name and typed.fullmatch(name) for name in names):
            doubts.append("untyped columns")
        names = [name and bare(typed.sub(r"\1", name)) for name in names]
    if names[0] is not None and re.fullmatch(r"Unnamed: 0(\.\d+)?", names[0]):
        names[0] = None
    return names, doubts


def _header_doubts(
    names: list[str | None], table: Table, body: list[tuple[int, int, list[str]]], sure: int | None
) -> list[str]:
    named = [name for name in names if name is not None]
    lacking = [name for name in table.needed if name not in named]
    if lacking and sure != 1:
        raise Refused(f"no column {lacking}")
    doubts = []
    if len(set(named)) < len(named):
        twice = {name for name in named if named.count(name) > 1}
        if twice & set(table.needed) or (isinstance(table, Items) and table.attributes is None):
            raise Refused(f"columns twice: {twice}")
        doubts.append("a column twice")
    for place, name in enumerate(names):
        if name is None and place > 0:
            whole = [fields for _, _, fields in body if len(fields) == len(names) and "\0" not in "".join(fields)]
            used = any(bare(fields[place]) for fields in whole)
            if used and sure is None and isinstance(table, Items) and table.attributes is None:
                raise Refused("values in a column without a name")
            doubts.append("a column without a name")
    return doubts


# Parquet


def plain_parquet(data: bytes, table: Table) -> PlainFile:
    """Rows of typed values."""
    try:
        file = pa_parquet.ParquetFile(io.BytesIO(data))
        present = file.schema_arrow.names
        # The other columns of a log are not read, so that damage in them does no harm.
        needed = [name for name in present if name in table.needed] if isinstance(table, Log) else present
        found = file.read(needed if len(needed) == len(table.needed) else None)
        found.validate(full=True)
        names = found.column_names
        columns = [_values(found.column(place)) for place in range(found.num_columns)]
    except Exception as error:
        raise Refused(f"not parquet: {error}") from error
    lacking = [name for name in table.needed if name not in names]
    if lacking:
        raise Refused(f"no column {lacking}")
    twice = {name for name in names if names.count(name) > 1}
    if twice & set(table.needed) or (twice and isinstance(table, Items) and table.attributes is None):
        raise Refused(f"columns twice: {twice}")
    kept = [place for place, name in enumerate(names) if not _is_index(name, place) or name in table.needed]
    cells = [{names[place]: columns[place][row] for place in kept} for row in range(found.num_rows)]
    rows = [PlainRow(number, table.outcomes(row)) for number, row in enumerate(cells, start=1)]
    doubts = ["a column twice"] if twice else []
    for place in kept:
        if _odd_type(found.schema.field(place).type):
            doubts.append(f"a column of {found.schema.field(place).type}")
    return PlainFile(rows, doubts + table.doubts(cells, rows))


def _odd_type(kind: pa.DataType) -> bool:
    """Whether a column has a type that a reader may refuse in any column."""
    types = pa.types
    inner = [kind.field(place).type for place in range(kind.num_fields)] if kind.num_fields else []
    return types.is_binary(kind) or types.is_duration(kind) or types.is_interval(kind) or any(map(_odd_type, inner))


def _is_index(name: str, place: int) -> bool:
    """Whether pandas wrote this column for an index without a name, or read such a one from a CSV file."""
    return name == "__index_level_0__" or (place < 2 and re.fullmatch(r"Unnamed: 0(\.\d+)?", name) is not None)


def _values(column: pa.ChunkedArray) -> list[Any]:
    return [_value(value, column.type) for value in column.to_pylist()]


def _value(value: Any, kind: pa.DataType) -> Any:
    """A value of `to_pylist` with what it loses: the width of a float, and that pairs are a mapping."""
    types = pa.types
    if value is None:
        return None
    if types.is_float32(kind) or types.is_float16(kind):
        return (np.float32 if types.is_float32(kind) else np.float16)(value)
    if types.is_map(kind):
        return {text_of(key): _value(part, kind.item_type) for key, part in value}
    if types.is_struct(kind):
        return {name: _value(part, kind.field(name).type) for name, part in value.items()}
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return [_value(part, kind.value_type) for part in value]
    return value
