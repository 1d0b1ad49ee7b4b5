"""Memory-mapped Arrow copies of a dataset's large parquet files, in the Hub client's cache of assets.

Datasets are shared as parquet, which the Hub shows, but every process has to decode parquet into its own memory. A
machine therefore keeps one decoded copy of a large file, and all processes map that copy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import cached_assets_path
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]
from transformers.utils import logging

logger = logging.get_logger(__name__)

SMALLEST_MAPPED = 8 << 20
"""Size in bytes from which a parquet file gets a copy; every process reads smaller ones for itself."""


def mapped_copy(parquet: Path, write: Callable[[Path], None]) -> Path | None:
    """The Arrow copy of a parquet file; it is written on first use and again when the file's size or time changes.

    Args:
        parquet: the file.
        write: writes the copy to the path that it is given, completely or not at all.

    Returns:
        the copy's path; `None` if the file is small, or if the cache cannot be written (which is logged).
    """
    parquet = parquet.resolve()
    status = parquet.stat()
    if status.st_size < SMALLEST_MAPPED:
        return None
    try:
        # Change the number in the namespace whenever the format of the copies changes, so that no other version opens
        # them.
        key = hashlib.blake2b(str(parquet).encode(), digest_size=12).hexdigest()
        folder = cached_assets_path("recformer_hf", namespace="mapped_files_1", subfolder=key)
        copy = folder / f"{status.st_size}-{status.st_mtime_ns}.arrow"
        if not copy.exists():
            with WeakFileLock(folder / "lock"):  # if several processes start at once, one of them writes
                if not copy.exists():
                    write(copy)
                    for outdated in folder.glob("*.arrow"):
                        if outdated != copy:
                            outdated.unlink(missing_ok=True)
    except OSError as error:
        logger.warning(f"{parquet} is read into memory: its memory-mapped copy cannot be written ({error}).")
        return None
    return copy


@contextmanager
def unless_damaged(copy: Path) -> Iterator[None]:
    """Around opening a copy: if it turns out to be damaged, it is removed, and the block ends without an error.

    The caller then reads the parquet file; the next process writes the copy again.
    """
    try:
        yield
    except (ValueError, TypeError, KeyError, OSError) as error:  # pyarrow's errors are of these kinds, too
        logger.warning(
            f"The memory-mapped copy {copy} is damaged ({error}); it is removed, and written again next time."
        )
        copy.unlink(missing_ok=True)
