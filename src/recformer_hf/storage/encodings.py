"""Turns a file's bytes into UTF-8, and names the byte that another encoding would explain."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from .file_kinds import DamagedBytesError, UnreadableFileError

# The marks that name an encoding, the longer ones first: UTF-32's begins with UTF-16's.
_MARKS = [
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]


def check_encoding(encoding: str | None) -> str | None:
    """The standard name of an encoding; None stands for UTF-8, or what the file's byte order mark says.

    Raises:
        UnreadableFileError: if Python knows no text encoding of this name.
    """
    if encoding is None:
        return None
    try:
        name = codecs.lookup(encoding).name
        "".encode(name)
        return name
    except (LookupError, TypeError, ValueError) as error:
        raise UnreadableFileError(
            f"encoding is {encoding!r}, which Python does not know. Usual ones are 'utf-8', 'latin-1', 'cp1252', "
            "'utf-16', 'gb18030' and 'shift_jis'."
        ) from error


def as_utf8(path: Path, pieces: Iterator[tuple[bytes, int]], encoding: str | None) -> Iterator[tuple[bytes, int]]:
    """The pieces of a file in UTF-8, without a byte order mark.

    Bytes of a UTF-8 file are passed on unchecked, because readers differ in what they do with a wrong one
    (`decoded_block`).

    Args:
        path: for messages.
        pieces: (bytes, position in the file); the first has at least four bytes, if there are as many.
        encoding: as `check_encoding` returns it.

    Raises:
        DamagedBytesError: if the file is not written in the encoding.
    """
    pieces = iter(pieces)
    first = next(pieces, None)
    if first is None:
        return
    mark, marked = next(((m, name) for m, name in _MARKS if first[0].startswith(m)), (b"", None))
    chosen = encoding or marked or "utf-8"
    if marked == "utf-8" and chosen not in ("utf-8", "utf-8-sig"):
        raise DamagedBytesError(
            f"{path} starts with the byte order mark of UTF-8, so that it is not {chosen}. Leave out the encoding."
        )
    if chosen in ("utf-8", "utf-8-sig"):
        yield first[0][len(mark) if marked == "utf-8" else 0 :], first[1]
        yield from pieces
        return
    decoder = codecs.getincrementaldecoder(chosen)()
    lines = 0
    advice = "Give the encoding that the file is written in."
    data: tuple[bytes, int] | None = first
    try:
        while data is not None:
            following = next(pieces, None)
            text = decoder.decode(data[0], final=following is None)
            lines += text.count("\n")
            yield text.encode("utf-8", "surrogatepass"), data[1]
            data = following
    except UnicodeDecodeError as error:
        bad = error.object[error.start : error.start + 1]
        lines += error.object[: error.start].decode(chosen, "replace").count("\n")
        raise DamagedBytesError(
            f"{path}: line {lines + 1} has the byte {_hex(bad)}, which is not {chosen} ({error.reason}). {advice}"
        ) from error
    except UnicodeError as error:  # of a whole file, such as UTF-16 without a mark
        raise DamagedBytesError(f"{path} is not {chosen} ({error}). {advice}") from error


def decoded_block(path: Path, block: bytes, first_line: int) -> str:
    """A block of whole lines as text.

    Args:
        path: for the message.
        block: the lines.
        first_line: the number of its first line, from 1.

    Raises:
        DamagedBytesError: if a byte is not UTF-8; the message names its line and place.
    """
    try:
        return block.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first_line + block.count(b"\n", 0, error.start)
        place = error.start - (block.rfind(b"\n", 0, error.start) + 1) + 1
        usual = "'latin-1' or 'cp1252' for files from Western Europe"
        if b"\0" in block[:1000]:
            usual = "'utf-16-le' or 'utf-16-be', because it has NUL characters"
        raise DamagedBytesError(
            f"{path}: byte {place} of line {line} is {_hex(block[error.start : error.start + 1])}, which is not UTF-8 "
            f"({error.reason}). If the file is written in another encoding, name it: encoding={usual}."
        ) from error


def _hex(byte: bytes) -> str:
    return f"0x{byte.hex()}"
