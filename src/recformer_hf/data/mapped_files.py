"""Large parquet files of a dataset as memory-mapped Arrow files, in the Hub's cache of assets.

Parquet is what the Hub shows and what a folder is shared as; it has to be decoded into every process's own memory. Of a
large file a decoded copy is therefore kept once a machine, and all processes map that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import cached_assets_path
from huggingface_hub.utils import WeakFileLock
from transformers.utils import logging

logger = logging.get_logger(__name__)

SMALLEST_MAPPED = 8 << 20
"""Bytes of a parquet file below which every process simply reads it."""


def mapped_copy(parquet: Path, write: Callable[[Path], None]) -> Path | None:
    """The Arrow copy of a parquet file, written on first use and after every change of the file (its size or time).

    Args:
        parquet: the file.
        write: writes the copy to the path that it is given, whole or not at all.

    Returns:
        The copy's path; `None` if the file is small, or the cache cannot be written (logged).
    """
    parquet = parquet.resolve()
    status = parquet.stat()
    if status.st_size < SMALLEST_MAPPED:
        return None
    try:
        key = hashlib.blake2b(str(parquet).encode(), digest_size=12).hexdigest()
        folder = cached_assets_path("recformer_hf", namespace="mapped_files_1", subfolder=key)
        copy = folder / f"{status.st_size}-{status.st_mtime_ns}.arrow"
        if not copy.exists():
            with WeakFileLock(folder / "lock"):  # of the processes that start at once, one writes
                if not copy.exists():
                    write(copy)
                    for outdated in folder.glob("*.arrow"):
                        if outdated != copy:
                            outdated.unlink(missing_ok=True)
    except OSError as error:
        logger.warning(f"{parquet} is read into memory: its memory-mapped copy cannot be written ({error}).")
        return None
    return copy
