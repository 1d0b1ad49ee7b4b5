"""Opens the files of all readers: text in blocks of whole lines, several files by a pattern, parquet."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pa_parquet
from tqdm.auto import tqdm

from ...storage import compression, encodings
from ...storage.file_kinds import DamagedBytesError, UnreadableFileError
from ...storage.text_pieces import text_pieces
from .source import DamagedFileError, DataError, MissingFileError

BLOCK_BYTES = 16 << 20
# A longer line is held to be no line at all: a file without line breaks, or one that inflates without end.
MAX_LINE_BYTES = 512 << 20

FilePaths: TypeAlias = "str | Path | Sequence[str | Path]"


@contextmanager
def _data_errors() -> Iterator[None]:
    """Errors of `storage` about a file become those of readers."""
    try:
        yield
    except DamagedBytesError as error:
        raise DamagedFileError(str(error)) from error
    except UnreadableFileError as error:
        raise DataError(str(error)) from error


# With the errors of readers.
decoded_block = _data_errors()(encodings.decoded_block)
zip_member = _data_errors()(compression.zip_member)


def existing_file(path: str | Path) -> Path:
    """`path` as a `Path`.

    Raises:
        MissingFileError: if the file does not exist; the message lists what its folder holds.
    """
    path = Path(path)
    if path.is_dir():
        raise MissingFileError(
            f"{path} is a folder; expected a file. A pattern such as {path / '*.csv'} names its files."
        )
    if not path.is_file():
        near = sorted(p.name for p in path.parent.iterdir() if p.is_file())[:8] if path.parent.is_dir() else None
        there = "its folder does not exist" if near is None else f"its folder holds: {', '.join(near) or 'no files'}"
        raise MissingFileError(f"No file {path} ({there}).")
    return path


def existing_files(paths: FilePaths) -> list[Path]:
    """The files of a path, a pattern such as "part-*.parquet" (sorted by name), or a list of both (in its order).

    Raises:
        MissingFileError: if a file does not exist, or a pattern names none.
        DataError: if a file occurs twice.
    """
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if not given:
        raise DataError("The list of files is empty; expected at least one file.")
    files = [file for path in given for file in _matching_files(path)]
    seen: set[Path] = set()
    for file in files:
        if file.resolve() in seen:
            raise DataError(f"{file} is given twice, so that its rows would count twice. Name every file once.")
        seen.add(file.resolve())
    return files


def _matching_files(path: str | Path) -> list[Path]:
    if Path(path).exists() or not glob.has_magic(str(path)):
        return [existing_file(path)]
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
    if not found:
        raise MissingFileError(f"No file matches {path}.")
    return found


def line_blocks(
    path: Path, block_bytes: int = BLOCK_BYTES, *, encoding: str | None = None
) -> Iterator[tuple[int, bytes]]:
    """The content of a plain or compressed text file in blocks of whole lines, as UTF-8.

    Compression is recognised by the first bytes (`text_pieces.text_pieces`). A second thread inflates the next block
    (the decompressors release the interpreter's lock) while the caller parses this one. In a file whose lines end in
    carriage returns alone, these become line breaks.

    Args:
        path: an existing file.
        block_bytes: approximate size of a block, inflated.
        encoding: the file's encoding; by default UTF-8, or what a byte order mark says. UTF-8 is not checked here.

    Yields:
        (number of the block's first line, from 1; the block).

    Raises:
        DamagedFileError: if the compressed data are corrupt or end too early, the file is no text file, or it is not
            written in the encoding.
        DataError: if Python knows no such encoding.
    """
    pieces = text_pieces(path, block_bytes, encoding)
    line_number = 1
    rest: list[bytes] = []
    with (
        _data_errors(),
        ThreadPoolExecutor(max_workers=1) as ahead,
        tqdm(total=path.stat().st_size, desc=path.name, unit="B", unit_scale=True, delay=2) as progress,
    ):
        following = ahead.submit(next, pieces, None)
        while (piece := following.result()) is not None:
            following = ahead.submit(next, pieces, None)
            data, position = piece
            progress.update(position - progress.n)
            end = data.rfind(b"\n") + 1
            if not end:
                rest.append(data)
                _check_line_length(path, line_number, rest)
                continue
            block = b"".join([*rest, memoryview(data)[:end]])  # one copy instead of two
            rest = [data[end:]]
            yield line_number, block
            line_number += block.count(b"\n")
        if any(rest):
            yield line_number, b"".join(rest)


def _check_line_length(path: Path, line_number: int, parts: list[bytes]) -> None:
    if sum(map(len, parts)) > MAX_LINE_BYTES:
        raise DamagedFileError(
            f"{path}: line {line_number} is longer than {MAX_LINE_BYTES >> 20} MiB; expected lines of text."
        )


def is_utf8(path: Path) -> bool:
    """Whether the whole of a text file is valid UTF-8."""
    try:
        for _, block in line_blocks(path):
            block.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def open_parquet(path: Path) -> pa_parquet.ParquetFile:
    """An opened parquet file.

    Raises:
        DamagedFileError: if it is not a parquet file.
    """
    try:
        return pa_parquet.ParquetFile(path)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise DamagedFileError(f"{path} is not a readable parquet file ({error}).") from error
