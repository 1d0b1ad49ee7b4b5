"""JSON lines, streamed in blocks of whole lines and parsed by polars; line by line only where a block is damaged.

A compressed file is never unpacked to disk and never whole in memory. Inflating happens in a second thread (zlib
releases the interpreter's lock) while polars parses the block before. A clean log costs no Python per row.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..polars_engine import pl
from .common import DamagedFileError, FileReport, MissingColumnsError, TimeUnit, existing_file, parse_timestamps

BLOCK_BYTES = 16 << 20


def iter_blocks(path: Path, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, bytes]]:
    """A file's content in blocks of whole lines, inflated on the fly where its first bytes are those of gzip.

    Args:
        path: an existing file; gzip files may have several members.
        block_bytes: about so many inflated bytes a block.

    Yields:
        (number of the block's first line, from 1; the block).

    Raises:
        DamagedFileError: the compressed data are corrupt or end too early.
    """
    pieces = _inflated(path, block_bytes)
    line_number, rest = 1, b""
    with (
        ThreadPoolExecutor(max_workers=1) as ahead,
        tqdm(total=path.stat().st_size, desc=path.name, unit="B", unit_scale=True, delay=2) as progress,
    ):
        following = ahead.submit(next, pieces, None)
        while (piece := following.result()) is not None:
            following = ahead.submit(next, pieces, None)
            data, position = piece
            progress.update(position - progress.n)
            data = rest + data
            end = data.rfind(b"\n") + 1
            block, rest = data[:end], data[end:]
            if block:
                yield line_number, block
                line_number += block.count(b"\n")
        if rest:
            yield line_number, rest


def _inflated(path: Path, block_bytes: int) -> Iterator[tuple[bytes, int]]:
    """(inflated bytes, position in the file) of a file, plain or gzip."""
    with path.open("rb") as file:
        if file.peek(2)[:2] != b"\x1f\x8b":
            while data := file.read(block_bytes):
                yield data, file.tell()
            return
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            while data := file.read(4 << 20):
                while data:
                    if inflater.eof:  # another member follows, or padding of zeros, which ends the file
                        if not data.strip(b"\0"):
                            break
                        inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
                    yield inflater.decompress(data, block_bytes), file.tell()
                    data = inflater.unconsumed_tail or inflater.unused_data
        except zlib.error as error:
            raise DamagedFileError(
                f"{path}: the gzip data are corrupt about {file.tell():,} bytes in ({error}). Download it again."
            ) from error
        if not inflater.eof:
            raise DamagedFileError(
                f"{path}: the gzip data end too early, after {file.tell():,} bytes. Download it again."
            )


def read_json_lines(
    path: str | Path,
    columns: dict[str, Any],
    required: Sequence[str],
    report: FileReport,
    *,
    timestamp: str | None = None,
    unit: TimeUnit = "s",
    parse_line: Callable[[bytes], Any] = json.loads,
    to_json: Callable[[bytes], bytes] | None = None,
) -> Iterator[pl.DataFrame]:
    """Some columns of a file of JSON objects, one a line, plain or gzipped, in blocks and in order.

    Args:
        path: the file.
        columns: name -> polars type (String, Int64, lists of String) of the columns wanted; all others are ignored.
        required: columns that every line must have, neither null nor empty; a line without one is damaged.
        report: filled in while reading: lines, damaged lines and the numbers of the first of them.
        timestamp: name of a required column of times, which comes out as by `parse_timestamps`; a line whose time
            cannot be parsed is damaged. Int64 where times are numbers, String where they may be text.
        unit: of numeric times.
        parse_line: a line's bytes -> its object, or an exception: the meaning of a line where a block is not clean.
        to_json: a line of another notation -> the same line in JSON, exact wherever the result parses.

    Yields:
        frames with `columns`, the rows of a block's undamaged lines.

    Raises:
        MissingColumnsError: the first objects of the file lack a required column.
        DamagedFileError: the gzip data are corrupt or end too early.
    """
    path = existing_file(path)
    for first_line, block in iter_blocks(path):
        if report.lines == 0:
            _check_first_objects(path, block, required, parse_line)
        text = (
            block if to_json is None else b"\n".join([to_json(line) if line else line for line in block.split(b"\n")])
        )
        frame = _parse_clean(text, columns, required, timestamp, unit)
        if frame is None:
            frame = _parse_line_by_line(first_line, block, columns, required, timestamp, unit, parse_line, report)
        else:
            report.lines += frame.height
        if frame.height:
            yield frame


def _check_first_objects(path: Path, block: bytes, required: Sequence[str], parse_line: Callable[[bytes], Any]) -> None:
    """A file of another layout is told by its first objects: better than "every line is damaged"."""
    first: dict[str, Any] | None = None
    for line in block.split(b"\n", 100)[:100]:
        try:
            row = parse_line(line)
        except Exception:
            continue
        if isinstance(row, dict):
            if all(name in row for name in required):
                return
            first = row if first is None else first
    if first is not None:
        missing = ", ".join(repr(name) for name in required if name not in first)
        raise MissingColumnsError(
            f"{path.name}: no column {missing}; its columns are {', '.join(map(repr, first))}. Check that the file "
            "is of the layout that was asked for."
        )


def _parse_clean(
    text: bytes, columns: dict[str, Any], required: Sequence[str], timestamp: str | None, unit: TimeUnit
) -> pl.DataFrame | None:
    """The block's frame, or None where any line of it needs a look of its own."""
    if not text.strip():
        return pl.DataFrame(schema=columns)
    try:
        frame = pl.read_ndjson(text, schema=columns, ignore_errors=True)
    except (pl.exceptions.ComputeError, pl.exceptions.PanicException):
        return None
    if timestamp is not None:
        frame = frame.with_columns(parse_timestamps(frame[timestamp], unit))
    bad = [pl.col(name).is_null() for name in required]
    bad += [pl.col(name) == "" for name in required if frame.schema[name] == pl.String]
    return None if frame.select(pl.any_horizontal(bad).any()).item() else frame


def _parse_line_by_line(
    first_line: int,
    block: bytes,
    columns: dict[str, Any],
    required: Sequence[str],
    timestamp: str | None,
    unit: TimeUnit,
    parse_line: Callable[[bytes], Any],
    report: FileReport,
) -> pl.DataFrame:
    """The rows of a block that is not clean; its damaged lines go to the report."""
    rows: dict[str, list[Any]] = {name: [] for name in columns}
    line_numbers, times_found, damaged = [], [], []
    for line_number, line in enumerate(block.split(b"\n"), start=first_line):
        if not line.strip():
            continue
        report.lines += 1
        try:
            row = parse_line(line)
        except Exception as error:
            reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else getattr(error, "msg", None) or str(error)
            damaged.append((line_number, f"not readable ({reason})"))
            continue
        if not isinstance(row, dict):
            damaged.append((line_number, f"a {type(row).__name__}, where an object was expected"))
            continue
        values = {name: _as_type(row.get(name), dtype) for name, dtype in columns.items()}
        empty = next((name for name in required if values[name] is None or values[name] == ""), None)
        if empty is not None:
            damaged.append((line_number, f"{empty!r} is {row[empty]!r}" if empty in row else f"no {empty!r}"))
            continue
        for name, value in values.items():
            rows[name].append(value)
        line_numbers.append(line_number)
        times_found.append(row.get(timestamp))
    frame = pl.DataFrame(rows, schema=columns)
    if timestamp is not None:
        frame = frame.with_columns(parse_timestamps(frame[timestamp], unit))
        untimed = frame[timestamp].is_null()
        damaged += [
            (line_numbers[row], f"{timestamp!r} is {times_found[row]!r}, no time from 1970 to 2100 in {unit!r}")
            for row in untimed.arg_true()
        ]
        frame = frame.filter(~untimed)
    report.add_damaged(damaged)
    report.check_so_far()
    return frame


def _as_type(value: Any, dtype: Any) -> Any:
    """`value` as the column's type, or None where it cannot be."""
    if value is None or isinstance(value, bool):
        return None
    if dtype == pl.Int64:
        try:
            number = int(value)
            return number if number == float(value) and abs(number) < 2**63 else None
        except (TypeError, ValueError, OverflowError):
            return None
    if dtype == pl.String:
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # as polars' parser writes it
        return _clean_surrogates(str(value)) if isinstance(value, (str, int, float)) else None
    return [_as_type(part, dtype.inner) for part in value] if isinstance(value, list) else None


def _clean_surrogates(text: str) -> str:
    """Half of an escaped surrogate pair has no UTF-8 form: it becomes "�", as in polars' own parser."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
