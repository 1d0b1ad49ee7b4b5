"""Disks that fill up and processes that are killed, for tests of what they leave behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def full_disk(after: int) -> Iterator[None]:
    """Inside the block the system refuses to let any file grow beyond `after` bytes (OSError: File too large)."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def run_killed(work: Callable[[], None]) -> None:
    """Run work in a forked process that must kill itself with `os._exit(9)`, so that nothing of it is cleaned up."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 9
