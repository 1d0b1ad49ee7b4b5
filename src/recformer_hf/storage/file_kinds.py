"""Recognises files that are not text although they are read as text, such as a parquet file called .csv."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

# Enough for every mark below.
START_BYTES = 512
PARQUET = "a parquet file"
ARROW_FILE = "an Arrow IPC (Feather) file"
OLD_WORKBOOK = "an old Excel workbook (.xls)"
OFFICE_DOCUMENT = "an Excel workbook or another office document"
# What a file starts with, what it then is, and what to do about it.
_MAGICS: list[tuple[bytes, str, str]] = [
    (b"PAR1\x15", PARQUET, "Give it the ending .parquet"),
    (b"ARROW1\0\0", ARROW_FILE, "Save it as parquet"),
    (b"Obj\x01", "an Avro file", "Save it as parquet"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLD_WORKBOOK, "Save it as .xlsx or CSV"),
    (b"SQLite format 3\0", "an SQLite database", "Export its tables as CSV"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "Save its tables as parquet or CSV"),
    (b"\x93NUMPY", "a NumPy array", "Save it as a table"),
    (b"\x80\x02", "a Python pickle", "Save it as parquet or CSV"),
    (b"\x80\x03", "a Python pickle", "Save it as parquet or CSV"),
    (b"\x80\x04\x95", "a Python pickle", "Save it as parquet or CSV"),
    (b"\x80\x05\x95", "a Python pickle", "Save it as parquet or CSV"),
    (b"%PDF-", "a PDF document", "Save its table as CSV"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it first"),
    (b"Rar!\x1a\x07", "a RAR archive", "Unpack it first"),
    (b"\x04\x22\x4d\x18", "an LZ4 file", "Unpack it first, or compress it with gzip, bzip2, xz or zstd"),
    (b"\x1f\x9d", "a file of the old `compress` program", "Unpack it first"),
    (b"\x1f\x8b", "compressed twice", "Unpack it once"),
    (
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer instead of the file itself",
        "Fetch it with `git lfs pull`",
    ),
]
_HTML_STARTS = (b"<!doctype html", b"<html", b"<?xml")
_WEB_PAGE = "a web page (HTML or XML), which a server often sends instead of a missing file"
_TAR_ARCHIVE = "a tar archive"
_TAR_PLACE = 257
_ADVICE = {kind: advice for _, kind, advice in _MAGICS} | {
    OFFICE_DOCUMENT: "Give it the ending .xlsx, or save it as CSV",
    _WEB_PAGE: "Download the file again",
    _TAR_ARCHIVE: "Unpack it first",
}


class UnreadableFileError(ValueError):
    """A file cannot be read as text in the way in which it was asked for."""


class DamagedBytesError(UnreadableFileError):
    """The bytes of a file are damaged, those of another kind of file, or written in another encoding."""


def refuse_other_kinds(path: Path, start: bytes, advice: Mapping[str, str] | None = None) -> None:
    """Check that the first bytes of a file, inflated, can be those of a text file.

    Args:
        path: for the message.
        start: the first `START_BYTES` bytes, or all if there are fewer.
        advice: what to do about a kind of file (`PARQUET`, ...), instead of the usual advice.

    Raises:
        DamagedBytesError: if the file is of another kind; the message names it.
    """
    kind = next((kind for magic, kind, _ in _MAGICS if start.startswith(magic)), None)
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_HTML_STARTS):
        kind = _WEB_PAGE
    elif start[_TAR_PLACE : _TAR_PLACE + 5] == b"ustar":
        kind = _TAR_ARCHIVE
    if kind is not None:
        raise DamagedBytesError(is_no_text(path, kind, advice))


def is_no_text(path: Path, kind: str, advice: Mapping[str, str] | None = None) -> str:
    """What an error says about a file of another kind."""
    return f"{path} is not a text file but {kind}. {(advice or {}).get(kind) or _ADVICE[kind]}."
