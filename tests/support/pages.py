"""Pages of memory that a process gets from the system. Imports torch alone, for processes that are made for it."""

from __future__ import annotations

import resource

import torch

SIZE = 48 * 2**20  # bytes


def share_of_new_pages(count: int = 24) -> float:
    """Of the pages of as many buffers, one freed before the next, those that had to be fetched from the system."""
    torch.empty(SIZE, dtype=torch.uint8).fill_(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        torch.empty(SIZE, dtype=torch.uint8).fill_(1)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return faults * resource.getpagesize() / (count * SIZE)
