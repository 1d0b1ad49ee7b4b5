"""Resident memory of this process, now and at its peak. Imports no torch, whose own memory would count."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path

_STATUS = Path("/proc/self/status")


def reset_peak() -> None:
    """Reset [`peak_bytes`]. Only Linux can; elsewhere the peak is that of the whole life of the process."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    if _STATUS.exists():
        return _kibibytes("VmHWM") * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resident_bytes() -> float:
    """Resident memory; NaN on systems without /proc."""
    return _kibibytes("VmRSS") * 1024 if _STATUS.exists() else float("nan")


def _kibibytes(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1])
