"""The files that an `ItemCatalog` is read from: JSON, JSON lines, CSV and parquet, gzipped or not."""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from .arrow import Table, arrow


def open_text(path: str | os.PathLike[str]) -> IO[str]:
    """Opens a UTF-8 text file, gzipped or not. A byte-order mark is skipped."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"No file {os.fspath(path)}.")
    if os.fspath(path).endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return open(path, encoding="utf-8-sig")


def json_content(path: str | os.PathLike[str]) -> dict[str, Any] | list[Any]:
    """The object or list in a JSON file.

    Raises:
        ValueError: if the file is not JSON or holds something else.
    """
    with open_text(path) as file:
        try:
            content = json.load(file)
        except ValueError as error:  # malformed JSON or malformed UTF-8
            raise ValueError(
                f"{os.fspath(path)} is not JSON: {error}. Read a file with one object per line with from_jsonl."
            ) from error
    if not isinstance(content, (dict, list)):
        raise ValueError(f"{os.fspath(path)} holds a {type(content).__name__}; expected an object or a list.")
    return content


def json_lines(path: str | os.PathLike[str]) -> Iterator[Any]:
    """The value of every line that is not blank.

    Raises:
        ValueError: if a line is not JSON. The message has its number.
    """
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield json.loads(line)
                except json.JSONDecodeError as error:
                    raise ValueError(f"{os.fspath(path)}, line {number}, is not JSON: {error}") from error


def csv_table(path: str | os.PathLike[str], delimiter: str) -> Table:
    """A CSV file with a header line, gzipped or not, as an Arrow table. Every cell is text, an empty one is missing.

    Raises:
        ValueError: if the file cannot be read as such.
    """
    pa, pa_csv = arrow(), arrow("pyarrow.csv")
    with open_text(path) as file:
        names = next(csv.reader(file, delimiter=delimiter), [])
    # A quoted empty cell is as empty as any other: many programs quote every cell.
    # Without a type for every column Arrow would infer one, and the id "007" would become the number 7.
    texts = pa_csv.ConvertOptions(
        column_types={name: pa.string() for name in names},
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
        null_values=[""],
    )
    parse = pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    try:
        return pa_csv.read_csv(os.fspath(path), parse_options=parse, convert_options=texts)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{os.fspath(path)} cannot be read as CSV with delimiter {delimiter!r}: {error}") from error


def parquet_table(path: str | os.PathLike[str]) -> Table:
    """A parquet file as an Arrow table.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not parquet.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"No file {os.fspath(path)}.")
    try:
        return arrow("pyarrow.parquet").ParquetFile(os.fspath(path)).read()
    except (arrow().ArrowInvalid, OSError) as error:
        raise ValueError(f"{os.fspath(path)} cannot be read as parquet: {error}") from error
