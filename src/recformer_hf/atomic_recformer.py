"""Files that appear whole or not at all: written to a temporary sibling, flushed to disk, renamed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = "partial"
"""Ending of what is being written."""

REPLACED = "replaced"
"""Ending of what a folder's replacement has just moved aside."""


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary sibling of `path` to write to; it becomes `path` when the block ends without an error.

    Whoever opens `path` meanwhile sees the old file or none, never half of the new one, and a process that has the old
    one memory-mapped keeps it. An error inside the block, a full disk among them, removes the temporary file and
    leaves `path` as it was. What a killed run left behind is removed by the next write of the same `path`.

    Args:
        path: file to write; its folder is created.

    Yields:
        The path to write to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    temporary = sibling(path, PARTIAL)
    try:
        yield temporary
        flush_to_disk(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_to_disk(path.parent)


def sibling(path: Path, ending: str) -> Path:
    """A new hidden name beside `path` that says which process made it: `.{name}.{host}.{pid}.{random}.{ending}`."""
    return path.with_name(f".{path.name}.{_host()}.{os.getpid()}.{uuid.uuid4().hex[:8]}.{ending}")


def leftovers(path: Path) -> list[Path]:
    """Siblings of `path` made by processes of this machine that are no longer alive.

    Another machine's are left alone: whether its process still writes cannot be seen from here.
    """
    if os.name != "posix" or not path.parent.is_dir():  # elsewhere a process cannot be asked whether it is alive
        return []
    made_here = rf"\.{re.escape(path.name)}\.{re.escape(_host())}\.(\d+)\.[0-9a-f]{{8}}\.({PARTIAL}|{REPLACED})"
    matches = ((entry, re.fullmatch(made_here, entry.name)) for entry in path.parent.iterdir())
    return sorted(entry for entry, match in matches if match and not _is_alive(int(match[1])))


def remove_leftovers(path: Path) -> None:
    """Remove what killed runs left beside `path`."""
    for leftover in leftovers(path):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def flush_to_disk(path: Path) -> None:
    """Have the system write a file or a folder's entries out; a delayed full-disk error surfaces here, not later."""
    if os.name != "posix" and path.is_dir():  # folders cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "host"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
