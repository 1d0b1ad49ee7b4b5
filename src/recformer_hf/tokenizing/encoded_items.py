"""Items as tokens: what `RecformerTokenizer.encode_item` and `encode_items` return."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

# Token types, and what padding gets (the paper, section 2.2.2). `<s>` has type 0 and item position 0.
BOS_TYPE, KEY_TYPE, VALUE_TYPE, PADDING_TYPE = 0, 1, 2, 3


class EncodedItem(NamedTuple):
    """One tokenized item, truncated, without `<s>`.

    Attributes:
        input_ids: token ids, int32 `[num_tokens]`.
        token_type_ids: 1 for a key's tokens, 2 for a value's, uint8 `[num_tokens]`.
    """

    input_ids: np.ndarray
    token_type_ids: np.ndarray


@dataclass(frozen=True, eq=False)
class EncodedItems:
    """Many tokenized items end to end. `encoded[i]` is item i as an [`EncodedItem`] (views, no copies).

    Attributes:
        input_ids: token ids, int32 `[total_tokens]`.
        token_type_ids: 1 for a key's tokens, 2 for a value's, uint8 `[total_tokens]`.
        offsets: item i is `[offsets[i], offsets[i + 1])`, int64 `[num_items + 1]`.
    """

    input_ids: np.ndarray
    token_type_ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def concatenate(cls, blocks: Sequence[EncodedItems]) -> EncodedItems:
        """The items of all blocks, in order."""
        # The empty arrays in front set the types where there is no block.
        lengths = [np.diff(block.offsets) for block in blocks]
        return cls(
            np.concatenate([np.empty(0, np.int32), *(block.input_ids for block in blocks)]),
            np.concatenate([np.empty(0, np.uint8), *(block.token_type_ids for block in blocks)]),
            np.cumsum(np.concatenate([np.zeros(1, np.int64), *lengths])),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> EncodedItem:
        if not -len(self) <= index < len(self):
            raise IndexError(f"There is no item {index}: {len(self)} items are encoded.")
        index %= len(self)
        span = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return EncodedItem(self.input_ids[span], self.token_type_ids[span])

    def __iter__(self) -> Iterator[EncodedItem]:
        return (self[index] for index in range(len(self)))


__all__ = ["BOS_TYPE", "KEY_TYPE", "PADDING_TYPE", "VALUE_TYPE", "EncodedItem", "EncodedItems"]
