"""What a training log line shows besides the loss: means over the steps since the previous line, and speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class StepRecords:
    """Sums and counts since the last log line, and the time that passed.

    Nothing here makes the host wait for the device before `drain`.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets what was added, and restarts the clock."""
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}
        self._tokens, self._waited, self._began = 0, 0.0, time.perf_counter()

    def add(self, name: str, total: Tensor, count: Tensor | float) -> None:
        """Adds to the mean that is logged under a name: `total / count` over all steps and processes."""
        total = total.detach().float()
        count = torch.as_tensor(count, dtype=torch.float32, device=total.device)
        self._sums[name] = self._sums[name] + total if name in self._sums else total
        self._counts[name] = self._counts[name] + count if name in self._counts else count

    def add_tokens(self, tokens: int) -> None:
        """Adds the tokens of a batch."""
        self._tokens += tokens

    @contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """The time spent in the block counts as `data_wait`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._waited += time.perf_counter() - began

    @contextmanager
    def off_the_clock(self) -> Iterator[None]:
        """The time spent in the block counts neither for `tokens_per_second` nor for `data_wait`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._began += time.perf_counter() - began

    def drain(self, sum_over_processes: Callable[[Sequence[Tensor | float]], Tensor]) -> dict[str, float]:
        """The means, `tokens_per_second`, and `data_wait` (share of the time) since the last call or `reset`.

        Args:
            sum_over_processes: gives the sums of some numbers over all processes, `[len(numbers)]`.
        """
        now = time.perf_counter()
        seconds = max(now - self._began, 1e-9)
        names = sorted(self._sums)
        numbers: list[Tensor | float] = [
            *(self._sums[name] for name in names),
            *(self._counts[name] for name in names),
            self._tokens,
        ]
        *totals, tokens = sum_over_processes(numbers).tolist()
        means = {
            name: total / count
            for name, total, count in zip(names, totals, totals[len(names) :], strict=False)
            if count
        }
        means["tokens_per_second"] = round(tokens / seconds, 1)
        means["data_wait"] = round(self._waited / seconds, 4)
        self.reset()
        self._began = now  # what summing over processes takes belongs to the next line
        return means
