"""What every reader returns: a `Source` with its report of what was read; and the errors that readers raise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers.utils import logging

from ..polars_engine import pl

logger = logging.get_logger(__name__)

# One damaged line in a thousand. If more lines are damaged, the usual cause is the wrong file, the wrong layout, or a
# download that was cut off.
MAX_DAMAGED = 0.001
# An error shows this many damaged lines, which is enough to recognise the cause.
SHOWN_LINES = 5
# With this many damaged lines, and most lines damaged, reading stops early.
HOPELESS_LINES = 10_000


class DataError(ValueError):
    """Base class of the errors of readers, preparation and splits: the input does not give the requested dataset."""


class MissingFileError(DataError, FileNotFoundError):
    """A file that a reader needs does not exist."""


class MissingColumnsError(DataError):
    """A file lacks columns that its layout requires."""


class DamagedFileError(DataError):
    """Too many of a file's lines are unreadable, or the file ends too early."""


@dataclass
class FileReport:
    """What was read from one file.

    Args:
        name: the file's name without its folder. Reports go into dataset cards, which must not reveal local folders.
        max_damaged: share of the lines, 0 to 1, that may be damaged.
        lines: number of lines that were not blank.
        damaged: number of those lines that could not be used.
        examples: (line number from 1, what is wrong with the line) of the first few damaged lines.
    """

    name: str
    max_damaged: float = MAX_DAMAGED
    lines: int = 0
    damaged: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list)

    def add_lines(self, lines: int, damaged: Sequence[tuple[int, str]] = (), more_damaged: int = 0) -> None:
        """Count the lines of another part of the file, and stop if the file is hopeless.

        Args:
            lines: number of lines that are not blank, damaged ones included.
            damaged: (line number from 1, what is wrong with the line) of damaged lines.
            more_damaged: number of damaged lines that `damaged` does not list.

        Raises:
            DamagedFileError: if most lines so far are damaged, and there are many of them: the rest of such a file is
                no better.
        """
        self.lines += lines
        self.add_damaged(damaged, more_damaged)
        if self.damaged >= HOPELESS_LINES and self.damaged > self.lines / 2:
            self.check()

    def add_damaged(self, damaged: Sequence[tuple[int, str]], more_damaged: int = 0) -> None:
        """Count lines as damaged that were already counted as lines; the arguments are those of `add_lines`."""
        self.damaged += len(damaged) + more_damaged
        self.examples = sorted([*self.examples, *damaged])[:SHOWN_LINES]

    def check(self) -> None:
        """Log a warning if any line is damaged.

        Raises:
            DamagedFileError: if more than `max_damaged` of the lines are damaged.
        """
        if not self.damaged:
            return
        where = "; ".join(f"line {number}: {problem}" for number, problem in self.examples)
        more = f"; and {self.damaged - len(self.examples):,} more" if self.damaged > len(self.examples) else ""
        share = self.damaged / max(self.lines, 1)
        message = f"{self.name}: {self.damaged:,} of {self.lines:,} lines ({share:.3%}) are damaged ({where}{more})"
        if share > self.max_damaged:
            raise DamagedFileError(
                f"{message}. At most {self.max_damaged:.3%} may be damaged. Check that the file is complete and has "
                "this layout, or raise `max_damaged`."
            )
        logger.warning("%s. These lines were skipped.", message)


@dataclass
class ReadReport:
    """What a reader read: one `FileReport` for each file, and named counts such as `repeated_metadata`.

    `file_order` says that the files have no times: the `timestamp` of an interaction is its position among the rows.
    """

    reader: str
    files: list[FileReport] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    file_order: bool = False

    def add_file(self, name: str, max_damaged: float) -> FileReport:
        """The report of another file.

        Raises:
            DataError: if `max_damaged` is no share.
        """
        if not 0 <= max_damaged <= 1:
            raise DataError(f"max_damaged is {max_damaged}; expected a share from 0 to 1 (0.01 is 1 %).")
        self.files.append(FileReport(name, max_damaged))
        return self.files[-1]

    def count(self, name: str, number: int) -> None:
        """Add `number` to the count `name`."""
        self.counts[name] = self.counts.get(name, 0) + int(number)

    def describe(self) -> str:
        """The source in one line, for a dataset card."""
        return f"{self.reader} ({', '.join(file.name for file in self.files)})"

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values, for a dataset's `info` and card."""
        return {
            "reader": self.reader,
            "files": [
                {
                    "name": file.name,
                    "lines": file.lines,
                    "damaged_lines": file.damaged,
                    "first_damaged_lines": [number for number, _ in file.examples],
                }
                for file in self.files
            ],
            **({"file_order": True} if self.file_order else {}),
            **self.counts,
        }


@dataclass(frozen=True)
class Source:
    """What a reader returns.

    Args:
        interactions: columns `user_id`, `item_id` (String or Categorical) and `timestamp` (Int64, no nulls: seconds
            since 1970, or ascending numbers if `report.file_order` says that there are no times), rows in the file's
            order. Readers return Categorical ids: the text of each id is stored once, so that a log of tens of millions
            of rows fits into memory.
        items: columns `item_id` (String, unique) and one String column for each attribute, in the order of the item's
            text; null if the item lacks the attribute.
        report: what was read and what was skipped.
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    report: ReadReport
