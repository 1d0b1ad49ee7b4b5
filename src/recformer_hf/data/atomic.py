"""Files and folders that appear whole or not at all: `atomic_file`, `atomic_folder`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..atomic_recformer import PARTIAL, REPLACED, atomic_file, flush_to_disk, leftovers, remove_leftovers, sibling


@contextmanager
def atomic_folder(
    folder: str | os.PathLike[str], *, overwrite: bool = False, replaceable: Collection[str] = ()
) -> Iterator[Path]:
    """Give a temporary sibling folder to fill; it becomes `folder` when the block ends without an error.

    An error inside the block, a full disk among them, removes the temporary folder and leaves `folder` as it was. A
    killed run leaves `folder` as it was too; what else it left is cleaned up by the next call for the same folder.

    Args:
        folder: folder to write; its parents are made. An empty one is filled.
        overwrite: replace a folder that is not empty, all of it.
        replaceable: names that the folder to replace may hold; a folder with anything else is never replaced.

    Yields:
        The folder to write to.

    Raises:
        FileExistsError: before anything is written, if `folder` holds files and `overwrite` is not set, or if it holds
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
        temporary.mkdir()
        yield temporary
        for path in (*temporary.rglob("*"), temporary):
            flush_to_disk(path)
        _check_replaceable(folder, overwrite, replaceable)  # someone may have written there meanwhile
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
    """Put back a folder that a killed `atomic_folder` had moved aside and not yet replaced."""
    folder = Path(folder)
    moved_aside = [path for path in leftovers(folder) if path.suffix == f".{REPLACED}"]
    if moved_aside and not folder.exists():
        os.rename(moved_aside[-1], folder)


def _check_replaceable(folder: Path, overwrite: bool, replaceable: Collection[str]) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; name a folder.")
    names = sorted(path.name for path in folder.iterdir())
    strange = [name for name in names if name not in replaceable]
    if names and not overwrite:
        raise FileExistsError(f"{folder} is not empty ({_some(names)}). Name another folder, or pass overwrite=True.")
    if strange:
        raise FileExistsError(
            f"{folder} also holds {_some(strange)}, which overwriting would lose. Move that away first."
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


__all__ = ["atomic_file", "atomic_folder", "recover_folder"]
