"""Decides which polars type each column of a file gets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypeAlias

from ..polars_engine import pl

ColumnType: TypeAlias = "pl.DataType | pl.datatypes.DataTypeClass"
ColumnTypes: TypeAlias = "dict[str, ColumnType]"

TEXT = pl.String
TEXTS = pl.List(pl.String)


def texts(names: Sequence[str]) -> ColumnTypes:
    """Every column as text."""
    return dict.fromkeys(names, TEXT)


def json_column_types(lines: Sequence[bytes]) -> ColumnTypes:
    """The keys of JSON objects in order of appearance: a list of texts if any object has a list there, text otherwise.

    Args:
        lines: the first lines of a file; lines that do not hold an object are skipped.
    """
    types: ColumnTypes = {}
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        for name, value in row.items() if isinstance(row, dict) else ():
            types[name] = TEXTS if isinstance(value, list) else types.get(name, TEXT)
    return types
