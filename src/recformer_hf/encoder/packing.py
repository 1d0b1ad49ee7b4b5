"""Padded and packed batches: two forms of the same sequences.

*Padded* is what a tokenizer returns: every tensor is `[batch, seq_len]` and `attention_mask` marks the real tokens.
*Packed* is what the encoder runs on: the same sequences end to end in one row, `[1, total_tokens]`, where `cu_seqlens`
`[batch + 1]` says where each begins. The model packs a padded batch before its first layer, so no linear layer ever
sees a padding token.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import pairwise
from typing import Protocol, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from .autograd import Context

T = TypeVar("T")


class SequenceLayout:
    """Where the sequences of a packed row lie, with the index tensors that every layer of the encoder shares.

    Args:
        cu_seqlens (`Tensor`, integer `[batch + 1]`): cumulative lengths, from 0 to `total_tokens`, strictly growing.
        total_tokens (`int`): tokens in the packed row.
        device (`torch.device`): where the hidden states live.
        max_seqlen (`int`, *optional*): length of the longest sequence. With it, `cu_seqlens` on an accelerator is
            neither read back nor checked, so building the layout does not wait for the device.

    Raises:
        ValueError: if `cu_seqlens` has another shape or type, does not start at 0, does not end at `total_tokens`, or
            does not grow.
    """

    def __init__(
        self, cu_seqlens: Tensor, total_tokens: int, device: torch.device, max_seqlen: int | None = None
    ) -> None:
        if cu_seqlens.ndim != 1 or cu_seqlens.numel() < 2 or cu_seqlens.is_floating_point():
            raise ValueError(
                "cu_seqlens must be an integer tensor [batch + 1] with at least one sequence, got shape "
                f"{list(cu_seqlens.shape)} and dtype {cu_seqlens.dtype}."
            )
        self.total_tokens = total_tokens
        self.num_sequences = cu_seqlens.numel() - 1
        self.lengths: list[int] | None = None
        """Tokens of each sequence; None if only an accelerator knows them."""
        # Reading a tensor of an accelerator would wait for it, so it is read only if `max_seqlen` is unknown.
        if cu_seqlens.device.type == "cpu" or max_seqlen is None:
            self.lengths = _checked_lengths(cu_seqlens.tolist(), total_tokens)
            max_seqlen = max(self.lengths)
        assert max_seqlen is not None
        self.max_seqlen = max_seqlen
        self.cu_seqlens = cu_seqlens.to(device=device, dtype=torch.int64)
        self.first_tokens = self.cu_seqlens[:-1]
        """Row of each sequence's `<s>`, `[batch]`."""
        self.sequence_lengths = self.cu_seqlens.diff()
        # Without `output_size`, this would wait for an accelerator.
        self.sequence_ids = torch.repeat_interleave(
            torch.arange(self.num_sequences, device=device), self.sequence_lengths, output_size=total_tokens
        )
        """Sequence that each token belongs to, `[total_tokens]`."""
        self.positions = torch.arange(total_tokens, device=device) - self.first_tokens[self.sequence_ids]
        """Place of each token in its sequence, from 0, `[total_tokens]`."""
        self._derived: dict[Hashable, object] = {}

    @property
    def device(self) -> torch.device:
        return self.cu_seqlens.device

    def derive(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Computes something from the layout once, for every layer to reuse: window blocks, masks.

        Args:
            key: names it among all that is derived from a layout.
            compute: called the first time.
        """
        if key not in self._derived:
            self._derived[key] = compute()
        return cast(T, self._derived[key])

    @property
    def padded_mask(self) -> Tensor:
        """`[batch, max_seqlen]`, True at real tokens."""
        return self.derive("padded_mask", lambda: self._columns() < self.sequence_lengths[:, None])

    @property
    def padded_rows(self) -> Tensor:
        """Row of each token of the padded form, `[batch, max_seqlen]`; at padding, the row of some other token."""
        last = self.total_tokens - 1  # padding of the last sequence would lie after it
        return self.derive("padded_rows", lambda: (self.first_tokens[:, None] + self._columns()).clamp_(max=last))

    def _columns(self) -> Tensor:
        return torch.arange(self.max_seqlen, device=self.device)

    def to_padded(self, packed: Tensor) -> Tensor:
        """`[total_tokens, ...]` -> `[batch, max_seqlen, ...]`.

        Padding repeats tokens of other sequences, so mask it. Gradients at padding are ignored, and rows after the last
        token get a gradient of 0.
        """
        padded: Tensor = _ToPadded.apply(packed, self.padded_rows, self.packed_rows)  # type: ignore[no-untyped-call]
        return padded

    def to_packed(self, padded: Tensor) -> Tensor:
        """`[batch, max_seqlen, ...]` -> `[total_tokens, ...]`."""
        packed: Tensor = padded.flatten(0, 1)[self.packed_rows]
        return packed

    @property
    def packed_rows(self) -> Tensor:
        """Place of each token in the flattened padded form, `[total_tokens]`."""
        return self.derive("packed_rows", lambda: self.sequence_ids * self.max_seqlen + self.positions)


class _ToPaddedContext(Context, Protocol):
    extra_rows: int


class _ToPadded(torch.autograd.Function):
    """A gather whose gradient is a gather too. The gradient of indexing adds row by row, at several times the cost."""

    @staticmethod
    def forward(ctx: _ToPaddedContext, packed: Tensor, padded_rows: Tensor, packed_rows: Tensor) -> Tensor:
        ctx.save_for_backward(packed_rows)
        ctx.extra_rows = len(packed) - len(packed_rows)
        return packed[padded_rows]

    @staticmethod
    def backward(ctx: _ToPaddedContext, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (packed_rows,) = ctx.saved_tensors
        gradient = gradients[0].flatten(0, 1)[packed_rows]
        if ctx.extra_rows:
            gradient = torch.cat([gradient, gradient.new_zeros(ctx.extra_rows, *gradient.shape[1:])])
        return gradient, None, None


def _checked_lengths(bounds: list[int], total_tokens: int) -> list[int]:
    if bounds[0] != 0:
        raise ValueError(f"cu_seqlens must start at 0, got {bounds[0]}.")
    if bounds[-1] != total_tokens:
        raise ValueError(f"cu_seqlens must end at the number of packed tokens ({total_tokens}), got {bounds[-1]}.")
    lengths = [end - start for start, end in pairwise(bounds)]
    if min(lengths) < 1:
        where = next(row for row, length in enumerate(lengths) if length < 1)
        raise ValueError(
            f"cu_seqlens must grow: sequence {where} would run from {bounds[where]} to {bounds[where + 1]}. Every "
            "sequence has at least its <s> token."
        )
    return lengths


class PaddedIndex:
    """Converts a padded batch to the packed row, and back.

    Args:
        attention_mask (`Tensor` `[batch, seq_len]`): non-zero at real tokens, wherever they stand in their row.

    Raises:
        ValueError: if a row has no real token.
    """

    def __init__(self, attention_mask: Tensor) -> None:
        self.shape = attention_mask.shape
        real = attention_mask != 0
        lengths = real.sum(1)
        # On a CPU only, because reading the answer would make an accelerator wait.
        if attention_mask.device.type == "cpu" and not bool((lengths > 0).all()):
            raise ValueError(
                f"attention_mask row {int((lengths == 0).nonzero()[0])} has no real token: an encoder input has at "
                "least its <s>. Remove empty rows from the batch."
            )
        self.rows = real.flatten().nonzero().squeeze(1)
        self.cu_seqlens = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))

    def pack(self, padded: Tensor) -> Tensor:
        """`[batch, seq_len, ...]` -> `[total_tokens, ...]`."""
        packed: Tensor = padded.flatten(0, 1)[self.rows]
        return packed

    def pad(self, packed: Tensor) -> Tensor:
        """`[total_tokens, ...]` -> `[batch, seq_len, ...]`, zero at padding."""
        padded = packed.new_zeros(self.shape.numel(), *packed.shape[1:]).index_copy(0, self.rows, packed)
        return padded.view(*self.shape, *packed.shape[1:])


def pack_sequences(sequences: Sequence[dict[str, Sequence[int]]]) -> dict[str, Tensor]:
    """Joins tokenized sequences into one packed batch.

    Args:
        sequences: dictionaries with `input_ids`, `token_type_ids` and `item_position_ids`, each `[length]`.

    Returns:
        `input_ids`, `token_type_ids`, `item_position_ids` `[1, total_tokens]` and `cu_seqlens` `[batch + 1]` (int32).
    """
    if not sequences:
        raise ValueError("There is nothing to pack: pass at least one sequence.")
    names = ("input_ids", "token_type_ids", "item_position_ids")
    batch = {
        name: torch.from_numpy(np.concatenate([np.asarray(sequence[name]) for sequence in sequences]).astype(np.int64))[
            None
        ]
        for name in names
    }
    lengths = [len(sequence["input_ids"]) for sequence in sequences]
    batch["cu_seqlens"] = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    return batch


def length_sorted_batches(lengths: np.ndarray, max_tokens: int) -> Iterator[np.ndarray]:
    """Cuts sequences into batches of at most `max_tokens` tokens, sorted by length, so that the lengths in a batch are
    even.

    The longest come first: memory then peaks at once, and not at the end of a long run. A sequence longer than
    `max_tokens` becomes a batch of its own.

    Args:
        lengths (`np.ndarray` `[num_sequences]`): tokens of each sequence.
        max_tokens (`int`): token budget of a batch.

    Yields:
        `np.ndarray` of sequence indices; together they contain every index exactly once.
    """
    # Stable, so that sequences of equal length keep their order.
    order = np.argsort(-lengths, kind="stable")
    start, tokens = 0, 0
    for place, index in enumerate(order):
        if place > start and tokens + lengths[index] > max_tokens:
            yield order[start:place]
            start, tokens = place, 0
        tokens += int(lengths[index])
    if start < len(order):
        yield order[start:]


class FlatItems(Protocol):
    """Tokens of many items in flat arrays, as `RecformerTokenizer.encode_items` returns them."""

    @property
    def input_ids(self) -> np.ndarray:
        """`[total]`."""

    @property
    def token_type_ids(self) -> np.ndarray:
        """`[total]`."""

    @property
    def offsets(self) -> np.ndarray:
        """Where each item begins, and the end, `[num_items + 1]`."""


def pack_items(encoded: FlatItems, rows: np.ndarray, bos_token_id: int, max_token_num: int) -> dict[str, Tensor]:
    """Packs items, each alone after its own `<s>`; their tokens have item position 1.

    Args:
        encoded: the tokens of all items.
        rows (`np.ndarray`, int `[batch]`): which items.
        bos_token_id (`int`): the id of `<s>`.
        max_token_num (`int`): tokens of a sequence, `<s>` included.

    Returns:
        a packed batch, as [`pack_sequences`] returns it.
    """
    starts = np.asarray(encoded.offsets)[rows]
    lengths = np.minimum(np.asarray(encoded.offsets)[rows + 1] - starts, max_token_num - 1)
    bounds = np.concatenate([[0], np.cumsum(lengths + 1)])
    sequence = np.repeat(np.arange(len(rows)), lengths + 1)
    place = np.arange(bounds[-1]) - bounds[sequence]
    # `<s>` looks up its item's first token, and is overwritten below.
    source = starts[sequence] + np.maximum(place - 1, 0)
    is_first = place == 0
    columns = {
        "input_ids": np.where(is_first, bos_token_id, np.asarray(encoded.input_ids)[source]),
        "token_type_ids": np.where(is_first, 0, np.asarray(encoded.token_type_ids)[source]),
        "item_position_ids": np.where(is_first, 0, 1),
    }
    batch = {name: torch.from_numpy(column.astype(np.int64))[None] for name, column in columns.items()}
    batch["cu_seqlens"] = torch.from_numpy(bounds.astype(np.int32))
    return batch
