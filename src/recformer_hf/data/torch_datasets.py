"""Splits as torch datasets: `data[index]` looks up the sequences of a whole batch, which collators then tokenize.

An *index* names a row of a batch and the epoch that it is drawn in. It is all that travels from the sampler to the
workers, so a batch is the same whoever composes it and whenever: no worker, process or generator has any state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from torch.utils.data import Dataset
from transformers.utils import logging

from .arrays import gather, offsets_from_lengths, rows_within, slice_indices
from .sequences import Sequences, whole_number

logger = logging.get_logger(__name__)

INDEX = np.dtype([("epoch", np.int32), ("dataset", np.int32), ("user", np.int64)])
"""A row of a batch: number of the pass over its dataset, number of the dataset, and row of the split."""

MIN_ITEMS = 2
"""Items of a training sequence: one of history and one target."""

Row: TypeAlias = tuple[int, int, int]
"""(epoch, dataset, user), as in `INDEX`."""


@dataclass(frozen=True, eq=False)
class SequenceBatch:
    """Rows of splits, looked up but not yet tokenized: the input of a collator.

    Args:
        index (`INDEX` `[batch]`): the rows, and the epoch that each is drawn in.
        items (int `[total_items]`): their catalogue rows, oldest first, sequence after sequence.
        offsets (int64 `[batch + 1]`): where each sequence begins.
        targets (int `[batch]`, *optional*): the item that came next, for evaluation.
    """

    index: np.ndarray
    items: np.ndarray
    offsets: np.ndarray
    targets: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.index)


class TrainingSequences(Dataset[SequenceBatch]):
    """Training sequences of one or several datasets, looked up a batch at a time.

    `data[index]` accepts an `INDEX` array, which [`SequenceSampler`] yields, or (epoch, dataset, user) tuples.

    Args:
        splits: the `train` split of each dataset. Sequences of fewer than two items have no target after a history;
            they are dropped, and a warning says how many.

    Raises:
        ValueError: if there is no split, if one of them is not a training split, or if all sequences of one are
            dropped.
    """

    def __init__(self, splits: Sequence[Sequences]) -> None:
        if not splits or any(split.targets is not None for split in splits):
            raise ValueError(
                f"Training takes the train split of at least one dataset, got {len(splits)} splits"
                + (", one of them with targets (validation or test)." if splits else ".")
            )
        # Not the splits themselves: workers would get copies of the user ids, which they do not need.
        self.items = [split.items for split in splits]
        """Catalogue rows of each split, int32 `[total_items]`."""
        self.offsets = [split.offsets for split in splits]
        """Where each sequence of each split begins, int64 `[num_sequences + 1]`."""
        self.users = [np.flatnonzero(np.diff(offsets) >= MIN_ITEMS) for offsets in self.offsets]
        """Rows of each split that are long enough, int64 `[num_users]`."""
        for number, (offsets, users) in enumerate(zip(self.offsets, self.users, strict=True)):
            total = len(offsets) - 1
            if not users.size:
                raise ValueError(
                    f"None of the {total:,} training sequences of dataset {number} has {MIN_ITEMS} items, one of "
                    "history and one target. Use a split with longer sequences."
                )
            if users.size < total:
                logger.warning(
                    f"Dataset {number}: {total - users.size:,} of {total:,} training sequences have fewer than "
                    f"{MIN_ITEMS} items and are dropped."
                )

    def __len__(self) -> int:
        """Number of sequences that are long enough, over all datasets."""
        return sum(users.size for users in self.users)

    def __getitem__(self, index: np.ndarray | Row | Sequence[Row]) -> SequenceBatch:
        """The sequences of an index, `[batch]`.

        Raises:
            IndexError: for a dataset or a row that does not exist; negative ones do not count from the end.
            TypeError: if the index is not made of three whole numbers a row.
        """
        rows = _as_index(index)
        dataset, user = rows["dataset"], rows["user"]
        self._check_inside(dataset, user)
        starts, stops = gather(self.offsets, dataset, user), gather(self.offsets, dataset, user + 1)
        lengths = stops - starts
        items = gather(self.items, np.repeat(dataset, lengths), slice_indices(starts, lengths))
        return SequenceBatch(rows, items, offsets_from_lengths(lengths))

    def __getitems__(self, index: np.ndarray | Sequence[Row]) -> SequenceBatch:
        """Called by a `DataLoader`'s fetcher with a whole batch; without this method, it asks row by row."""
        return self[index]

    def _check_inside(self, dataset: np.ndarray, user: np.ndarray) -> None:
        sizes = np.array([len(offsets) - 1 for offsets in self.offsets])
        outside = (dataset < 0) | (dataset >= len(sizes)) | (user < 0)
        outside |= user >= sizes[np.where(outside, 0, dataset)]
        if outside.any():
            first = int(np.flatnonzero(outside)[0])
            raise IndexError(
                f"No row {user[first]} of dataset {dataset[first]}: the datasets 0 to {len(sizes) - 1} have "
                f"{', '.join(f'{size:,}' for size in sizes.tolist())} sequences."
            )


class EvaluationSequences(Dataset[SequenceBatch]):
    """Histories of a validation or test split with their targets, looked up a batch at a time.

    `data[rows]` accepts one row or several. With a `DataLoader`, use any sampler or batch sampler of rows
    (`encoder.packing.length_sorted_batches` makes batches by token count).

    Args:
        split: `validation` or `test` of a dataset.

    Raises:
        ValueError: if the split has no targets.
    """

    def __init__(self, split: Sequences) -> None:
        if split.targets is None:
            raise ValueError("Evaluation takes a validation or test split, got one without targets (train).")
        self.items, self.offsets, self.targets = split.items, split.offsets, split.targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, rows: int | Sequence[int] | np.ndarray) -> SequenceBatch:
        """The histories of rows of the split, int `[batch]`.

        Raises:
            IndexError: for a row that the split does not have; negative rows do not count from the end.
            TypeError: if the rows are not integers.
        """
        users = rows_within(np.atleast_1d(rows), len(self), "Rows", f"a split of {len(self):,} users")
        # Evaluation draws nothing, so epoch and dataset stay 0.
        index = np.zeros(len(users), dtype=INDEX)
        index["user"] = users
        starts, lengths = self.offsets[users], self.offsets[users + 1] - self.offsets[users]
        items = self.items[slice_indices(starts, lengths)]
        return SequenceBatch(index, items, offsets_from_lengths(lengths), self.targets[users])

    def __getitems__(self, rows: Sequence[int] | np.ndarray) -> SequenceBatch:
        """Called by a `DataLoader`'s fetcher with a whole batch; without this method, it asks row by row."""
        return self[rows]


def _as_index(index: np.ndarray | Row | Sequence[Row]) -> np.ndarray:
    """The rows as an `INDEX` array `[batch]`.

    Raises:
        TypeError: for plain row numbers, such as torch's own samplers give, and for decimals.
    """
    if isinstance(index, np.ndarray) and index.dtype == INDEX:
        return np.atleast_1d(index)
    rows = [index] if isinstance(index, tuple) else list(index)
    if not all(isinstance(row, tuple) and len(row) == 3 for row in rows):
        raise TypeError(
            f"Training sequences are addressed by (epoch, dataset, user), got {index!r}. Use a SequenceSampler: it "
            "puts the epoch into the index, so that every epoch draws other targets."
        )
    for row in rows:
        for number, name in zip(row, INDEX.names or (), strict=True):
            whole_number(number, f"The {name} of an index")
    return np.array(rows, dtype=INDEX)
