"""The window of a packed row, cut into blocks: which token sees which, and the views that batched products take."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .packing import SequenceLayout


class WindowBlocks:
    """The window of a packed row, cut into blocks of half a window.

    A block of queries needs the keys of three blocks: its own and one on either side. The `<s>` of the sequence that
    the block's first query belongs to may be out of reach. No other `<s>` can be: any other sequence with a query in
    the block starts inside the block, near enough to be in the window. That holds for blocks no longer than half the
    window (or two tokens, if half the window is one), hence their size.

    Args:
        layout: where the sequences lie.
        half (`int`): tokens seen on each side.
        num_rows (`int`): rows of hidden states; those after the last token belong to no sequence.
    """

    def __init__(self, layout: SequenceLayout, half: int, num_rows: int) -> None:
        # No sequence reaches further than its length, so short ones get by with smaller blocks.
        reach = min(half, -(-(layout.max_seqlen - 1) // 8) * 8 or 8)
        self.block = block = max(reach, 2)
        self.num_rows = num_rows
        self.num_blocks = -(-num_rows // block)
        self.padded_rows = self.num_blocks * block
        self.width = 3 * block
        device, last = layout.device, layout.total_tokens - 1
        starts = torch.arange(self.num_blocks, device=device)[:, None] * block
        queries = starts + torch.arange(block, device=device)  # [num_blocks, block]
        keys = starts - block + torch.arange(self.width, device=device)  # [num_blocks, width]
        query_sequences = layout.sequence_ids[queries.clamp(max=last)]
        in_row = (keys >= 0) & (keys <= last)
        key_sequences = layout.sequence_ids[keys.clamp(0, last)].masked_fill(~in_row, -1)
        distance = (queries[:, :, None] - keys[:, None, :]).abs()
        self.near = (query_sequences[:, :, None] == key_sequences[:, None, :]) & (distance <= reach)
        """Which query sees which key in the window, `[num_blocks, block, width]`."""
        # Queries after the last token see something finite, so that no softmax is taken over nothing; their output is
        # cut off.
        self.near[:, :, 0] |= queries > last
        far = (query_sequences == query_sequences[:, :1]) & (layout.positions[queries.clamp(max=last)] > reach)
        self.far = far & (queries <= last)
        """Queries whose `<s>` is outside the window, `[num_blocks, block]`."""
        self.first_tokens = layout.first_tokens[query_sequences[:, 0]]
        """Row of the `<s>` that they see, `[num_blocks]`."""
        self._bias: dict[torch.dtype, Tensor] = {}

    @classmethod
    def of(cls, layout: SequenceLayout, half: int, num_rows: int) -> WindowBlocks:
        """The blocks of a layout, built once and shared by all layers."""
        return layout.derive(("window_blocks", half, num_rows), lambda: cls(layout, half, num_rows))

    def bias(self, dtype: torch.dtype) -> Tensor:
        """The window's mask as a term to add to scores, `[num_blocks, block, width]`."""
        if dtype not in self._bias:
            zeros = torch.zeros(self.near.shape, dtype=dtype, device=self.near.device)
            self._bias[dtype] = zeros.masked_fill_(~self.near, torch.finfo(dtype).min)
        return self._bias[dtype]

    def split_queries(self, rows: Tensor, num_heads: int) -> Tensor:
        """`[num_rows, hidden]` -> a view `[num_heads, num_blocks, block, head_dim]`."""
        if self.padded_rows != self.num_rows:
            rows = F.pad(rows, (0, 0, 0, self.padded_rows - self.num_rows))
        return rows.view(self.num_blocks, self.block, num_heads, -1).permute(2, 0, 1, 3)

    def join_queries(self, blocks: Tensor) -> Tensor:
        """`[num_heads, num_blocks, block, head_dim]` -> `[num_rows, hidden]`."""
        return blocks.permute(1, 2, 0, 3).reshape(self.padded_rows, -1)[: self.num_rows]

    def window_view(self, rows: Tensor, num_heads: int) -> Tensor:
        """`[num_rows, hidden]` -> overlapping views `[num_heads, num_blocks, width, head_dim]` of one buffer."""
        hidden = rows.shape[1]
        end = self.block + self.num_rows
        buffer = rows.new_empty(self.padded_rows + 2 * self.block, hidden)
        buffer[: self.block].zero_()
        buffer[self.block : end] = rows
        buffer[end:].zero_()
        head_dim = hidden // num_heads
        size = (num_heads, self.num_blocks, self.width, head_dim)
        return buffer.as_strided(size, (head_dim, self.block * hidden, hidden, 1))

    def windows_by_head(self, rows: Tensor, num_heads: int) -> Tensor:
        """The same values as [`window_view`], one head after the other: batched products take them without a copy.

        Where a window reaches beyond the row, it holds tokens of another head, or zeros; no query sees them.
        """
        head_dim = rows.shape[1] // num_heads
        buffer = rows.new_empty(num_heads * self.padded_rows + 2 * self.block, head_dim)
        buffer[: self.block].zero_()
        buffer[-self.block :].zero_()
        inside = buffer[self.block : -self.block].view(num_heads, self.padded_rows, head_dim)
        inside[:, : self.num_rows] = rows.view(self.num_rows, num_heads, head_dim).transpose(0, 1)
        inside[:, self.num_rows :].zero_()
        size = (num_heads, self.num_blocks, self.width, head_dim)
        windows = buffer.as_strided(size, (self.padded_rows * head_dim, self.block * head_dim, head_dim, 1))
        # oneDNN, which computes the 16-bit products, would copy overlapping views too, and transposed ones slowly.
        return windows if rows.element_size() > 2 else windows.contiguous()

    def first_of(self, rows: Tensor, num_heads: int) -> Tensor:
        """`[num_rows, hidden]` -> the rows of each block's `<s>`, `[num_heads, num_blocks, 1, head_dim]`."""
        return rows[self.first_tokens].view(self.num_blocks, 1, num_heads, -1).permute(2, 0, 1, 3)

    def add_windows(self, window: Tensor, first: Tensor) -> Tensor:
        """The transpose of [`window_view`] and [`first_of`]: adds up what all blocks hold for each token.

        Args:
            window (`Tensor` `[num_heads, num_blocks, width, head_dim]`): values for the tokens of the windows.
            first (`Tensor` `[num_heads, num_blocks, 1, head_dim]`): values for each block's `<s>`.

        Returns:
            `[num_rows, hidden]`.
        """
        before, own, after = window.unflatten(2, (3, self.block)).unbind(2)
        # Shifted sums of blocks in place of an `index_add` of windows.
        total = own.contiguous()
        total[:, 1:] += after[:, :-1]
        total[:, :-1] += before[:, 1:]
        rows = self.join_queries(total)
        return rows.index_add_(0, self.first_tokens, first.permute(1, 2, 0, 3).reshape(self.num_blocks, -1))

    def probabilities(self, queries: Tensor, keys: Tensor, first_keys: Tensor) -> tuple[Tensor, Tensor]:
        """Softmax over the window and the `<s>` outside it.

        Args:
            queries (`Tensor` `[num_heads, num_blocks, block, head_dim]`): scaled.
            keys (`Tensor` `[num_heads, num_blocks, width, head_dim]`): keys of the windows.
            first_keys (`Tensor` `[num_heads, num_blocks, 1, head_dim]`): keys of each block's `<s>`.

        Returns:
            the probabilities of the window `[num_heads, num_blocks, block, width]` and of the `<s>` outside it
            `[num_heads, num_blocks, block, 1]`; together they sum to 1.
        """
        scores = torch.matmul(queries, keys.transpose(-1, -2)).add_(self.bias(queries.dtype))
        far = torch.matmul(queries, first_keys.transpose(-1, -2))
        far = far.masked_fill_(~self.far[:, :, None], torch.finfo(far.dtype).min)
        # The <s> gets no column of its own, because a round width makes the products faster. It borrows one that its
        # query does not see. With blocks of 4 rows, keys 0 to 11 stand around queries 4 to 7: query 4 sees keys 0 to 8,
        # and all but the last query leave key 11 unseen. Query 7 sees 3 to 11 and borrows key 0.
        scores[:, :, :-1, -1:] = far[:, :, :-1]
        scores[:, :, -1:, :1] = far[:, :, -1:]
        near = torch.softmax(scores, dim=-1).to(scores.dtype)  # autocast on CUDA gives float32
        return near, _take_borrowed(near)


def _take_borrowed(probabilities: Tensor) -> Tensor:
    """The borrowed columns `[num_heads, num_blocks, block, 1]`, which become 0 where they stood."""
    places = probabilities[:, :, :-1, -1:], probabilities[:, :, -1:, :1]
    far = torch.cat(places, dim=2)
    for place in places:
        place.zero_()
    return far


__all__ = ["WindowBlocks"]
