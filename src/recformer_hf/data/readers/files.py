"""Opens the files of all readers: everything that depends on a file's compression or encoding is here."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pa_parquet
from tqdm.auto import tqdm

from .source import DamagedFileError, MissingFileError

BLOCK_BYTES = 16 << 20
# Enough for any header line.
_HEADER_BYTES = 1 << 16
_GZIP_MAGIC = b"\x1f\x8b"


def existing_file(path: str | Path) -> Path:
    """`path` as a `Path`.

    Raises:
        MissingFileError: if the file does not exist; the message lists what its folder holds.
    """
    path = Path(path)
    if path.is_dir():
        raise MissingFileError(f"{path} is a folder; expected a file.")
    if not path.is_file():
        near = sorted(p.name for p in path.parent.iterdir() if p.is_file())[:8] if path.parent.is_dir() else None
        there = "its folder does not exist" if near is None else f"its folder holds: {', '.join(near) or 'no files'}"
        raise MissingFileError(f"No file {path} ({there}).")
    return path


def line_blocks(path: Path, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, bytes]]:
    """The content of a plain or gzipped file in blocks of whole lines.

    A gzipped file is recognised by its first bytes. It is never unpacked to disk and never whole in memory: a second
    thread inflates the next block (zlib releases the interpreter's lock) while the caller parses this one.

    Args:
        path: an existing file; gzip files may have several members.
        block_bytes: approximate size of a block, inflated.

    Yields:
        (number of the block's first line, from 1; the block).

    Raises:
        DamagedFileError: if the compressed data are corrupt or end too early.
    """
    pieces = _inflated(path, block_bytes)
    line_number, rest = 1, b""
    with (
        ThreadPoolExecutor(max_workers=1) as ahead,
        tqdm(total=path.stat().st_size, desc=path.name, unit="B", unit_scale=True, delay=2) as progress,
    ):
        following = ahead.submit(next, pieces, None)
        while (piece := following.result()) is not None:
            following = ahead.submit(next, pieces, None)
            data, position = piece
            progress.update(position - progress.n)
            data = rest + data
            end = data.rfind(b"\n") + 1
            block, rest = data[:end], data[end:]
            if block:
                yield line_number, block
                line_number += block.count(b"\n")
        if rest:
            yield line_number, rest


def _inflated(path: Path, block_bytes: int) -> Iterator[tuple[bytes, int]]:
    """(inflated bytes, position in the file) of a plain or gzipped file."""
    with path.open("rb") as file:
        if file.peek(2)[:2] != _GZIP_MAGIC:
            while data := file.read(block_bytes):
                yield data, file.tell()
            return
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            while data := file.read(4 << 20):
                while data:
                    if inflater.eof:
                        # Another member follows, unless only zeros are left: some tools pad files with them.
                        if not data.strip(b"\0"):
                            break
                        inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
                    # The limit bounds memory: a few megabytes of gzip data may inflate to gigabytes.
                    yield inflater.decompress(data, block_bytes), file.tell()
                    data = inflater.unconsumed_tail or inflater.unused_data
        except zlib.error as error:
            raise DamagedFileError(
                f"{path}: the gzip data are corrupt after about {file.tell():,} bytes ({error}). Download the file "
                "again."
            ) from error
        if not inflater.eof:
            raise DamagedFileError(
                f"{path}: the gzip data end too early, after {file.tell():,} bytes. Download the file again."
            )


def decompressed_stream(path: Path) -> pa.NativeFile:
    """A file as pyarrow streams it, decompressed if its name ends in .gz, .bz2 or .zst."""
    return pa.input_stream(str(path))


def header_line(path: Path, encoding: str) -> str:
    """The first line of a plain or compressed file, without its line break or a byte order mark.

    A character that is wrong in this encoding is replaced, because only the header is read here; the reader of the rows
    reports it.
    """
    with decompressed_stream(path) as stream:
        start: bytes = stream.read(_HEADER_BYTES)
    codec = "utf-8-sig" if encoding == "utf8" else "latin-1"
    return start.decode(codec, "replace").split("\n", 1)[0].rstrip("\r")


def numbered_lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """(line number from 1, line without its line break) of all lines of a small plain file that are not blank."""
    for number, line in enumerate(path.read_bytes().decode(encoding).split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r")


def open_parquet(path: Path) -> pa_parquet.ParquetFile:
    """An opened parquet file.

    Raises:
        DamagedFileError: if it is not a parquet file.
    """
    try:
        return pa_parquet.ParquetFile(path)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise DamagedFileError(f"{path} is not a readable parquet file ({error}).") from error
