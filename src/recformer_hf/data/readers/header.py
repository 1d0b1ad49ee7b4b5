"""The columns of a delimited file by its header: which are read, and which only pandas or Excel added."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .source import MissingColumnsError

# pandas writes its index as a first column without a name, and calls it "Unnamed: 0" when it reads that again.
_PANDAS_INDEX = re.compile(r"(Unnamed: 0(\.\d+)*)?")
# RecBole writes "item_id:token".
_RECBOLE_TYPE = re.compile(r":(token|token_seq|float|float_seq)$")


def column_names(fields: Sequence[str], *, typed: bool = False) -> list[str]:
    """The names in a header line, without the white space around them.

    Args:
        fields: the fields of the line.
        typed: whether RecBole's types follow the names ("item_id:token"); they are removed.
    """
    names = [field.strip() for field in fields]
    return [_RECBOLE_TYPE.sub("", name).rstrip() for name in names] if typed else names


def sequence_columns(fields: Sequence[str]) -> list[str]:
    """The names of the columns that RecBole's types declare to be sequences, "item_id_list:token_seq"."""
    return column_names([field for field in fields if field.strip().endswith((":token_seq", ":float_seq"))], typed=True)


def columns_of_text(names: Sequence[str]) -> list[str]:
    """The columns of a table that hold data: all with a name, except for pandas' index at the beginning."""
    first = 0
    while first < len(names) - 1 and _PANDAS_INDEX.fullmatch(names[first]):
        first += 1
    return [name for name in names[first:] if name]


def nameless_columns(names: Sequence[str]) -> list[int]:
    """Positions of the columns without a name that are not pandas' index; they may hold nothing."""
    return [position for position, name in enumerate(names) if position > 0 and not name]


def nameless_error(file_name: str, position: int, line: int, value: str) -> MissingColumnsError:
    """The error for a value in a column without a name."""
    return MissingColumnsError(
        f"{file_name} has values in column {position + 1}, which has no name in the header (line {line}: {value!r}). "
        "Name the column, or choose the columns to read."
    )
