"""Takes, thins and joins pieces of flat sequences without a loop over rows: the array work of all splits."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ...items.catalog import ItemCatalog
from ..arrays import offsets_from_lengths, slice_indices
from ..dataset import Sequences
from ..preparation import EmptyResultError, PreparedInteractions


def sequences_between(
    prepared: PreparedInteractions,
    users: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    *,
    targets: np.ndarray | None = None,
) -> Sequences:
    """The interactions from `starts` to `ends` of the chosen users, and the items at `targets`.

    Args:
        prepared: the interactions of all users.
        users: bool `[num_users]`, or the users' numbers `[n]`, in which a user may occur more than once.
        starts: int64 `[num_users]`, or `[n]` for numbers: positions in the flat arrays.
        ends: as `starts`; the first position that is not taken.
        targets: as `starts`, or None for sequences without targets.
    """
    numbers = np.flatnonzero(users) if users.dtype == bool else users
    if users.dtype == bool:
        starts, ends = starts[numbers], ends[numbers]
        targets = None if targets is None else targets[numbers]
    lengths = ends - starts
    return Sequences(
        user_ids=take_ids(prepared.user_ids, numbers),
        items=prepared.items[slice_indices(starts, lengths)],
        offsets=offsets_from_lengths(lengths),
        targets=None if targets is None else prepared.items[targets],
    )


def take_ids(user_ids: pa.Array, numbers: np.ndarray) -> pa.Array:
    """The chosen ids; the array itself if all are chosen, which saves a copy."""
    if len(numbers) == len(user_ids) and np.array_equal(numbers, np.arange(len(user_ids))):
        return user_ids
    return user_ids.take(pa.array(numbers))


def without_items(sequences: Sequences, held_out: np.ndarray) -> Sequences:
    """The sequences without the items of `held_out`, bool `[num_items]`.

    Rows whose target is held out, or whose history becomes empty, are removed.

    Raises:
        EmptyResultError: if no row is left.
    """
    if not held_out.any():
        return sequences
    kept = ~held_out[sequences.items]
    offsets = offsets_from_lengths(kept)[sequences.offsets]
    rows = np.diff(offsets) > 0
    if sequences.targets is not None:
        rows &= ~held_out[sequences.targets]
    if not rows.any():
        raise EmptyResultError("Nothing is left to train on without the held-out items. Hold out fewer items.")
    lengths = np.diff(offsets)[rows]
    return Sequences(
        take_ids(sequences.user_ids, np.flatnonzero(rows)),
        # A removed row may still have items that are not held out.
        sequences.items[kept & np.repeat(rows, sequences.lengths)],
        offsets_from_lengths(lengths),
        None if sequences.targets is None else sequences.targets[rows],
    )


def concatenated(parts: list[Sequences]) -> Sequences:
    """The rows of all parts, in order. Either every part has targets, or none."""
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    targets = [part.targets for part in parts if part.targets is not None]
    return Sequences(
        pa.concat_arrays([part.user_ids for part in parts]),
        np.concatenate([part.items for part in parts]),
        offsets_from_lengths(lengths),
        np.concatenate(targets) if targets else None,
    )


def joined_catalog(catalogs: dict[str, ItemCatalog]) -> tuple[ItemCatalog, dict[str, np.ndarray]]:
    """One catalogue of all items, with the first text of each id; and for each catalogue, the rows of its items
    there."""
    table = pa.concat_tables([catalog.table for catalog in catalogs.values()])
    ids = table["item_id"].combine_chunks()
    encoded = ids.dictionary_encode()  # numbers ids by first appearance
    numbers = encoded.indices.to_numpy()
    first = np.unique(numbers, return_index=True)[1]
    ends = np.cumsum([len(catalog) for catalog in catalogs.values()])
    rows = {
        name: numbers[end - len(catalog) : end] for (name, catalog), end in zip(catalogs.items(), ends, strict=True)
    }
    return ItemCatalog.from_arrow(table.take(pa.array(first))), rows
