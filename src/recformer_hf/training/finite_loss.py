"""A watch for the first loss, or gradient, that is not finite."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

_NEVER = 2**48
"""More batches than any run has; multiplied by the number of processes it still fits an int64."""


class LossNotFiniteError(FloatingPointError):
    """The loss of a batch, or its gradient, is NaN or infinite."""


class FiniteLossWatch:
    """Remembers on the device which batch of this process first had a loss or gradient that is not finite.

    Reading a number off an accelerator makes the host wait for all queued work, so there it is read only where the
    host waits anyway: at log lines, before evaluation and before checkpoints. On a CPU it is read after every batch.

    Args:
        device: of the losses.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.reads_every_batch = device.type == "cpu"
        self.reset()

    def reset(self) -> None:
        """Forgets what was noted."""
        self._first = torch.full((), _NEVER, device=self.device)

    def note(self, is_finite: Tensor, batch: int) -> None:
        """Notes a batch unless it is finite (bool `[]`), by its number since the start of training."""
        self._first = torch.where(is_finite, self._first, self._first.clamp_max(batch))

    def first_bad(self, rank: int, world_size: int) -> tuple[int, int] | None:
        """Number of the first bad batch, and the rank of the process that had it; `None` as long as all were finite.

        Where not every batch is read, all processes call this together.
        """
        first = self._first
        if world_size > 1 and not self.reads_every_batch:
            # From the next step on every process is bad, because they share gradients. The earliest one, and of
            # several the lowest rank, had the batch that caused it.
            first = first * world_size + rank
            dist.all_reduce(first, op=dist.ReduceOp.MIN)
            first, rank = first // world_size, int(first % world_size)
        batch = int(first)
        return None if batch >= _NEVER else (batch, rank)
