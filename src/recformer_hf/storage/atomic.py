"""Files and folders that appear whole or not at all: written to a temporary sibling, flushed to disk, renamed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from .write_errors import named_write_errors

PARTIAL = "partial"
"""Ending of a file or folder that is still being written."""

REPLACED = "replaced"
"""Ending of a folder that has been moved aside to be replaced."""


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary sibling of `path` to write to; it becomes `path` when the block ends without an error.

    Until then, anyone who opens `path` sees the old file or no file, never half of the new one. A process that has
    memory-mapped the old file keeps the old content. An error inside the block, such as a full disk, removes the
    temporary file and leaves `path` as it was. The next write of the same `path` removes what a killed run left behind.

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
        with named_write_errors(path, "What was there before is unchanged."):
            yield temporary
            flush_to_disk(temporary)
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_to_disk(path.parent)


@contextmanager
def atomic_folder(
    folder: str | os.PathLike[str], *, overwrite: bool = False, replaceable: Collection[str] = ()
) -> Iterator[Path]:
    """Give a temporary sibling folder to fill; it becomes `folder` when the block ends without an error.

    An error inside the block, such as a full disk, removes the temporary folder and leaves `folder` as it was. A killed
    run leaves `folder` as it was, too, and the next call for the same folder removes everything else that the run left
    behind.

    Args:
        folder: folder to write; its parents are created where needed. It may exist if it is empty.
        overwrite: whether to replace a folder that is not empty, with all its files.
        replaceable: names that a folder may hold to be replaced. A folder with any other file is never replaced.

    Yields:
        The folder to write to.

    Raises:
        FileExistsError: before anything is written, if `folder` holds files and `overwrite` is False, or if it holds
            files that are not `replaceable`.
        NotADirectoryError: if `folder` is a file.
    """
    folder = Path(folder)
    recover_folder(folder)
    _check_replaceable(folder, overwrite, replaceable)
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    temporary, replaced = sibling(folder, PARTIAL), sibling(folder, REPLACED)
    try:
        with named_write_errors(folder, "What was there before is unchanged."):
            temporary.mkdir()
            yield temporary
            for path in (*temporary.rglob("*"), temporary):
                flush_to_disk(path)
        _check_replaceable(folder, overwrite, replaceable)  # another process may have written there meanwhile
        # No operating system renames a folder over one that holds files, so for a moment neither the old nor the new
        # folder exists. `recover_folder` puts the old one back if the process is killed at that moment.
        if folder.exists():
            os.rename(folder, replaced)
        os.rename(temporary, folder)
    except BaseException:
        if replaced.exists() and not folder.exists():
            os.rename(replaced, folder)
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    flush_to_disk(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def recover_folder(folder: str | os.PathLike[str]) -> None:
    """Put back a folder that a killed `atomic_folder` moved aside but did not replace."""
    folder = Path(folder)
    moved_aside = [path for path in leftovers(folder) if path.suffix == f".{REPLACED}"]
    if moved_aside and not folder.exists():
        os.rename(moved_aside[-1], folder)


def sibling(path: Path, ending: str) -> Path:
    """A new hidden name beside `path` that tells which process uses it: `.{name}.{host}.{pid}.{random}.{ending}`."""
    return path.with_name(f".{path.name}.{_host()}.{os.getpid()}.{uuid.uuid4().hex[:8]}.{ending}")


def leftovers(path: Path) -> list[Path]:
    """Siblings of `path` that were created by processes of this machine that are no longer alive.

    Siblings that another machine created on a shared disk stay, because this machine cannot tell whether their
    processes are still writing.
    """
    if os.name != "posix" or not path.parent.is_dir():  # on Windows os.kill(pid, 0) sends Ctrl+C
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
    """Have the system write a file, or the entries of a folder, to the disk.

    Without this, a full disk may be reported only after the file has been renamed, and a power cut may leave the file
    empty.
    """
    if os.name != "posix" and path.is_dir():  # Windows cannot open folders
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
    except (PermissionError, OverflowError):  # another user's process, or a number too large to ask about
        return True
    return True


def _check_replaceable(folder: Path, overwrite: bool, replaceable: Collection[str]) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; expected a folder. Name another path.")
    names = sorted(path.name for path in folder.iterdir())
    strange = [name for name in names if name not in replaceable]
    if names and not overwrite:
        raise FileExistsError(f"{folder} is not empty ({_some(names)}). Name another folder, or pass overwrite=True.")
    if strange:
        raise FileExistsError(
            f"{folder} also holds {_some(strange)}, which overwriting would lose. Move that elsewhere first."
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
