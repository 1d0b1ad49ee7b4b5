"""The text of files that a catalogue is read from: compressed or not, in UTF-8 or another encoding."""

from __future__ import annotations

import bz2
import codecs
import errno
import gzip
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .arrow import arrow

FilePath = str | os.PathLike[str]

# What a file begins with, the longer marks first: UTF-32's begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHER_FILES = (
    (b"PAR1", "a parquet file; read it with from_parquet"),
    (b"ARROW1", "an Arrow file; a saved catalogue is opened by from_pretrained or open_file"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook; save it as CSV"),
    (b"SQLite format 3", "an SQLite database; export the table as CSV"),
    (b"\x89HDF", "an HDF5 file; save its table as parquet or CSV"),
    (b"<!doctype html", "a web page, which servers send instead of a missing file; download the file again"),
    (b"<html", "a web page, which servers send instead of a missing file; download the file again"),
    (b"version https://git-lfs", "a pointer of Git LFS; fetch the file itself with `git lfs pull`"),
)


def existing_file(path: FilePath) -> Path:
    """The path of a file.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{'A folder, not a file:' if Path(path).is_dir() else 'No file'} {os.fspath(path)}.")
    return Path(path)


def text_of(path: FilePath, encoding: str | None = None) -> str:
    """The text of a whole file, without a byte-order mark.

    Args:
        path: the file, plain or compressed (gzip, bzip2, xz, zstd, a zip archive of one file), whatever its name.
        encoding: by default UTF-8, or what a byte-order mark says.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, no text file, or written in another encoding (the message names line and byte),
            or Python has no such encoding.
    """
    with _opened(path) as file:
        content = file.read()
    name = _encoding(content[:4], encoding)
    try:
        return content.decode(name)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _wrong_encoding(path, line, error.start - content.rfind(b"\n", 0, error.start), error, name) from None


def lines_of(path: FilePath, encoding: str | None = None) -> Iterator[tuple[int, str]]:
    """(number from 1, text) of the lines of a file; arguments and errors as in [`text_of`]."""
    with _opened(path) as file:
        name = _encoding(file.peek(4)[:4], encoding)
        if name not in ("utf-8", "utf-8-sig"):
            yield from enumerate(text_of(path, encoding).splitlines(keepends=True), start=1)
            return
        for number, line in enumerate(file, start=1):
            try:
                yield number, line.decode(name if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise _wrong_encoding(path, number, error.start + 1, error, name) from None


def _encoding(start: bytes, asked: str | None) -> str:
    marked = next((name for mark, name in _MARKS if start.startswith(mark)), None)
    if asked is None:
        return marked or "utf-8"
    try:
        name = codecs.lookup(asked).name
        "".encode(name)  # some codecs are not for text
    except (LookupError, TypeError) as error:
        raise ValueError(f"Python has no text encoding {asked!r}. Usual ones: 'utf-8', 'latin-1', 'utf-16'.") from error
    return marked if marked == "utf-8-sig" and name == "utf-8" else name


def _wrong_encoding(path: FilePath, line: int, byte: int, error: UnicodeDecodeError, name: str) -> ValueError:
    found = error.object[error.start : error.start + 1].hex()
    usual = "utf-16-le', 'utf-16-be" if b"\0" in error.object[:1000] else "latin-1', 'cp1252"
    return ValueError(
        f"{os.fspath(path)}: byte {byte} of line {line} is 0x{found}, which is not {name.removesuffix('-sig')}. Name "
        f"the encoding that the file is written in with encoding=; usual ones: '{usual}'."
    )


@contextmanager
def _opened(path: FilePath) -> Iterator[io.BufferedReader]:
    """The file's content, decompressed."""
    path = existing_file(path)
    with path.open("rb") as raw:
        try:
            with _decompressed(raw) as file:
                _refuse_other_files(path, file.peek(512)[:512])
                yield file
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, zipfile.BadZipFile) as error:
            raise _damaged(path, raw, error) from error
        # What bz2 and Arrow raise for damaged data has no number, as errors of the disk have; EINVAL comes from a zip
        # archive that says that it begins before the file does.
        except OSError as error:
            if error.errno not in (None, errno.EINVAL):
                raise
            raise _damaged(path, raw, error) from error


def _damaged(path: Path, raw: io.BufferedReader, error: Exception) -> ValueError:
    near = "" if raw.closed else f", near byte {raw.tell():,}"
    return ValueError(
        f"{path}: the compressed data are damaged or end too early{near} ({error}). Fetch the file again."
    )


def _decompressed(raw: io.BufferedReader) -> io.BufferedReader:
    """A reader of a file's content. Its first bytes decide, because names are often wrong."""
    start = raw.peek(8)[:8]
    inner: Any = raw
    if start.startswith(b"\x1f\x8b"):
        inner = gzip.GzipFile(fileobj=raw)
    elif start.startswith(b"BZh") and start[4:8] in (b"1AY&", b"\x17rE8"):
        inner = bz2.BZ2File(raw)
    elif start.startswith(b"\xfd7zXZ\0"):
        inner = lzma.LZMAFile(raw)  # noqa: SIM115 - closed by whoever reads it
    elif start.startswith(b"\x28\xb5\x2f\xfd"):
        inner = arrow().CompressedInputStream(arrow().PythonFile(raw, mode="r"), "zstd")
    elif start.startswith(b"PK\x03\x04"):
        inner = _only_member(zipfile.ZipFile(raw), raw.name)
    return raw if inner is raw else io.BufferedReader(inner)


def _only_member(archive: zipfile.ZipFile, path: str) -> IO[bytes]:
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if "[Content_Types].xml" in names:
        raise ValueError(f"{path} is an Excel workbook or another office document. Save the table as CSV.")
    if len(names) != 1:
        raise ValueError(f"{path} is a zip archive of {len(names)} files ({', '.join(names[:5])}); expected one.")
    try:
        return archive.open(names[0])
    except (RuntimeError, NotImplementedError) as error:  # a password, an unusual method
        raise ValueError(f"{path}: {error}. Unzip it first.") from error


def _refuse_other_files(path: Path, start: bytes) -> None:
    beginning = start.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    for mark, kind in _OTHER_FILES:
        if start.startswith(mark) or beginning.startswith(mark):
            raise ValueError(f"{path} is {kind}.")
