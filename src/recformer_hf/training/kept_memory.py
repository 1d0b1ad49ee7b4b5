"""On a CPU with glibc, the process keeps memory that a training step frees for the next step.

glibc returns buffers of more than 32 MiB to the system as soon as they are freed, and then gets them again zeroed, page
by page. In a training step with large batches that can take a fifth of the time (docs/performance.md).
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_STATM = Path("/proc/self/statm")

_lock = threading.Lock()
_inside = 0


@contextmanager
def kept_memory(on_cpu: bool = True) -> Iterator[Callable[[], None]]:
    """Inside the block, freed buffers of up to 1 GiB are kept for the next ones; at its end they are all returned.

    Batches differ in size, so the kept buffers fit less and less well, and the process grows. The block therefore gets
    a function to call after every step: if the process has become a quarter larger than a step needs, it returns all
    free memory.

    The setting holds for the whole process. Nothing changes unless `on_cpu`, without glibc, or if the environment sets
    the options of the allocator.
    """
    global _inside
    libc = _glibc()
    if not on_cpu or libc is None or _is_set_by_user():
        yield lambda: None
        return
    with _lock:
        _inside += 1
        libc.mallopt(_M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)  # never
    try:
        yield _Trimming(libc)
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                # glibc adapts its thresholds to the freed sizes; in a training process they end at these values.
                libc.mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
                libc.mallopt(_M_TRIM_THRESHOLD, 64 * 2**20)
                libc.malloc_trim(0)


class _Trimming:
    """Returns free memory to the system when the process has grown."""

    def __init__(self, libc: ctypes.CDLL) -> None:
        self._libc = libc
        self._needed, self._is_trimmed = 0, True

    def __call__(self) -> None:
        resident = int(_STATM.read_text().split()[1])  # pages
        if self._is_trimmed:  # the process is as large as a step needs
            self._needed, self._is_trimmed = max(self._needed, resident), False
        elif resident > 1.25 * self._needed:
            self._libc.malloc_trim(0)
            self._is_trimmed = True


def _glibc() -> ctypes.CDLL | None:
    """The C library of this process if it is glibc on Linux, else `None`."""
    try:
        libc = ctypes.CDLL(None)
        return libc if libc.gnu_get_libc_version and _STATM.exists() else None  # musl and macOS lack the function
    except (AttributeError, OSError, TypeError):  # Windows does not take None
        return None


def _is_set_by_user() -> bool:
    names = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_")
    return any(name in os.environ for name in names) or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")


__all__ = ["kept_memory"]
