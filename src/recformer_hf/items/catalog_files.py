"""The file of an `ItemCatalog`: written whole or not at all, memory-mapped, downloaded from and uploaded to the Hub."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Literal

from huggingface_hub import CommitInfo, HfApi, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, RepositoryNotFoundError

from ..storage.atomic import atomic_file
from .arrow import CHUNK_ROWS, Table, arrow, schema

CATALOG_FILE = "item_catalog.arrow"
"""Name of a saved catalogue, beside a model's files or alone."""

RepoType = Literal["model", "dataset"]


def write_table(table: Table, path: str | os.PathLike[str]) -> None:
    """Writes a catalogue's table as an uncompressed Arrow IPC file."""
    pa = arrow()
    with (
        atomic_file(path) as temporary,
        pa.OSFile(os.fspath(temporary), "wb") as sink,
        pa.ipc.new_file(sink, schema()) as writer,
    ):
        writer.write_table(table, max_chunksize=CHUNK_ROWS)


def map_table(path: Path) -> Table:
    """Maps an Arrow IPC file into memory.

    Raises:
        ValueError: if the file is damaged or not Arrow.
    """
    pa = arrow()
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        table.validate()  # lengths and types; it does not read the texts
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} is not a whole Arrow file ({error}). Save or download it again.") from error
    return table


def saved_file(folder: str | os.PathLike[str], subfolder: str) -> Path:
    """Path of the catalogue in a local folder.

    Raises:
        FileNotFoundError: if there is none.
    """
    path = Path(folder, subfolder, CATALOG_FILE)
    if not path.is_file():
        raise FileNotFoundError(f"No {CATALOG_FILE} in {path.parent}. catalog.save_pretrained(folder) writes it.")
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
) -> str:
    """Downloads the catalogue of a repository; arguments as in `huggingface_hub.hf_hub_download`.

    Returns:
        The file's path in the cache.

    Raises:
        FileNotFoundError: if there is no such repository, or it has no catalogue.
    """
    try:
        path: str = hf_hub_download(
            repo_id,
            CATALOG_FILE,
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
            f"{'/'.join(filter(None, [subfolder, CATALOG_FILE]))}: {error}"
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
