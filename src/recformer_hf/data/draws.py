"""Random numbers for training as a pure function of their purpose: there is no generator and no state.

Each number is the output of Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2,
3", SC 2011) for a counter that spells out its purpose:

| counter word | holds |
|---|---|
| 0 | number of the block within the purpose |
| 1 | user: row of the dataset's split |
| 2 | dataset (24 bits) and [`Stream`] (8 bits) |
| 3 | epoch |

The seed is the 64-bit key. Philox is a bijection of the counter for every key, so two purposes never share a block. A
draw depends neither on the batch, worker or process that asks for it, nor on earlier draws.
"""

from __future__ import annotations

import sys
from enum import IntEnum
from typing import TypeAlias

import numpy as np

from .arrays import offsets_from_lengths, slice_indices

Numbers: TypeAlias = "int | np.ndarray"
"""One non-negative integer, or an integer array `[n]`."""

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_SHIFT = np.uint64(32)
_BLOCKS_AT_ONCE = 8192
"""Number of blocks whose working arrays fit into the second-level cache together (about a quarter of a megabyte)."""


class Stream(IntEnum):
    """What a number is drawn for. Never renumber the values: runs would no longer be reproducible from their seed."""

    SHUFFLE = 0
    TARGET = 1
    NEGATIVES = 2
    CONTEXT_WORDS = 3
    ITEM_WORDS = 4
    CONTEXT_TOKENS = 5
    ITEM_TOKENS = 6
    WINDOW = 7
    MASKED_ITEMS = 8
    SEGMENT = 9
    AUGMENTATION = 10


