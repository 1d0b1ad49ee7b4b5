"""Recognises files that hold one JSON document instead of one object per line: a list of objects, or an object."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from .files import line_blocks
from .source import DamagedFileError, DataError

# A document is parsed as a whole, which takes several times its size in memory.
LARGEST_DOCUMENT = 1 << 30

_EXPECTED = 'expected one object per line, or a list of objects (pandas: to_json(orient="records", lines=True))'


def document_objects(path: Path, start: bytes, first: object, names: Sequence[str]) -> list[object] | None:
    """The objects of a file that is one JSON document; None if the file has one object per line.

    Args:
        path: the file.
        start: its first block.
        first: what the first line that is not blank holds: a dictionary if it is an object, anything else if not.
        names: keys that every object must have; the first of them holds ids.

    Raises:
        DamagedFileError: if the file begins as a document but is not valid JSON.
        DataError: if the document is no list of objects, or too large to be parsed as a whole.
    """
    line, _, rest = start.strip().partition(b"\n")
    line, following = line.strip(), rest.strip().partition(b"\n")[0].strip()
    if isinstance(first, dict):
        if following or (all(name in first for name in names) and not isinstance(first[names[0]], (dict, list))):
            return None
        return _objects_of(path, first, names)
    begins_list = line.startswith(b"[") and not (following and _parses(line))
    begins_object = line.startswith(b"{") and line.endswith((b"{", b"[", b","))
    if not (begins_list or begins_object):
        return None
    text = _whole_text(path)
    try:
        document = json.loads(text.decode())  # from bytes, it would accept half of a surrogate pair
    except (ValueError, RecursionError) as error:
        if _parses(following):
            return None  # only the first line is damaged
        where: object = error
        if isinstance(error, json.JSONDecodeError):
            where = f"line {error.lineno:,}, column {error.colno:,}: {error.msg}"
        raise DamagedFileError(
            f"{path} begins as one JSON document, but it is not valid JSON ({where}). Check that the file is complete."
        ) from error
    return _objects_of(path, document, names)


def _whole_text(path: Path) -> bytes:
    pieces, size = [], 0
    for _, block in line_blocks(path):
        pieces.append(block)
        size += len(block)
        if size > LARGEST_DOCUMENT:
            raise DataError(
                f"{path} is one JSON document of more than {LARGEST_DOCUMENT:,} bytes, too large to be parsed as a "
                f"whole. Write one object per line: jq -c '.[]' {path.name} > lines.jsonl"
            )
    return b"".join(pieces).removeprefix(b"\xef\xbb\xbf")


def _objects_of(path: Path, document: object, names: Sequence[str]) -> list[object]:
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        raise DataError(f"{path} is a JSON document of type {type(document).__name__}; {_EXPECTED}.")
    keys = ", ".join(map(repr, list(document)[:8])) + (", ..." if len(document) > 8 else "")
    if not document:
        raise DataError(f"{path} is one empty JSON object; {_EXPECTED}.")
    if all(name in document for name in names):
        ids = document[names[0]]
        if not isinstance(ids, (dict, list)):
            return [document]  # one object over several lines
        raise DataError(
            f"{path} is one JSON object with a {type(ids).__name__} of values in each of its columns ({keys}); "
            f"{_EXPECTED}."
        )
    lists = [
        value for value in document.values() if isinstance(value, list) and any(isinstance(v, dict) for v in value)
    ]
    if len(lists) == 1:
        return _without_pandas_index(lists[0], document.get("schema"))
    raise DataError(f"{path} is one JSON object with the keys {keys}; {_EXPECTED}.")


def _without_pandas_index(objects: list[object], schema: object) -> list[object]:
    """The rows of `to_json(orient="table")`, which holds an index without a name as "index"."""
    if not (isinstance(schema, dict) and "pandas_version" in schema and schema.get("primaryKey") == ["index"]):
        return objects
    return [{k: v for k, v in row.items() if k != "index"} if isinstance(row, dict) else row for row in objects]


def _parses(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
