"""The content of any text file, plain or compressed, as UTF-8 with line breaks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from .compression import decompressed
from .encodings import as_utf8, check_encoding
from .file_kinds import START_BYTES, refuse_other_kinds

_FIRST_LINE_END = re.compile(rb"\r\n|\r|\n")


def text_pieces(
    path: Path, piece_bytes: int, encoding: str | None = None, advice: Mapping[str, str] | None = None
) -> Iterator[tuple[bytes, int]]:
    """The content of a text file in pieces, as UTF-8 without a byte order mark.

    Compression is recognised by the first bytes. In a file whose lines end in carriage returns alone, these become line
    breaks. A piece need not end at the end of a line.

    Args:
        path: an existing file.
        piece_bytes: approximate size of a piece, inflated; at least 4.
        encoding: the file's encoding; by default UTF-8, or what a byte order mark says. UTF-8 is not checked here, see
            `encodings.decoded_block`.
        advice: as in `file_kinds.refuse_other_kinds`.

    Yields:
        (the bytes; the position in the file after them).

    Raises:
        DamagedBytesError: if the compressed data are corrupt or end too early, the file is no text file, or it is not
            written in the encoding.
        UnreadableFileError: if Python knows no such encoding, or a zip archive does not hold one readable file.
    """
    pieces = as_utf8(path, _checked_pieces(path, piece_bytes, advice), check_encoding(encoding))
    yield from _with_line_breaks(pieces)


def _checked_pieces(path: Path, piece_bytes: int, advice: Mapping[str, str] | None) -> Iterator[tuple[bytes, int]]:
    """(bytes, position) of a plain or compressed file, after a check of its first bytes."""
    pieces = decompressed(path, piece_bytes, advice)
    start, position = b"", 0
    while len(start) < START_BYTES and (piece := next(pieces, None)) is not None:
        start, position = start + piece[0], piece[1]
    refuse_other_kinds(path, start[:START_BYTES], advice)
    for begin in range(0, len(start), piece_bytes):
        yield start[begin : begin + piece_bytes], position
    yield from pieces


def _with_line_breaks(pieces: Iterator[tuple[bytes, int]]) -> Iterator[tuple[bytes, int]]:
    """The same pieces; if the file's first line ends in a carriage return alone, all of them become line breaks."""
    position, held = 0, b""
    for data, position in pieces:
        data, held = (held + data if held else data), b""
        if data.endswith(b"\r"):  # the next piece decides whether it stands alone
            data, held = data[:-1], b"\r"
        first = _FIRST_LINE_END.search(data)
        if first is None:
            yield data, position
            continue
        if first.group() == b"\r":
            yield _as_line_breaks(data), position
            break
        yield (data + held if held else data), position
        yield from pieces
        return
    for data, position in pieces:
        data, held = (held + data if held else data), b""
        if data.endswith(b"\r"):
            data, held = data[:-1], b"\r"
        yield _as_line_breaks(data), position
    if held:
        yield b"\n", position


def _as_line_breaks(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
