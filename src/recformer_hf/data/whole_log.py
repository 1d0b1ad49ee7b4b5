"""The log that the splits of a dataset were made from: every user's interactions once, and what each of them is for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ..items.catalog import ItemCatalog
from .arrays import offsets_from_lengths, slice_indices
from .sequences import Sequences

HISTORY = "history"
"""Label of an interaction that is in no training sequence and no target, but before one."""


@dataclass(frozen=True, eq=False)
class WholeLog:
    """Every user's interactions, oldest first.

    Args:
        user_ids: Arrow strings `[num_users]`, in order of first appearance in the splits.
        items: int32 `[num_interactions]`, catalogue rows.
        offsets: int64 `[num_users + 1]`.
        labels: numbers into `names`, int8 `[num_interactions]`: what each interaction is.
        names: "history", "train", "validation", "test".
    """

    user_ids: pa.Array
    items: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]

    @property
    def positions(self) -> np.ndarray:
        """The position of each interaction within its user's, from 0, int64 `[num_interactions]`."""
        lengths = np.diff(self.offsets)
        return slice_indices(np.zeros_like(lengths), lengths)

    @property
    def users(self) -> np.ndarray:
        """The number of each interaction's user, int64 `[num_interactions]`."""
        return np.repeat(np.arange(len(self.user_ids)), np.diff(self.offsets))


def whole_log(splits: dict[str, Sequences], catalog: ItemCatalog) -> WholeLog:
    """Join the rows of all splits: the longest sequence of a user, of which all others must be beginnings.

    This holds for all splits of this package, except for those from which items were removed.

    Args:
        splits: "train", and perhaps "validation" and "test".
        catalog: names the items in errors.

    Raises:
        ValueError: if two rows of a user differ in what came first, or a target is in the user's training sequence.
    """
    rows = [_with_target(split) for split in splits.values()]
    kinds = np.repeat(np.arange(1, len(splits) + 1), [len(split) for split in splits.values()])
    items = np.concatenate([items for items, _ in rows])
    lengths = np.concatenate([lengths for _, lengths in rows])
    starts = offsets_from_lengths(lengths)[:-1]
    encoded = pa.chunked_array([split.user_ids.cast(pa.large_string()) for split in splits.values()])
    encoded = encoded.combine_chunks().dictionary_encode()
    users = encoded.indices.to_numpy()
    longest = _longest(users, lengths)
    whole = starts[longest[users]]
    _check_beginnings(items, starts, whole, lengths, encoded, catalog)
    log_starts = offsets_from_lengths(lengths[longest])
    labels = np.zeros(log_starts[-1], dtype=np.int8)
    training = kinds == 1
    labels[slice_indices(log_starts[users[training]], lengths[training])] = 1
    targets = (log_starts[users] + lengths - 1)[~training]
    if (labels[targets] == 1).any():
        user = encoded.dictionary[int(users[~training][np.flatnonzero(labels[targets] == 1)[0]])].as_py()
        raise ValueError(
            f"A target of user {user!r} is in the user's training sequence, so that no log tells them apart."
        )
    labels[targets] = kinds[~training]
    return WholeLog(
        encoded.dictionary,
        items[slice_indices(starts[longest], lengths[longest])],
        log_starts,
        labels,
        (HISTORY, *splits),
    )


def _with_target(split: Sequences) -> tuple[np.ndarray, np.ndarray]:
    """The items of a split with each target behind its history, and the lengths of these sequences."""
    if split.targets is None:
        return split.items, split.lengths
    return np.insert(split.items, split.offsets[1:], split.targets), split.lengths + 1


def _longest(users: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The row of each user's longest sequence, int64 `[num_users]`."""
    order = np.lexsort((-lengths, users))
    first = np.flatnonzero(np.diff(users[order], prepend=-1))
    return order[first]


def _check_beginnings(
    items: np.ndarray,
    starts: np.ndarray,
    whole: np.ndarray,
    lengths: np.ndarray,
    encoded: pa.DictionaryArray,
    catalog: ItemCatalog,
) -> None:
    """Check that every row is the beginning of its user's longest one, which starts at `whole`."""
    for first in range(0, len(starts), 1 << 20):
        rows = slice(first, first + (1 << 20))
        mine = items[slice_indices(starts[rows], lengths[rows])]
        other = items[slice_indices(whole[rows], lengths[rows])]
        different = np.flatnonzero(mine != other)
        if different.size:
            row = first + int(np.searchsorted(np.cumsum(lengths[rows]), different[0], side="right"))
            found, expected = (catalog.id_of(int(values[different[0]])) for values in (mine, other))
            raise ValueError(
                f"The sequences of user {encoded[row].as_py()!r} are not beginnings of one another ({found!r} in one, "
                f"{expected!r} in another at the same place), so that they are not from one log; a split with removed "
                "items has such sequences. export_unisrec writes the rows of every split by themselves."
            )