class Draws:
    """Random numbers keyed by (seed, epoch, dataset, user, stream, counter), vectorised over all of these but the seed.

    In every method `epoch`, `dataset` and `user` are integers or integer arrays that broadcast against each other.
    They must fit the counter: epoch and user below 2^32, dataset below 2^24 (not checked value by value).

    Args:
        seed (`int`): in [0, 2^64).

    Raises:
        ValueError: if the seed is outside that range.

    Example:

    ```python
    >>> draws = Draws(seed=42)
    >>> draws.integers(Stream.TARGET, epoch=0, dataset=0, user=np.array([3, 9]), low=1, high=np.array([5, 8]))
    array([1, 5])
    ```
    """

    def __init__(self, seed: int) -> None:
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed must lie in [0, 2^64), got {seed}.")
        self.seed = int(seed)

    def blocks(
        self, stream: Stream | np.ndarray, epoch: Numbers, dataset: Numbers, user: Numbers, counter: Numbers
    ) -> np.ndarray:
        """Four 32-bit numbers for each counter.

        Args:
            stream: purpose of the numbers, one [`Stream`] or an array of them.
            counter: number of the block, below 2^32; broadcasts with epoch, dataset and user.

        Returns:
            uint32 `[..., 4]`, in the shape that the arguments broadcast to.
        """
        purpose = np.asarray(dataset, dtype=np.uint32) << np.uint32(8) | np.asarray(stream, dtype=np.uint32)
        words = np.broadcast_arrays(counter, user, purpose, epoch)
        counters = np.stack([word.astype(np.uint32).reshape(-1) for word in words], axis=1)
        return philox4x32(counters, self.seed).reshape(*words[0].shape, 4)

    def integers(
        self,
        stream: Stream,
        epoch: Numbers,
        dataset: Numbers,
        user: Numbers,
        low: Numbers,
        high: Numbers,
        size: int | None = None,
    ) -> np.ndarray:
        """Uniform integers from [low, high) (to one part in 2^64 / (high - low)).

        Args:
            stream: purpose of the numbers.
            low, high (`int` or int `[n]`): smallest value, and one more than the largest; less than 2^32 apart.
            size (`int`, *optional*): numbers per entry.

        Returns:
            int64 `[n]`, or `[n, size]`. Number j of an entry is the same whatever `size` is.

        Raises:
            ValueError: if a range is empty.
        """
        low, high = np.asarray(low, dtype=np.int64), np.asarray(high, dtype=np.int64)
        if np.any(high <= low):
            where = int(np.argmax(np.ravel(high <= low)))
            bounds = [int(np.ravel(bound)[where if bound.size > 1 else 0]) for bound in (low, high)]
            raise ValueError(
                f"Nothing to draw from: entry {where} has low {bounds[0]} and high {bounds[1]}; expected low < high."
            )
        high32, low32 = self._pairs(stream, epoch, dataset, user, size)
        span = (high - low).astype(np.uint64)
        if size is not None:
            span, low = span[..., None], low[..., None]
        # The product of a 32-bit span and 64 random bits has 96 bits, more than numpy can hold: its upper 32 bits are
        # computed from the two halves of the random bits.
        drawn: np.ndarray = low + ((high32 * span + (low32 * span >> _SHIFT)) >> _SHIFT).astype(np.int64)
        return drawn

    def uniform(
        self, stream: Stream, epoch: Numbers, dataset: Numbers, user: Numbers, size: int | None = None
    ) -> np.ndarray:
        """Uniform numbers from [0, 1) with 53 random bits, float64 `[n]`, or `[n, size]`."""
        high32, low32 = self._pairs(stream, epoch, dataset, user, size)
        drawn: np.ndarray = ((high32 << _SHIFT | low32) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return drawn

    def ragged(
        self,
        stream: Stream | np.ndarray,
        epoch: np.ndarray,
        dataset: np.ndarray,
        user: np.ndarray,
        counts: np.ndarray,
    ) -> np.ndarray:
        """Several 32-bit numbers per entry, as many as each entry needs, end to end.

        Args:
            stream: purpose of the numbers, one [`Stream`] or an array of them `[n]`.
            epoch, dataset, user (int `[n]`): key of each entry.
            counts (int `[n]`): numbers of each entry. Number j of an entry is the same whatever its count is.

        Returns:
            uint32 `[counts.sum()]`.
        """
        num_blocks = (counts + 3) // 4
        counter = slice_indices(np.zeros_like(num_blocks), num_blocks)
        entry = np.repeat(np.arange(len(counts)), num_blocks)
        streams = np.broadcast_to(stream, len(counts))[entry]
        numbers = self.blocks(streams, epoch[entry], dataset[entry], user[entry], counter).reshape(-1)
        # The last block of an entry may hold more numbers than the entry needs.
        wanted: np.ndarray = numbers[slice_indices(4 * offsets_from_lengths(num_blocks)[:-1], counts)]
        return wanted

    def _pairs(
        self, stream: Stream, epoch: Numbers, dataset: Numbers, user: Numbers, size: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """64 random bits per number as two uint64 arrays of 32 bits, `[n]` or `[n, size]`: two numbers per block."""
        if size is None:
            blocks = self.blocks(stream, epoch, dataset, user, 0)
            pairs = blocks[..., :2]
        else:
            epoch, dataset, user = (np.asarray(key)[..., None] for key in np.broadcast_arrays(epoch, dataset, user))
            blocks = self.blocks(stream, epoch, dataset, user, np.arange((size + 1) // 2))
            pairs = blocks.reshape(*blocks.shape[:-2], -1, 2)[..., :size, :]
        return pairs[..., 0].astype(np.uint64), pairs[..., 1].astype(np.uint64)


def philox4x32(counters: np.ndarray, key: int) -> np.ndarray:
    """Philox4x32 with ten rounds, as in Random123, the authors' library.

    Args:
        counters (uint32 `[n, 4]`): 128-bit counters, the least significant word first.
        key (`int`): 64 bits, the first key word in the lower half.

    Returns:
        uint32 `[n, 4]`.
    """
    key0, key1 = key & 0xFFFFFFFF, key >> 32
    round_keys = [
        (np.uint32((key0 + step * _KEY_STEPS[0]) & 0xFFFFFFFF), np.uint32((key1 + step * _KEY_STEPS[1]) & 0xFFFFFFFF))
        for step in range(10)
    ]
    numbers = np.empty_like(counters)
    for start in range(0, len(counters), _BLOCKS_AT_ONCE):
        chunk = slice(start, start + _BLOCKS_AT_ONCE)
        x0, x1, x2, x3 = (np.ascontiguousarray(word) for word in counters[chunk].T)  # strided words would be slower
        for round_key0, round_key1 in round_keys:
            high0, low0 = _halves(np.multiply(x0, _MULTIPLIERS[0], dtype=np.uint64))
            high1, low1 = _halves(np.multiply(x2, _MULTIPLIERS[1], dtype=np.uint64))
            x0, x1, x2, x3 = high1 ^ x1 ^ round_key0, low1, high0 ^ x3 ^ round_key1, low0
        for column, word in enumerate((x0, x1, x2, x3)):
            numbers[chunk, column] = word
    return numbers


def _halves(products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower 32 bits of uint64 `[n]`, as views."""
    words = products.view(np.uint32)
    upper = 1 if sys.byteorder == "little" else 0
    return words[upper::2], words[1 - upper :: 2]
