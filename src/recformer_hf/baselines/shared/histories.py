"""`PackedHistories`: the histories of a batch end to end, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

_SHORT = 8
"""Histories of up to so many items count as equally long."""


class PackedHistories:
    """Histories of a batch, one behind the other. A *place* is an item of one of them; `total` counts all places.

    Histories differ much in length, and a padded batch is mostly padding. So every layer that works on single places
    gets `[total, width]`; what looks along a history (attention, recurrence) gets `[batch, longest, width]`
    from `padded`.

    Args:
        rows (`Tensor`, int `[total]`): rows of the catalogue, oldest first.
        lengths (`Tensor`, int64 `[batch]`): items of each history, at least 1.
        longest (`int`): the largest of them. With it, nothing has to wait for an accelerator.
    """

    def __init__(self, rows: Tensor, lengths: Tensor, longest: int) -> None:
        self.rows, self.lengths, self.longest = rows, lengths, longest

    @classmethod
    def of(cls, histories: Sequence[np.ndarray], most: int, device: torch.device | None = None) -> PackedHistories:
        """The newest `most` items of some histories.

        Raises:
            ValueError: if one of them is empty.
        """
        lengths = np.array([min(len(history), most) for history in histories], np.int64)
        if not len(lengths) or not lengths.all():
            where = f"History {int(np.argmin(lengths))} is empty" if len(lengths) else "There are no histories"
            raise ValueError(f"{where}; expected at least one item in each.")
        rows = np.concatenate([history[-most:] for history in histories]).astype(np.int64)
        return cls(torch.from_numpy(rows).to(device), torch.from_numpy(lengths).to(device), int(lengths.max()))

    def __len__(self) -> int:
        """Number of histories."""
        return len(self.lengths)

    @cached_property
    def owners(self) -> Tensor:
        """Which history each place belongs to, int64 `[total]`."""
        numbers = torch.arange(len(self), device=self.rows.device)
        return torch.repeat_interleave(numbers, self.lengths, output_size=len(self.rows))

    @cached_property
    def positions(self) -> Tensor:
        """Number of each place in its history, from 0 for the oldest item: int64 `[total]`."""
        starts = self.lengths.cumsum(0) - self.lengths
        return torch.arange(len(self.rows), device=self.rows.device) - starts[self.owners]

    @cached_property
    def newest(self) -> Tensor:
        """Place of the newest item of each history, int64 `[batch]`."""
        return self.lengths.cumsum(0) - 1

    @cached_property
    def cells(self) -> Tensor:
        """Where each place stands in a flattened `[batch, longest]`, int64 `[total]`."""
        return self.owners * self.longest + self.positions

    @cached_property
    def mask(self) -> Tensor:
        """True where a padded batch has an item, bool `[batch, longest]`."""
        mask: Tensor = torch.arange(self.longest, device=self.rows.device) < self.lengths[:, None]
        return mask

    @cached_property
    def parts(self) -> tuple[list[PackedHistories], Tensor] | None:
        """The histories in parts of similar lengths, so that padding a part adds little: those of up to 8 items, of up
        to 16, 32, and so on; and the places of the parts, one part behind the other: int64 `[total]`.

        `None` for a single part, and on an accelerator, which would wait for the lengths and gain little.
        """
        if self.rows.device.type != "cpu" or self.longest <= _SHORT:
            return None
        kinds = (self.lengths.clamp_min(_SHORT).sub(1) // _SHORT).float().log2().floor()  # -inf for the short ones
        found = kinds.unique()
        if len(found) == 1:
            return None
        places = kinds[self.owners].argsort(stable=True)
        lengths = [self.lengths[kinds == kind] for kind in found]
        rows = self.rows[places].split([int(of_part.sum()) for of_part in lengths])
        parts = [PackedHistories(*part, int(part[1].max())) for part in zip(rows, lengths, strict=True)]
        return parts, places

    def padded(self, values: Tensor) -> Tensor:
        """`[total, ...]` as `[batch, longest, ...]`: every history begins at 0 and ends in zeros."""
        empty = values.new_zeros(len(self) * self.longest, *values.shape[1:])
        cells = empty.index_copy(0, self.cells, values)
        return cells.view(len(self), self.longest, *values.shape[1:])

    def packed(self, values: Tensor) -> Tensor:
        """`[batch, longest, ...]` as `[total, ...]`; the reverse of `padded`."""
        return values.flatten(0, 1).index_select(0, self.cells)


__all__ = ["PackedHistories"]
