"""Which sequences make up which batch: the splits that hold them, and the sampler that plans an epoch.

An *index* names a row of a batch and the epoch that it is drawn in. It is all that travels from the sampler to the
workers, so a batch is the same whoever composes it and whenever: no worker, process or generator has any state.

```python
>>> data = TrainingSequences([dataset.train])
>>> collator = FinetuningCollator(tokenized_catalog, tokenizer, seed=42)
>>> sampler = SequenceSampler(data.users, collator.lengths(data), seed=42, batch_size=16)
>>> loader = DataLoader(data, batch_sampler=sampler, collate_fn=collator, num_workers=2)
```
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from torch.utils.data import BatchSampler, Dataset
from transformers.utils import logging

from .draws import Draws, Stream
from .sequences import Sequences

logger = logging.get_logger(__name__)

INDEX = np.dtype([("epoch", np.int32), ("dataset", np.int32), ("user", np.int64)])
"""A row of a batch: pass over its dataset, dataset, and row of the split."""

MIN_ITEMS = 2
"""Items of a training sequence: one of history and one target."""


Mixing = Literal["sequences", "steps"]
"""What an epoch over several datasets shuffles: their sequences together, or steps that are of one dataset each."""


@dataclass(frozen=True, eq=False)
class SequenceBatch:
    """Rows of splits, looked up but not yet tokenized: what collators take.

    Args:
        index (`INDEX` `[batch]`): which rows, drawn in which epoch.
        items (int `[total_items]`): their catalogue rows, oldest first, sequence after sequence.
        offsets (int64 `[batch + 1]`): where each sequence begins.
        targets (int `[batch]`, *optional*): the item that came next (evaluation).
    """

    index: np.ndarray
    items: np.ndarray
    offsets: np.ndarray
    targets: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.index)


class TrainingSequences(Dataset[SequenceBatch]):
    """Training sequences of one or several datasets, looked up a batch at a time.

    `data[index]` takes what [`SequenceSampler`] yields, an `INDEX` array, or (epoch, dataset, user) tuples.

    Args:
        splits: the `train` split of each dataset. Sequences under two items have no target behind a history; they
            are dropped, and counted in a log line.

    Raises:
        ValueError: if there is no split, one is no training split, or nothing is left of one.
    """

    def __init__(self, splits: Sequence[Sequences]) -> None:
        if not splits or any(split.targets is not None for split in splits):
            raise ValueError(
                f"Training takes the train split of at least one dataset, got {len(splits)} splits"
                + (", one of them with targets (validation or test)." if splits else ".")
            )
        # The arrays alone: workers need no user ids.
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
                    "history and one target. Take a split with longer sequences."
                )
            if users.size < total:
                logger.warning(
                    f"Dataset {number}: {total - users.size:,} of {total:,} training sequences have fewer than "
                    f"{MIN_ITEMS} items and are dropped."
                )

    def __len__(self) -> int:
        """Sequences that are long enough, over all datasets."""
        return sum(users.size for users in self.users)

    def __getitem__(self, index: Any) -> SequenceBatch:
        """The sequences of an index, `[batch]`."""
        index = _as_index(index)
        dataset, user = index["dataset"], index["user"]
        starts, stops = gather(self.offsets, dataset, user), gather(self.offsets, dataset, user + 1)
        lengths = stops - starts
        items = gather(self.items, np.repeat(dataset, lengths), slice_places(starts, lengths))
        return SequenceBatch(index, items, bounds_of(lengths))

    def __getitems__(self, index: Any) -> SequenceBatch:
        """What a `DataLoader`'s fetcher calls with a whole batch."""
        return self[index]


class EvaluationSequences(Dataset[SequenceBatch]):
    """Histories of a validation or test split with their targets, looked up a batch at a time.

    `data[rows]` takes one row or many; with a `DataLoader`, any sampler or batch sampler of rows will do
    (`encoder.packing.length_sorted_batches` gives one by token count).

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

    def __getitem__(self, rows: Any) -> SequenceBatch:
        """The histories of rows of the split, int `[batch]`."""
        rows = np.atleast_1d(np.asarray(rows, dtype=np.int64))
        index = np.zeros(len(rows), dtype=INDEX)
        index["user"] = rows
        starts, lengths = self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        items = self.items[slice_places(starts, lengths)]
        return SequenceBatch(index, items, bounds_of(lengths), self.targets[rows])

    def __getitems__(self, rows: Any) -> SequenceBatch:
        """What a `DataLoader`'s fetcher calls with a whole batch."""
        return self[rows]


