"""The disk, for tests: nothing waits for it."""

from __future__ import annotations

import os
from typing import Any


def check_descriptor(file: Any) -> None:
    """What `os.fsync` refuses, this does too; it writes nothing.

    Raises:
        OSError: if the file is not open.
    """
    os.fstat(file if isinstance(file, int) else file.fileno())


def wait_for_no_disk() -> None:
    """From now on, `os.fsync` only checks its file in this process and in those that it forks.

    What fsync adds is for power cuts, which no test has. A killed process's writes are with the system, and stay. But
    fsync takes milliseconds, and a run of a trainer calls it fifty times.
    """
    os.fsync = check_descriptor
