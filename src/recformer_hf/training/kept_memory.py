"""Memory that a training step frees stays with the process for the next one, on a CPU with glibc.

glibc gives buffers of more than 32 MiB back to the system as soon as they are freed, and gets them anew, zeroed, page
by page. Of a training step with large batches that can be a fifth of the time (docs/performance.md).
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_STATM = Path("/proc/self/statm")

_lock = threading.Lock()
_inside = 0


@contextmanager
def kept_memory(on_cpu: bool = True) -> Iterator[Callable[[], None]]:
    """While inside, freed buffers of up to 1 GiB are kept for the next ones; afterwards all goes back.

    Batches differ in size, so what is kept fits ever less well and grows. Hence what is given, a function to call after
    every step: where the process has become a quarter larger than a step makes it, all that is free goes back.

    The setting is the process's. Elsewhere than `on_cpu`, without glibc, or where the environment has settings of its
    own for its allocator, nothing changes.
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
                # What glibc's own thresholds, which follow the sizes that are freed, end at in a training process.
                libc.mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
                libc.mallopt(_M_TRIM_THRESHOLD, 64 * 2**20)
                libc.malloc_trim(0)


class _Trimming:
    def __init__(self, libc: Any) -> None:
        self._libc = libc
        self._needed, self._is_trimmed = 0, True

    def __call__(self) -> None:
        resident = int(_STATM.read_text().split()[1])  # pages
        if self._is_trimmed:  # so much a step needs, of batches so far
            self._needed, self._is_trimmed = max(self._needed, resident), False
        elif resident > 1.25 * self._needed:
            self._libc.malloc_trim(0)
            self._is_trimmed = True


def _glibc() -> Any:
    """The C library of this process if it is glibc, on Linux, else None."""
    try:
        libc = ctypes.CDLL(None)
        return libc if libc.gnu_get_libc_version and _STATM.exists() else None  # musl and macOS have none
    except (AttributeError, OSError, TypeError):  # Windows takes no None
        return None


def _is_set_by_user() -> bool:
    names = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_")
    return any(name in os.environ for name in names) or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")


__all__ = ["kept_memory"]
