"""The files that an `ItemCatalog` is read from: JSON, JSON lines and parquet."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .arrow import Table, arrow
from .text import shown
from .text_files import FilePath, existing_file, lines_of, text_of


@contextmanager
def named_errors(path: FilePath) -> Iterator[None]:
    """Errors about a file's content begin with its name."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if os.fspath(path) in str(error):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{os.fspath(path)}: {error}") from error


def json_content(path: FilePath, encoding: str | None = None) -> dict[str, Any] | list[Any]:
    """The object or list in a JSON file. Of an object that has a key twice: a list of its (key, value).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not JSON or holds something else, or an object inside has a key twice.
    """
    text = text_of(path, encoding)
    try:
        content = _parsed(text)
    except _RepeatedKeyError as error:
        content = _top_pairs(json.loads(text, object_pairs_hook=_Pairs), error)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{os.fspath(path)} is not JSON: {error}. Read a file with one object per line with from_jsonl."
        ) from error
    if not isinstance(content, (dict, list)):
        raise ValueError(f"{os.fspath(path)} holds a {type(content).__name__}; expected an object or a list.")
    return content


class JsonLines:
    """The value of every line of a file that is not blank.

    Args:
        path: the file.
        encoding: as in `text_of`.
    """

    def __init__(self, path: FilePath, encoding: str | None = None) -> None:
        self._path, self._encoding = existing_file(path), encoding
        self._lines = array("q")

    def __iter__(self) -> Iterator[Any]:
        """Raises a `ValueError` that names the line if it is not JSON."""
        for number, line in lines_of(self._path, self._encoding):
            if line.strip():
                self._lines.append(number)
                try:
                    value = _parsed(line)
                except _RepeatedKeyError as error:
                    raise ValueError(f"{self._path}, line {number}: {error}.") from error
                except (ValueError, RecursionError) as error:
                    advice = " A file that is one JSON document is read by from_json." if number == 1 else ""
                    raise ValueError(f"{self._path}, line {number}, is not JSON: {error}.{advice}") from error
                if number == 1 and isinstance(value, list):
                    raise ValueError(f"{self._path}, line 1, is a list. A file that is one list is read by from_json.")
                yield value

    def place(self, row: int) -> str:
        """How errors name a row that has been read."""
        return f"Line {self._lines[row]}"


class _RepeatedKeyError(ValueError):
    pass


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with all of its keys."""


def _parsed(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise _RepeatedKeyError(f"the key {twice!r} occurs twice in the object {shown(found)}")
    return found


def _top_pairs(content: Any, error: _RepeatedKeyError) -> list[tuple[str, Any]]:
    """The items of an object in which ids, and nothing else, are repeated."""
    if not isinstance(content, _Pairs):
        raise error
    return [(key, _inner(value)) for key, value in content]


def _inner(value: Any) -> Any:
    if isinstance(value, _Pairs):
        return _object([(key, _inner(inner)) for key, inner in value])
    return [_inner(inner) for inner in value] if isinstance(value, list) else value


def parquet_table(path: FilePath) -> Table:
    """A parquet file as an Arrow table.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not parquet.
    """
    pa = arrow()
    path = existing_file(path)
    try:
        table = arrow("pyarrow.parquet").ParquetFile(os.fspath(path)).read()
        table.validate(full=True)
    except PermissionError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        with path.open("rb") as file:
            start = file.read(4)
        advice = "" if start == b"PAR1" else " Text files are read by from_csv, from_json and from_jsonl."
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"{path} cannot be read as parquet: {reason}.{advice}") from error
    return table
