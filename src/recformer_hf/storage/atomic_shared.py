"""Folders that several processes fill together, and that appear whole or not at all.

`staged_folder` gives every process the same hidden sibling to write to, `.checkpoint-40.partial`. When all of them are
done, the main process flushes it to disk and renames it to `checkpoint-40`. A run that dies before that leaves the
sibling behind, which is never read and which the next write removes. A folder is also renamed before it is removed. A
folder that has its final name is therefore complete, unless it was cut short while being copied: `is_whole` compares
its files with a list of their sizes.

Unlike those of `atomic`, the hidden names do not contain a process id: every process has to know the name, and a run
that is started again has to recognize what its killed predecessor left.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from .atomic import PARTIAL, flush_to_disk
from .write_errors import named_write_errors

SIZES_FILE = "checkpoint_files.json"
"""In every staged folder: the size in bytes of each of its other files."""

REMOVED = "removed"
"""Ending of a folder that is being removed."""


class Processes(Protocol):
    """The processes of a run that share a disk; an `accelerate.Accelerator` or `PartialState` is one."""

    @property
    def is_main_process(self) -> bool: ...

    def wait_for_everyone(self) -> None: ...


@contextmanager
def staged_folder(folder: Path, processes: Processes) -> Iterator[Path]:
    """Give all processes one hidden folder to fill; it becomes `folder` when the block ends on all of them.

    Args:
        folder: folder to write; an existing one is replaced.
        processes: the processes of the run; the main one creates, flushes and renames the folder.

    Yields:
        The folder to write to, the same on every process.

    Raises:
        OSError: if it cannot be written (a full disk). The partial folder is removed and `folder` stays as it was.
    """
    staging = folder.with_name(f".{folder.name}.{PARTIAL}")
    if processes.is_main_process:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_partial_folders(folder.parent)
        staging.mkdir()
    processes.wait_for_everyone()  # no process writes before the folder exists
    try:
        with named_write_errors(folder, "What was there before is unchanged."):
            yield staging
        processes.wait_for_everyone()
        if processes.is_main_process:
            sizes = {path.relative_to(staging).as_posix(): path.stat().st_size for path in _files(staging)}
            (staging / SIZES_FILE).write_text(json.dumps(sizes, indent=2) + "\n", "utf-8")
            # The rename must not reach the disk before the contents do.
            for path in (*staging.rglob("*"), staging):
                flush_to_disk(path)
            remove_folder(folder)
            staging.rename(folder)
            flush_to_disk(folder.parent)
    except BaseException:
        if processes.is_main_process:
            shutil.rmtree(staging, ignore_errors=True)
        raise
    processes.wait_for_everyone()


@contextmanager
def staged_files(folder: Path, processes: Processes) -> Iterator[Path]:
    """Give all processes one hidden folder to fill; each of its files is moved into `folder` when the block ends.

    Every file appears whole, but they do not appear at the same instant. Other files of `folder` stay. Arguments and
    errors are those of [`staged_folder`].
    """
    staging = folder / f".result.{PARTIAL}"
    if processes.is_main_process:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
    processes.wait_for_everyone()
    try:
        with named_write_errors(folder, "What was there before is unchanged."):
            yield staging
        processes.wait_for_everyone()
        if processes.is_main_process:
            for path in _files(staging):
                flush_to_disk(path)
                target = folder / path.relative_to(staging)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
            flush_to_disk(folder)
    finally:
        if processes.is_main_process:
            shutil.rmtree(staging, ignore_errors=True)
    processes.wait_for_everyone()


def is_whole(folder: Path) -> bool:
    """Whether a staged folder has every file that was written to it, at its full size."""
    try:
        sizes = json.loads((folder / SIZES_FILE).read_text("utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, TypeError, AttributeError):  # the list itself may be truncated
        return False


def remove_folder(folder: Path) -> None:
    """Remove a folder if it exists. It is renamed first, so that a half-removed folder is never mistaken for a whole
    one."""
    if folder.exists():
        removed = folder.with_name(f".{folder.name}.{REMOVED}")
        shutil.rmtree(removed, ignore_errors=True)
        folder.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)


def remove_partial_folders(folder: Path) -> None:
    """Remove what a killed run was writing into a folder, or removing from it."""
    for leftover in (*folder.glob(f".*.{PARTIAL}"), *folder.glob(f".*.{REMOVED}")):
        shutil.rmtree(leftover, ignore_errors=True)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
