"""Splits that were made elsewhere, given as ids or rows of each user, as `Sequences`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from ..items.catalog import ItemCatalog
from ..items.ids import item_id_text, texts_of_ids
from ..items.text import shown
from .arrays import integers, offsets_from_lengths
from .sequences import Sequences, text_array

ItemsAre = Literal["ids", "rows"]
SplitLike: TypeAlias = "Sequences | Mapping[Any, Any] | Iterable[tuple[Any, ...]]"


class _Row(NamedTuple):
    user: object
    history: Sequence[object]
    target: object


def given_split(given: Any, catalog: ItemCatalog, name: str, items: ItemsAre, *, with_targets: bool) -> Sequences:
    """The sequences of one split.

    Args:
        given: `Sequences`; or a mapping (or a series of pandas) of each user to a list of items, for a split with
            targets to a pair (history, target); or a list of pairs (user, items) or triples (user, history, target), in
            which a user of a split with targets may occur several times.
        catalog: what the ids are looked up in.
        name: the split's name, for errors.
        items: whether items are "ids" (whole numbers become their digits) or "rows" of the catalogue.
        with_targets: whether it is a validation or test split.

    Raises:
        TypeError: if something has another form, or a row is not an integer.
        ValueError: if ids are unknown, or missing. The message names split, user and id.
    """
    if isinstance(given, Sequences):
        return given
    rows = [_row(each, name, number, with_targets) for number, each in enumerate(_rows(given, name))]
    users = [_user(row.user, name, number) for number, row in enumerate(rows)]
    values = _row_numbers if items == "rows" else _looked_up
    histories = values([row.history for row in rows], users, catalog, name)
    targets = None
    if with_targets:
        targets = values([[row.target] for row in rows], users, catalog, f"the targets of {name}")
    try:
        return Sequences(
            text_array(users), histories, offsets_from_lengths([len(row.history) for row in rows]), targets
        )
    except (ValueError, TypeError) as error:
        raise type(error)(f"{name}: {error}") from error


def _rows(given: Any, name: str) -> Iterable[Any]:
    # A series of pandas has users as its index: frame.groupby("user")["item"].agg(list).
    if isinstance(given, Mapping) or (hasattr(given, "items") and not hasattr(given, "columns")):
        return [
            (user, *value) if isinstance(value, tuple) and len(value) == 2 and _is_list(value[0]) else (user, value)
            for user, value in given.items()
        ]
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable) or hasattr(given, "columns"):
        hint = " SequentialDataset.from_frames prepares data frames." if hasattr(given, "columns") else ""
        raise TypeError(
            f"{name} is a {type(given).__name__}; expected a mapping of users to their items, a list of (user, items), "
            f"or Sequences.{hint}"
        )
    return given


def _row(row: Any, name: str, number: int, with_targets: bool) -> _Row:
    if isinstance(row, (str, bytes)) or not isinstance(row, Sequence):
        raise TypeError(f"Row {number} of {name} is {shown(row)}; expected a user and a list of items.")
    if with_targets and len(row) != 3:
        raise TypeError(
            f"Row {number} of {name} is {shown(row)}; expected the user, a list of items that came before, and the "
            "target. If the last item is the target, pass (items[:-1], items[-1]) for the user."
        )
    if not with_targets and len(row) == 3 and row[2] is None:  # a `UserSequence` of a training split
        row = row[:2]
    if not with_targets and len(row) != 2:
        raise TypeError(f"Row {number} of {name} is {shown(row)}; expected the user and one list of items.")
    if not _is_list(row[1]):
        raise TypeError(f"The items of user {shown(row[0])} in {name} are {shown(row[1])}; expected a list.")
    if with_targets and _is_list(row[2]):
        raise TypeError(f"The target of user {shown(row[0])} in {name} is {shown(row[2])}; expected one item.")
    return _Row(row[0], row[1], row[2] if with_targets else None)


def _is_list(value: object) -> bool:
    return (isinstance(value, Sequence) and not isinstance(value, (str, bytes))) or (
        isinstance(value, np.ndarray) and value.ndim == 1
    )


def _user(value: object, name: str, number: int) -> str:
    try:
        user = item_id_text(value)
    except TypeError as error:
        raise TypeError(f"The user of row {number} of {name}: {str(error).replace('item id', 'user id')}") from None
    if not user.strip():
        raise ValueError(f"Row {number} of {name} has no user: {shown(value)}. Remove the row.")
    return user


def _row_numbers(lists: list[Any], users: list[str], catalog: ItemCatalog, name: str) -> np.ndarray:
    """Rows, checked to be integers; whether the catalogue has them is checked by `SequentialDataset`."""
    arrays = [integers(each, f"The rows of user {user!r} in {name}") for each, user in zip(lists, users, strict=True)]
    return np.concatenate([np.zeros(0, np.int64), *(array.astype(np.int64) for array in arrays)])


def _looked_up(lists: list[Any], users: list[str], catalog: ItemCatalog, name: str) -> np.ndarray:
    flat = [item for each in lists for item in each]
    owners = np.repeat(np.arange(len(lists)), [len(each) for each in lists])
    try:
        ids = texts_of_ids(flat)
    except TypeError:
        number, error = next((n, error) for n, item in enumerate(flat) if (error := _id_error(item)))
        raise TypeError(f"{name}, user {users[owners[number]]!r}: {error}") from None
    rows = catalog.rows_of(ids, unknown="mark")
    lost = np.flatnonzero(rows < 0)
    if lost.size:
        first = int(lost[0])
        raise ValueError(
            f"{lost.size:,} of {len(flat):,} items of {name} are not in the catalogue of {len(catalog):,} items, the "
            f"first: {shown(flat[first])} of user {users[owners[first]]!r}. Remove them, or add them to the catalogue. "
            'If these are rows of the catalogue, pass items="rows".'
        )
    return rows


def _id_error(item: object) -> str | None:
    try:
        item_id_text(item)
    except TypeError as error:
        return str(error)
    return None
