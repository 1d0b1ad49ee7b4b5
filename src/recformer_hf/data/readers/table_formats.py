"""The format of a table's file: what its extension says, and what the caller says about delimited text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from .delimited import CSV, RECBOLE, TSV, Dialect, has_columns
from .files import zip_member
from .source import DataError

TableFormat = Literal["delimited", "parquet", "jsonl", "excel"]
_FORMATS: dict[str, tuple[TableFormat, Dialect | None]] = {
    ".csv": ("delimited", CSV),
    ".tsv": ("delimited", TSV),
    ".inter": ("delimited", RECBOLE),
    ".item": ("delimited", RECBOLE),
    ".parquet": ("parquet", None),
    ".jsonl": ("jsonl", None),
    ".ndjson": ("jsonl", None),
    ".json": ("jsonl", None),
    ".xlsx": ("excel", None),
}
_COMPRESSED = (".gz", ".bz2", ".zst", ".xz", ".zip")


@dataclass(frozen=True)
class TextOptions:
    """What a caller says about delimited files.

    Args:
        delimiter: the text between two fields; None: what the extension says.
        encoding: the files' encoding; None: UTF-8, or what a byte order mark says.
        quote: the quoting character, or False for none; None: what the extension says.
    """

    delimiter: str | None = None
    encoding: str | None = None
    quote: str | Literal[False] | None = None

    def check_effect(self, paths: Sequence[Path]) -> None:
        """Refuse options that would do nothing, because no file is delimited text.

        Raises:
            DataError: if there are such options.
        """
        given = [name for name, value in vars(self).items() if value is not None]
        if given and all(table_format(path, self) != "delimited" for path in paths):
            raise DataError(f"{', '.join(given)} would have no effect: none of the files is delimited text.")


def table_format(path: Path, options: TextOptions | None = None) -> TableFormat:
    """The format that belongs to a file's extension; any other extension is delimited text if `options` say how.

    Raises:
        DataError: if the extension is unknown.
    """
    ending = _ending(path)
    if ending in _FORMATS:
        return _FORMATS[ending][0]
    if options is not None and options.delimiter is not None:
        return "delimited"
    raise DataError(
        f"{path.name} has an unknown extension; expected one of {', '.join(_FORMATS)} (text formats: perhaps with "
        f"{', '.join(_COMPRESSED)}). If it is delimited text, say so with delimiter=','."
    )


def table_dialect(path: Path, options: TextOptions, names: Sequence[str] | None, wanted: Sequence[str]) -> Dialect:
    """How a delimited file is written.

    A file whose header has the wanted columns only with the delimiter of its extension, not with the caller's, is read
    with that one: of two files, often one is written in another way.

    Args:
        path: an existing file.
        options: what the caller says.
        names: the file's columns if it has no header line.
        wanted: the columns to read.
    """
    usual = _FORMATS.get(_ending(path), ("delimited", CSV))[1] or CSV
    usual = replace(usual, encoding=options.encoding, names=names)
    if options.quote is not None:
        usual = replace(usual, quote=options.quote)
    if options.delimiter in (None, usual.delimiter):
        return usual
    chosen = replace(usual, delimiter=options.delimiter)
    if names is None and not has_columns(path, chosen, wanted) and has_columns(path, usual, wanted):
        return usual
    return chosen


def _ending(path: Path) -> str:
    """The extension of the file's format, without that of its compression."""
    endings = [ending.lower() for ending in path.suffixes if ending.lower() not in _COMPRESSED]
    if endings and endings[-1] in _FORMATS:
        return endings[-1]
    if path.suffix.lower() == ".zip":
        return Path(zip_member(path).filename).suffix.lower()
    return endings[-1] if endings else ""
