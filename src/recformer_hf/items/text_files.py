"""The text of files that a catalogue is read from: compressed or not, in UTF-8 or another encoding."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

from ..storage.encodings import decoded_block
from ..storage.file_kinds import ARROW_FILE, OFFICE_DOCUMENT, OLD_WORKBOOK, PARQUET
from ..storage.text_pieces import text_pieces

FilePath = str | os.PathLike[str]

_PIECE_BYTES = 1 << 20
_ADVICE = {
    PARQUET: "Read it with from_parquet",
    ARROW_FILE: "A saved catalogue is opened by from_pretrained or open_file",
    OFFICE_DOCUMENT: "Save its table as CSV",
    OLD_WORKBOOK: "Save its table as CSV",
}


def existing_file(path: FilePath) -> Path:
    """The path of a file.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{'A folder, not a file:' if Path(path).is_dir() else 'No file'} {os.fspath(path)}.")
    return Path(path)


def text_of(path: FilePath, encoding: str | None = None) -> str:
    """The text of a whole file, without a byte order mark.

    Args:
        path: the file, plain or compressed (gzip, bzip2, xz, zstd, a zip archive of one file), whatever its name.
        encoding: by default UTF-8, or what a byte order mark says.

    Raises:
        FileNotFoundError: if there is no such file.
        UnreadableFileError: if it is damaged, no text file, or written in another encoding (the message names line and
            byte), or Python has no such encoding. It is a `ValueError`.
    """
    path = existing_file(path)
    content = b"".join(piece for piece, _ in text_pieces(path, _PIECE_BYTES, encoding, _ADVICE))
    return decoded_block(path, content, 1)


def lines_of(path: FilePath, encoding: str | None = None) -> Iterator[tuple[int, str]]:
    """(number from 1, text) of the lines of a file; arguments and errors as in [`text_of`]."""
    path = existing_file(path)
    number = 1
    for block in _whole_lines(path, encoding):
        # Only "\n" ends a line, not the other characters at which str.splitlines() cuts.
        for line in io.StringIO(decoded_block(path, block, number), newline="\n"):
            yield number, line
            number += 1


def _whole_lines(path: Path, encoding: str | None) -> Iterator[bytes]:
    """The content of a file in blocks that end with a line."""
    rest: list[bytes] = []
    for piece, _ in text_pieces(path, _PIECE_BYTES, encoding, _ADVICE):
        end = piece.rfind(b"\n") + 1
        if end:
            yield b"".join([*rest, piece[:end]])
            rest = []
        rest.append(piece[end:])
    yield b"".join(rest)
