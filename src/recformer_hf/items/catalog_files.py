"""The file of an `ItemCatalog`: written whole or not at all, memory-mapped, downloaded from and uploaded to the Hub."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import CommitInfo, HfApi, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, RepositoryNotFoundError

from ..storage.atomic import atomic_file
from .arrow import CHUNK_ROWS, RecordBatch, Table, arrow, check_content, check_schema, schema

CATALOG_FILE = "item_catalog.arrow"
"""Name of a saved catalogue, beside a model's files or alone."""

RepoType = Literal["model", "dataset"]


def write_table(table: Table, path: str | os.PathLike[str]) -> None:
    """Writes a catalogue's table as an uncompressed Arrow IPC file.

    Raises:
        ValueError: if [`map_table`] would refuse the file. Nothing is written then.
    """
    pa = arrow()
    try:
        check_content(table)
    except ValueError as error:
        raise ValueError(f"This catalogue cannot be saved: {error} Create it with a from_* method.") from error
    with (
        atomic_file(path) as temporary,
        pa.OSFile(os.fspath(temporary), "wb") as sink,
        pa.ipc.new_file(sink, schema()) as writer,
    ):
        writer.write_table(table, max_chunksize=CHUNK_ROWS)


def map_table(path: Path, *, checked_before: bool = False) -> Table:
    """Maps a catalogue's Arrow IPC file into memory and checks all of it, wherever it is from.

    Offsets that point outside the file would read other memory of this process, or end it. So every offset, every text
    and every id is checked before anything is used. This reads the whole file, about 0.2 s for a million items;
    a file that this process has checked is not read again.

    Args:
        path: the file. Whoever changes it must replace it, as [`write_table`] does: if it is cut while it is mapped,
            the operating system ends the process.
        checked_before: whether another process that is trusted has checked it.

    Raises:
        FileNotFoundError: if there is no such file, or it is no ordinary file.
        ValueError: if it is damaged, or not a catalogue's.
    """
    pa = arrow()
    if not path.is_file():  # opening a pipe would wait forever
        raise FileNotFoundError(f"No file {path}.")
    status = path.stat()
    version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        check_schema(reader.schema)
        table = pa.Table.from_batches(_batches(reader, status.st_size), schema=schema())
        if version not in _CHECKED and not checked_before:
            check_content(table)
        _CHECKED.add(version)
    except PermissionError:
        raise
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a whole Arrow file ({error}). Save or download it again.") from error
    except ValueError as error:
        raise ValueError(f"{path} is not a catalogue's file: {error}") from error
    return table


_CHECKED: set[tuple[int, ...]] = set()
"""The files that this process has checked: device, inode, size and times."""


def _batches(reader: Any, size: int) -> Iterator[RecordBatch]:
    """The record batches of a file of `size` bytes."""
    rows = 0
    for i in range(reader.num_record_batches):
        batch = reader.get_batch(i)
        rows += len(batch)
        # An item takes two offsets of 4 bytes. A small file can name one batch thousands of times.
        if rows * 8 > size:
            raise ValueError(f"it has more items than {size:,} bytes can hold.")
        yield batch.replace_schema_metadata(None)


def saved_file(folder: str | os.PathLike[str], subfolder: str, name: str = CATALOG_FILE, kind: str = "catalog") -> Path:
    """Path of the catalogue in a local folder, or of the file `name`, which something of another kind writes.

    Raises:
        FileNotFoundError: if there is none.
    """
    path = Path(folder, subfolder, name)
    if not path.is_file():
        raise FileNotFoundError(f"No {name} in {path.parent}. {kind}.save_pretrained(folder) writes it.")
    return path


def download_file(
    repo_id: str,
    subfolder: str,
    repo_type: RepoType,
    revision: str | None,
    token: str | bool | None,
    cache_dir: str | Path | None,
    force_download: bool,
    local_files_only: bool,
    name: str = CATALOG_FILE,
) -> str:
    """Downloads the catalogue of a repository, or the file `name`; arguments as in `huggingface_hub.hf_hub_download`.

    Returns:
        The file's path in the cache.

    Raises:
        FileNotFoundError: if there is no such repository, or it has no such file.
    """
    try:
        path: str = hf_hub_download(
            repo_id,
            name,
            subfolder=subfolder or None,
            repo_type=repo_type,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
        )
    # An id that cannot exist (HFValidationError) is most often a mistyped folder.
    except (EntryNotFoundError, RepositoryNotFoundError, HFValidationError) as error:
        raise FileNotFoundError(
            f"{repo_id!r} is neither a local folder nor an accessible {repo_type} repository with "
            f"{'/'.join(filter(None, [subfolder, name]))}: {error}"
        ) from error
    return path


def upload_table(
    table: Table,
    repo_id: str,
    repo_type: RepoType,
    private: bool | None,
    revision: str | None,
    token: str | bool | None,
    commit_message: str,
    create_pr: bool,
) -> CommitInfo:
    """Uploads a catalogue's table as the `item_catalog.arrow` of a repository, which is created where needed."""
    api = HfApi(token=token)
    repo_id = api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True).repo_id
    with tempfile.TemporaryDirectory() as folder:
        write_table(table, Path(folder, CATALOG_FILE))
        return api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            repo_type=repo_type,
            revision=revision,
            commit_message=commit_message,
            create_pr=create_pr,
        )
