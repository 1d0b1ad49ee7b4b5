"""`SequenceSampler`: which sequences make up which batch of an epoch.

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
from typing import Literal, SupportsIndex, get_args, overload

import numpy as np
from torch.utils.data import BatchSampler

from .arrays import integers, offsets_from_lengths
from .draws import Draws, Stream
from .sequences import whole_number
from .torch_datasets import INDEX

Mixing = Literal["sequences", "steps"]
"""What an epoch over several datasets shuffles: their sequences together, or steps that each hold one dataset."""


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

    @overload
    def __getitem__(self, step: SupportsIndex) -> np.ndarray: ...
    @overload
    def __getitem__(self, step: slice) -> list[np.ndarray]: ...
    def __getitem__(self, step: SupportsIndex | slice) -> np.ndarray | list[np.ndarray]:
        """The rows of a step, `INDEX` `[batch]`; for a slice, those of each of its steps.

        Raises:
            IndexError: if the epoch has no such step.
        """
        if isinstance(step, slice):
            return [self[each] for each in range(*step.indices(len(self)))]
        number = step.__index__()
        if not -len(self) <= number < len(self):
            raise IndexError(f"No step {number} in an epoch of {len(self):,} steps.")
        number %= len(self)
        return self.rows[self.bounds[number] : self.bounds[number + 1]]


class SequenceSampler(BatchSampler):
    """Plans an epoch for all processes and yields the batches of one process, each an `INDEX` array.

    The plan is a pure function of the seed, the epoch and the global batch size: `batch_size * world_size` sequences or
    `max_tokens * world_size` tokens. Step k therefore holds the same sequences on 2 processes with batch size 8 as on
    1 with 16. Every process has the same number of steps, the same in every epoch, and never an empty batch. Over all
    processes, an epoch goes through every user exactly once (see `weights`).

    - `batch_size`: there are `num_sequences / (batch_size * world_size)` steps, rounded up. All of them have the same
      size to within one sequence, because a short last step would have few in-batch negatives and so be an easy task.
      If the division leaves a remainder, processes get fewer sequences than `batch_size`; with `batch_size=1`, where
      that would be none, some get 2 instead.
    - `max_tokens`: the shuffled epoch is cut where its running token count passes each multiple of `total / num_steps`,
      with `num_steps` so large that no step can exceed the global budget. The mean fill is therefore about
      `1 - longest / (max_tokens * world_size)`. One process can exceed its own share of a full step, by less than one
      sequence. `lengths` are upper bounds, so the composed batches are smaller.

    The sequences of a step are dealt to the processes by length in a zigzag: the longest to the first, the next to the
    second, and so on, then in reverse. Counts therefore differ by at most one, and tokens by less than one sequence.

    Pass it to a `DataLoader` as `batch_sampler`. It is rank-aware, so `accelerator.prepare` must not shard it again: on
    several processes build an `accelerate.data_loader.DataLoaderShard`. `skip_first_batches` works without changes, and
    skipped batches are neither looked up nor composed.

    Args:
        users: rows of each dataset's split, int `[num_users]` (`TrainingSequences.users`).
        lengths: most tokens that each of them can take, int `[num_users]` (a collator's `lengths`).
        seed (`int`): in [0, 2^64).
        batch_size (`int`, *optional*): sequences per step and process. Give either this or `max_tokens`.
        max_tokens (`int`, *optional*): tokens per step and process, at least as many as the longest sequence has.
        rank, world_size (`int`): number of this process, and how many processes there are.
        weights (*optional*): how often an epoch goes through each dataset. 1 (the default) means every user exactly
            once; 2 every user twice, with different draws; 0.5 half of the users, and the other half in the next epoch.
            The index's epoch counts the passes over its dataset. With fractions, the tokens of an epoch vary a little
            around the mean that the number of steps is computed for.
        mixing: `"sequences"` shuffles the sequences of all datasets together, so that a step holds all of them;
            `"steps"` cuts each dataset's shuffled sequences into steps and shuffles these. A step at the boundary of
            two datasets can hold both; with n datasets, an epoch has at most n - 1 such steps.

    Raises:
        ValueError: if both or neither of `batch_size` and `max_tokens` are given, `max_tokens` is below the longest
            sequence, there are fewer sequences than processes, or the arguments do not fit together.
        TypeError: if users, lengths, `batch_size` or `max_tokens` are not whole numbers.
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
        _check_datasets(users, lengths, weights)
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must lie in [0, world_size), got rank {rank} and world_size {world_size}.")
        if (batch_size is None) == (max_tokens is None):
            raise ValueError(f"Give either batch_size or max_tokens, got {batch_size} and {max_tokens}.")
        for name, size in (("batch_size", batch_size), ("max_tokens", max_tokens)):
            if size is not None:
                whole_number(size, name)
        if mixing not in get_args(Mixing):
            raise ValueError(f"mixing must be one of {', '.join(get_args(Mixing))}, got {mixing!r}.")
        self.mixing = mixing
        self.users = [integers(rows, "users").astype(np.int64, copy=False) for rows in users]
        self.lengths = [integers(tokens, "lengths").astype(np.int64, copy=False) for tokens in lengths]
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
                "processes, or use more data."
            )
        if batch_size is not None:
            if batch_size < 1:
                raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
            steps = math.ceil(total / (batch_size * self.world_size))
        else:
            assert max_tokens is not None
            steps = self._steps_within(max_tokens)
        return min(steps, total // self.world_size)  # every process has a sequence in every step

    def _steps_within(self, max_tokens: int) -> int:
        """A number of steps so large that none of them exceeds the global token budget."""
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
        # A step ends with the first sequence that passes its mark, so it exceeds the mean by less than the longest.
        return math.ceil(tokens / (max_tokens * self.world_size - longest + 1))

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, from 0, of the next iteration (trainers call this)."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Number of steps of an epoch."""
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
            bounds = offsets_from_lengths(np.bincount(step, minlength=self.num_steps))
        order = np.lexsort((-lengths, step))  # the longest first within each step
        step = step[order]
        # A lap deals one sequence to every process; odd laps go backwards.
        lap, seat = np.divmod(np.arange(len(order)) - bounds[step], self.world_size)
        mine = np.where(lap % 2 == 0, seat, self.world_size - 1 - seat) == self.rank
        return EpochPlan(index[order[mine]], offsets_from_lengths(np.bincount(step[mine], minlength=self.num_steps)))

    def _shuffled(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The epoch's rows over all datasets and processes, `INDEX` `[num_rows]`, and their lengths."""
        parts = []
        for dataset, (users, count) in enumerate(zip(self.users, self.counts, strict=True)):
            # All passes over a dataset form one long line, each in its own order, and an epoch takes the next `count`
            # rows of it. Every pass is therefore complete, even if its users are spread over two epochs.
            first, last = epoch * count, (epoch + 1) * count
            for number in range(first // users.size, -(-last // users.size)):
                start, stop = max(first - number * users.size, 0), min(last - number * users.size, users.size)
                parts.append(self._rows_of_pass(dataset, number, start, stop))
        index, lengths, key = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        together = np.zeros_like(index["dataset"]) if self.mixing == "sequences" else index["dataset"]
        order = np.lexsort((key, together))
        return index[order], lengths[order]

    def _rows_of_pass(self, dataset: int, number: int, start: int, stop: int) -> tuple[np.ndarray, ...]:
        """Rows `start` to `stop` of a pass over a dataset: index, lengths, and keys of their order in the epoch."""
        users = self.users[dataset]
        blocks = self.draws.blocks(Stream.SHUFFLE, number, dataset, users, 0).astype(np.uint64)
        in_pass, in_epoch = (blocks[:, lane] << np.uint64(32) | blocks[:, lane + 1] for lane in (0, 2))
        chosen = np.arange(users.size)
        if stop - start < users.size:  # the order within a pass matters only if an epoch takes a part of it
            chosen = np.argsort(in_pass, kind="stable")[start:stop]
        index = np.zeros(stop - start, dtype=INDEX)
        index["epoch"], index["dataset"], index["user"] = number, dataset, users[chosen]
        return index, self.lengths[dataset][chosen], in_epoch[chosen]

    def _shuffled_steps(self, epoch: int) -> np.ndarray:
        """Position of each step in the epoch, int64 `[num_steps]`."""
        # Drawn under the number of a dataset that does not exist, so that no user's shuffle uses the same numbers.
        blocks = self.draws.blocks(Stream.SHUFFLE, epoch, len(self.users), np.arange(self.num_steps), 0)
        return np.argsort(blocks[:, 0], kind="stable")

    def _cut(self, lengths: np.ndarray) -> np.ndarray:
        """Where each step of the shuffled epoch begins, int64 `[num_steps + 1]`; each has a row for every process."""
        steps = np.arange(self.num_steps + 1)
        if not self.by_tokens:
            return steps * len(lengths) // self.num_steps
        ends = np.cumsum(lengths)
        marks = steps[1:-1] * ends[-1]  # both sides are multiplied by num_steps, so that all numbers stay integers
        inner = np.searchsorted((ends - lengths) * self.num_steps, marks)
        bounds = np.concatenate([[0], inner, [len(lengths)]])
        # Very long sequences could leave a step with too few rows: push bounds apart from the front, then cap them
        # from the back.
        least = steps * self.world_size
        bounds = np.maximum.accumulate(bounds - least) + least
        capped: np.ndarray = np.minimum(bounds, len(lengths) - least[::-1])
        return capped


def _check_datasets(users: Sequence[np.ndarray], lengths: Sequence[np.ndarray], weights: Sequence[float]) -> None:
    if not len(users) == len(lengths) == len(weights):
        raise ValueError(
            f"users are of {len(users)} datasets, lengths of {len(lengths)}, weights of {len(weights)}; give one of "
            "each for every dataset."
        )
    for number, (rows, tokens) in enumerate(zip(users, lengths, strict=True)):
        if len(rows) != len(tokens) or len(rows) == 0:
            raise ValueError(
                f"Dataset {number} has {len(rows)} users and {len(tokens)} lengths; give at least one user, and one "
                "length for every user."
            )
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights):
        raise ValueError(f"weights must be finite and not negative, got {weights}.")


__all__ = ["EpochPlan", "Mixing", "SequenceSampler"]