@dataclass(frozen=True, eq=False)
class EpochPlan(Sequence[np.ndarray]):
    """One process's batches of an epoch: `plan[step]` is an `INDEX` array.

    Args:
        rows (`INDEX` `[num_rows]`): step after step.
        bounds (int64 `[num_steps + 1]`): where each step begins.
    """

    rows: np.ndarray
    bounds: np.ndarray

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, step: Any) -> Any:
        if isinstance(step, slice):
            return [self[each] for each in range(*step.indices(len(self)))]
        if not -len(self) <= step < len(self):
            raise IndexError(f"No step {step} in an epoch of {len(self):,} steps.")
        step %= len(self)
        return self.rows[self.bounds[step] : self.bounds[step + 1]]


class SequenceSampler(BatchSampler):
    """Plans an epoch for all processes and yields the batches of one, each an `INDEX` array.

    The plan is a pure function of the seed, the epoch and the global batch size: `batch_size * world_size` sequences or
    `max_tokens * world_size` tokens. Step k therefore holds the same sequences on 2 processes with batch size 8 as on
    1 with 16. Every process has the same number of steps, the same in every epoch, and never an empty batch. Over the
    processes of an epoch every user comes exactly once (see `weights`).

    - `batch_size`: there are `num_sequences / (batch_size * world_size)` steps, rounded up, all of one size to within
      one sequence, in place of full ones and a short last one (whose few in-batch negatives would make an easy task).
      So where the division leaves a remainder, processes get less than `batch_size`; with `batch_size=1`, where that
      would be nothing, some get 2 in place of it.
    - `max_tokens`: the shuffled epoch is cut where its running token count passes each multiple of `total / num_steps`,
      with `num_steps` so large that no step can exceed the global budget. The mean fill is therefore about
      `1 - longest / (max_tokens * world_size)`. One process can exceed its own share of a full step, by less than one
      sequence; `lengths` are upper bounds, so what is composed is smaller.

    The sequences of a step are dealt to the processes by length, there and back (longest to the first, next to the
    second, ..., then in reverse), so that counts differ by one at most and tokens by less than one sequence.

    Give it to a `DataLoader` as `batch_sampler`. It is rank-aware, so `accelerator.prepare` must not shard it again: on
    several processes build an `accelerate.data_loader.DataLoaderShard`. `skip_first_batches` works as it is, and what
    it skips is never looked up nor composed.

    Args:
        users: rows of each dataset's split, int `[num_users]` (`TrainingSequences.users`).
        lengths: most tokens that each of them can take, int `[num_users]` (a collator's `lengths`).
        seed (`int`): in [0, 2^64).
        batch_size (`int`, *optional*): sequences a step of each process; or
        max_tokens (`int`, *optional*): tokens a step of each process, at least the longest sequence's.
        rank, world_size (`int`): which process this is, of how many.
        weights (*optional*): how often an epoch goes through each dataset. 1 (the default) is every user exactly once,
            2 every user twice, each time with other draws, 0.5 half of the users: other halves in turn, so that every
            user comes exactly once in two epochs. The index's epoch counts the passes over its dataset. With fractions,
            the tokens of an epoch vary a little around the mean that the number of steps is made for.
        mixing: `"sequences"` shuffles the sequences of all datasets together, so that a step holds all of them;
            `"steps"` cuts each dataset's shuffled sequences into steps and shuffles these. Where one dataset ends and
            the next begins, a step can hold both: at most one fewer than there are datasets in an epoch.

    Raises:
        ValueError: for neither or both of `batch_size` and `max_tokens`, a `max_tokens` below the longest sequence,
            fewer sequences than processes, or arguments that do not fit together.
    """

    def __init__(
        self,
        users: Sequence[np.ndarray],
        lengths: Sequence[np.ndarray],
        *,
        seed: int,
        batch_size: int | None = None,
        max_tokens: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        weights: Sequence[float] | None = None,
        mixing: Mixing = "sequences",
    ) -> None:
        # No `batch_size` attribute: accelerate would take batches of another size for incomplete ones.
        weights = [1.0] * len(users) if weights is None else list(weights)
        if not len(users) == len(lengths) == len(weights):
            raise ValueError(
                f"users are of {len(users)} datasets, lengths of {len(lengths)}, weights of {len(weights)}; give one "
                "of each a dataset."
            )
        for number, (rows, tokens) in enumerate(zip(users, lengths, strict=True)):
            if len(rows) != len(tokens) or len(rows) == 0:
                raise ValueError(
                    f"Dataset {number} has {len(rows)} users and {len(tokens)} lengths; give one length a user."
                )
        if not all(math.isfinite(weight) and weight >= 0 for weight in weights):
            raise ValueError(f"weights must be finite and not negative, got {weights}.")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must lie in [0, world_size), got rank {rank} and world_size {world_size}.")
        if (batch_size is None) == (max_tokens is None):
            raise ValueError(f"Give batch_size or max_tokens, one of them; got {batch_size} and {max_tokens}.")
        if mixing not in get_args(Mixing):
            raise ValueError(f"mixing must be one of {', '.join(get_args(Mixing))}, got {mixing!r}.")
        self.mixing = mixing
        self.users = [np.asarray(rows, dtype=np.int64) for rows in users]
        self.lengths = [np.asarray(tokens, dtype=np.int64) for tokens in lengths]
        self.draws = Draws(seed)
        self.rank, self.world_size = rank, world_size
        self.by_tokens = max_tokens is not None
        self.epoch = 0
        self.counts = [round(weight * rows.size) for weight, rows in zip(weights, self.users, strict=True)]
        """Sequences of each dataset in an epoch."""
        self.num_steps = self._count_steps(batch_size, max_tokens)

    def _count_steps(self, batch_size: int | None, max_tokens: int | None) -> int:
        total = sum(self.counts)
        if total < self.world_size:
            raise ValueError(
                f"An epoch has {total:,} sequences, fewer than there are processes ({self.world_size}). Start fewer "
                "processes, or give more data."
            )
        if batch_size is not None:
            if batch_size < 1:
                raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
            steps = math.ceil(total / (batch_size * self.world_size))
        else:
            assert max_tokens is not None
            longest = max(int(tokens.max()) for tokens, count in zip(self.lengths, self.counts, strict=True) if count)
            if max_tokens < longest:
                raise ValueError(
                    f"max_tokens ({max_tokens:,}) must hold the longest sequence ({longest:,} tokens). Raise it, or "
                    "lower the tokenizer's max_token_num."
                )
            tokens = sum(
                count / rows.size * int(tokens.sum())
                for count, rows, tokens in zip(self.counts, self.users, self.lengths, strict=True)
            )
            # A step ends with the first sequence to pass its mark, so it exceeds the mean by less than the longest.
            steps = math.ceil(tokens / (max_tokens * self.world_size - longest + 1))
        return min(steps, total // self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, from 0, that the next iteration goes through (trainers call this)."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Steps of an epoch."""
        return self.num_steps

    def __iter__(self) -> Iterator[np.ndarray]:  # type: ignore[override]
        yield from self.plan(self.epoch)

    def plan(self, epoch: int) -> EpochPlan:
        """This process's batches of an epoch."""
        index, lengths = self._shuffled(epoch)
        bounds = self._cut(lengths)
        step = np.repeat(np.arange(self.num_steps), np.diff(bounds))
        if self.mixing == "steps":
            step = self._shuffled_steps(epoch)[step]
            bounds = bounds_of(np.bincount(step, minlength=self.num_steps))
        order = np.lexsort((-lengths, step))
        step = step[order]
        lap, seat = np.divmod(np.arange(len(order)) - bounds[step], self.world_size)
        mine = np.where(lap % 2 == 0, seat, self.world_size - 1 - seat) == self.rank
        return EpochPlan(index[order[mine]], bounds_of(np.bincount(step[mine], minlength=self.num_steps)))

    def _shuffled(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The epoch's rows over all datasets and processes, `INDEX` `[num_rows]`, and their lengths."""
        parts = []
        for dataset, (users, lengths, count) in enumerate(zip(self.users, self.lengths, self.counts, strict=True)):
            # Epochs follow each other on the line of all passes over the dataset, each pass in an order of its own.
            first, last = epoch * count, (epoch + 1) * count
            for number in range(first // users.size, -(-last // users.size)):
                blocks = self.draws.blocks(Stream.SHUFFLE, number, dataset, users, 0).astype(np.uint64)
                in_pass, in_epoch = (blocks[:, lane] << np.uint64(32) | blocks[:, lane + 1] for lane in (0, 2))
                start, stop = max(first - number * users.size, 0), min(last - number * users.size, users.size)
                chosen = np.arange(users.size)
                if stop - start < users.size:
                    chosen = np.argsort(in_pass, kind="stable")[start:stop]
                index = np.zeros(stop - start, dtype=INDEX)
                index["epoch"], index["dataset"], index["user"] = number, dataset, users[chosen]
                parts.append((index, lengths[chosen], in_epoch[chosen]))
        index, lengths, key = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        together = np.zeros_like(index["dataset"]) if self.mixing == "sequences" else index["dataset"]
        order = np.lexsort((key, together))
        return index[order], lengths[order]

    def _shuffled_steps(self, epoch: int) -> np.ndarray:
        """Where in the epoch each step comes, int64 `[num_steps]`; drawn as of one dataset more than there are."""
        blocks = self.draws.blocks(Stream.SHUFFLE, epoch, len(self.users), np.arange(self.num_steps), 0)
        return np.argsort(blocks[:, 0], kind="stable")

    def _cut(self, lengths: np.ndarray) -> np.ndarray:
        """Where each step of the shuffled epoch begins, int64 `[num_steps + 1]`; each has a row for every process."""
        steps = np.arange(self.num_steps + 1)
        if not self.by_tokens:
            return steps * len(lengths) // self.num_steps
        ends = np.cumsum(lengths)
        marks = steps[1:-1] * ends[-1]
        inner = np.searchsorted((ends - lengths) * self.num_steps, marks)
        bounds = np.concatenate([[0], inner, [len(lengths)]])
        least = steps * self.world_size
        bounds = np.maximum.accumulate(bounds - least) + least
        return np.minimum(bounds, len(lengths) - least[::-1])


def gather(arrays: Sequence[np.ndarray], which: np.ndarray, places: np.ndarray) -> np.ndarray:
    """`arrays[which[i]][places[i]]` for every i: `[n]`."""
    if len(arrays) == 1:
        return arrays[0][places]
    gathered = np.empty(len(places), dtype=np.result_type(*arrays))
    for number in np.unique(which):
        chosen = which == number
        gathered[chosen] = arrays[number][places[chosen]]
    return gathered


def slice_places(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Places of slices of a flat array, end to end: `starts[0]`, `starts[0] + 1`, ..., `starts[1]`, ..., `[total]`."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if ends.size else 0) + np.repeat(starts - ends + lengths, lengths)


def bounds_of(lengths: np.ndarray) -> np.ndarray:
    """Where slices of these lengths begin when they stand end to end, int64 `[n + 1]`."""
    bounds = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=bounds[1:])
    return bounds


def _as_index(index: Any) -> np.ndarray:
    if isinstance(index, np.ndarray) and index.dtype == INDEX:
        return np.atleast_1d(index)
    rows = [index] if isinstance(index, tuple) else list(index)
    if not all(isinstance(row, tuple) and len(row) == 3 for row in rows):
        raise TypeError(
            f"Training sequences are addressed by (epoch, dataset, user), got {index!r}. Use a SequenceSampler: the "
            "epoch travels with the index, so that every epoch has draws of its own."
        )
    return np.array(rows, dtype=INDEX)
