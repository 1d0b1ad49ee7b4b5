"""Decompresses files of any known compression, which is recognised by their first bytes and not by their names."""

from __future__ import annotations

import bz2
import errno
import importlib
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from .file_kinds import OFFICE_DOCUMENT, DamagedBytesError, UnreadableFileError, is_no_text

_READ_BYTES = 4 << 20
# Enough for every file that `xz` writes (its largest preset needs 65 MB), and a bound for one that asks for gigabytes.
_XZ_MEMORY_BYTES = 1 << 30
# What a file starts with. (In a bzip2 file, its block size and a mark follow "BZh", which alone might be text. Four
# bytes of the mark are enough, so a file that was cut within it is not read as text.)
_GZIP_MAGIC = re.compile(rb"\x1f\x8b")
_BZ2_MAGIC = re.compile(rb"BZh[1-9](1AY&|\x17rE8)")
_XZ_MAGIC = re.compile(rb"\xfd7zXZ\0")
_ZSTD_MAGIC = re.compile(rb"\x28\xb5\x2f\xfd")
_ZIP_MAGIC = re.compile(rb"PK(\x03\x04|\x05\x06)")
# What a spreadsheet, which is a zip archive too, has among its members.
_OFFICE_MEMBER = "[Content_Types].xml"


class _Decompressor(Protocol):
    """The interface that the standard library's bz2 and lzma decompressors share."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _GzipDecompressor:
    """zlib's decompressor with that interface."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._is_full = False

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def needs_input(self) -> bool:
        return not self._is_full and not self.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        inflated = self._inflater.decompress(self._inflater.unconsumed_tail + data, max_length)
        self._is_full = len(inflated) == max_length  # zlib may hold back more than its unconsumed input
        return inflated


_DECOMPRESSORS: list[tuple[re.Pattern[bytes], str, Callable[[], _Decompressor]]] = [
    (_GZIP_MAGIC, "gzip", _GzipDecompressor),
    (_BZ2_MAGIC, "bzip2", bz2.BZ2Decompressor),
    (_XZ_MAGIC, "xz", lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES)),
]


class _EndsTooEarlyError(Exception):
    """The compressed data end before their end mark."""


def decompressed(path: Path, piece_bytes: int, advice: Mapping[str, str] | None = None) -> Iterator[tuple[bytes, int]]:
    """The content of a plain, gzip, bzip2, xz, zstd or zip file in pieces.

    It is never unpacked to disk and never whole in memory.

    Args:
        path: an existing file; gzip, bzip2, xz and zstd files may have several members, a zip archive has one.
        piece_bytes: the largest size of a piece, so that a small file that inflates to gigabytes costs no memory.
        advice: as in `file_kinds.refuse_other_kinds`.

    Yields:
        (the bytes; the position in the file after them).

    Raises:
        DamagedBytesError: if the compressed data are corrupt or end too early.
        UnreadableFileError: if a zip archive is a spreadsheet, holds more or less than one file, or needs a password.
        ImportError: if the file is compressed by zstd and pyarrow is not installed.
    """
    with path.open("rb") as file:
        magic = file.peek(16)
        found = next((entry for entry in _DECOMPRESSORS if entry[0].match(magic)), None)
        pieces = _plain(file, piece_bytes)
        compression: str | None = None
        if found is not None:
            _, compression, new_decompressor = found
            pieces = _members(file, new_decompressor, piece_bytes)
        elif _ZSTD_MAGIC.match(magic):
            pieces, compression = _zstd(path, piece_bytes), "zstd"
        elif _ZIP_MAGIC.match(magic):
            pieces, compression = _zip(path, piece_bytes, advice), "zip"
        position = 0
        try:
            for data, position in pieces:
                yield data, position
        except (_EndsTooEarlyError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, OSError) as error:
            # What decompressors raise has no number, as errors of the disk have; EINVAL comes from a zip archive that
            # says that it begins before the file does.
            if compression is None or getattr(error, "errno", None) not in (None, errno.EINVAL):
                raise
            early = isinstance(error, (_EndsTooEarlyError, EOFError)) or "Truncated" in str(error)  # pyarrow's word
            what = "end too early, after" if early else "are corrupt after about"
            reason = "" if early else f" ({error})"
            raise DamagedBytesError(
                f"{path}: the {compression} data {what} {position:,} bytes{reason}. Download the file again."
            ) from error


def zip_member(path: Path, advice: Mapping[str, str] | None = None) -> zipfile.ZipInfo:
    """The only file in a zip archive.

    Args:
        path: an existing file.
        advice: as in `file_kinds.refuse_other_kinds`.

    Raises:
        DamagedBytesError: if the archive is damaged.
        UnreadableFileError: if it is a spreadsheet, holds more or less than one file, or needs a password.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise DamagedBytesError(f"{path}: the zip archive is damaged ({error}). Download the file again.") from error
    names = [member.filename for member in members]
    if _OFFICE_MEMBER in names:
        raise UnreadableFileError(is_no_text(path, OFFICE_DOCUMENT, advice))
    # macOS adds a shadow of every file.
    members = [member for member in members if not member.filename.startswith("__MACOSX/")]
    if len(members) != 1:
        listed = ", ".join(member.filename for member in members[:8]) or "nothing"
        raise UnreadableFileError(
            f"{path} is a zip archive of {len(members)} files ({listed}); expected one. Unzip it first."
        )
    if members[0].flag_bits & 1:
        raise UnreadableFileError(f"{path} is a zip archive with a password. Unzip it first.")
    return members[0]


def _plain(file: BinaryIO, piece_bytes: int) -> Iterator[tuple[bytes, int]]:
    while data := file.read(piece_bytes):
        yield data, file.tell()


def _members(
    file: BinaryIO, new_decompressor: Callable[[], _Decompressor], piece_bytes: int
) -> Iterator[tuple[bytes, int]]:
    decompressor = new_decompressor()
    while True:
        data = b""
        if decompressor.eof:
            # Another member follows, unless only zeros are left: some tools pad files with them.
            data = decompressor.unused_data.lstrip(b"\0")
            while not data and (more := file.read(_READ_BYTES)):
                data = more.lstrip(b"\0")
            if not data:
                return
            decompressor = new_decompressor()
        elif decompressor.needs_input:
            data = file.read(_READ_BYTES)
            if not data:
                raise _EndsTooEarlyError
        yield decompressor.decompress(data, piece_bytes), file.tell()


def _zstd(path: Path, piece_bytes: int) -> Iterator[tuple[bytes, int]]:
    pa = _pyarrow(path)
    with pa.OSFile(str(path)) as raw, pa.CompressedInputStream(raw, "zstd") as stream:
        while data := stream.read(piece_bytes):
            yield data, raw.tell()


def _pyarrow(path: Path) -> Any:
    # Not by an import at the top: this module travels with checkpoints, which load where pyarrow is not installed.
    try:
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise ImportError(
            f"{path} is compressed by zstd, which needs pyarrow ({error}). Install it: `pip install pyarrow`."
        ) from error


def _zip(path: Path, piece_bytes: int, advice: Mapping[str, str] | None) -> Iterator[tuple[bytes, int]]:
    member = zip_member(path, advice)
    with zipfile.ZipFile(path) as archive:
        try:
            stream = archive.open(member)
        except NotImplementedError as error:
            raise UnreadableFileError(f"{path}: {error}. Unzip it first.") from error
        with stream:
            done = 0
            while data := stream.read(piece_bytes):
                done += len(data)
                yield data, member.header_offset + member.compress_size * done // max(member.file_size, 1)
