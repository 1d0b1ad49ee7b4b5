"""Runs a reader on a folder of files and checks what it gives against a plain reading of the same bytes."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from recformer_hf.data.readers import arrow_tables, delimited, files
from recformer_hf.data.readers.source import FileReport, Source
from tests.support.plain_reading import PlainFile, PlainRow, Refused, Several
from tests.support.plain_values import BLANK, DAMAGED, WHOLE_FILE, Cleaned, Joined, bare, joined_surrogates

MOST_SECONDS = 10


class WrongError(AssertionError):
    """A reader did something else than it may do; the message says what."""


@dataclass
class Example:
    """A folder of files and how to read it.

    Args:
        files: name -> bytes.
        read: what is fuzzed; takes the folder.
        check: what it may return; takes the result, or the exception, and gives the class of the outcome.
        block_bytes: size of the blocks in which text is read, if not the usual one.
    """

    files: dict[str, bytes]
    read: Callable[[Path], Any]
    check: Callable[[Any], str]
    block_bytes: int | None = None


def run(example: Example, folder: Path) -> str:
    """The class of an example's outcome.

    Raises:
        WrongError: if it is none of those that are right.
    """
    for name, data in example.files.items():
        (folder / name).write_bytes(data)
    started = time.monotonic()
    try:
        with small_blocks(example.block_bytes):
            found = example.read(folder)
    except BaseException as error:  # polars' panics are no Exceptions
        if isinstance(error, KeyboardInterrupt):
            raise
        found = error
    if (seconds := time.monotonic() - started) > MOST_SECONDS:
        raise WrongError(f"took {seconds:.0f} s")
    return example.check(found)


@contextmanager
def small_blocks(block_bytes: int | None) -> Iterator[None]:
    """Let the readers read text in blocks of this size, and parquet in batches of two rows."""
    if block_bytes is None:
        yield
        return
    defaults, delimited_bytes = files.line_blocks.__defaults__, delimited.BLOCK_BYTES
    rows = {name: getattr(arrow_tables, name) for name in ("BATCH_ROWS", "LIST_BATCH_ROWS", "ITEM_BATCH_ROWS")}
    files.line_blocks.__defaults__, delimited.BLOCK_BYTES = (block_bytes,), block_bytes
    for name in rows:
        setattr(arrow_tables, name, 2)
    try:
        yield
    finally:
        files.line_blocks.__defaults__, delimited.BLOCK_BYTES = defaults, delimited_bytes
        for name, number in rows.items():
            setattr(arrow_tables, name, number)


def checked_error(error: BaseException, names: Iterable[str]) -> None:
    """Check that an error is one of the package's and names a file.

    Raises:
        WrongError: if it is not.
    """
    kind, names = type(error), list(names)
    ours = kind.__module__.startswith("recformer_hf") or kind in (ValueError, TypeError, FileNotFoundError)
    if not ours or not isinstance(error, (ValueError, TypeError, FileNotFoundError)):
        shown = "".join(traceback.format_exception(error)[-4:])
        raise WrongError(f"{kind.__module__}.{kind.__name__}: {str(error)[:300]}\n{shown}") from error
    if not any(name in str(error) for name in names):
        raise WrongError(
            f"the error does not name {' or '.join(names)}: {kind.__name__}: {str(error)[:300]}"
        ) from error


# Comparing rows


def fits(found: Any, allowed: Any) -> bool:
    """Whether a row that was read is an outcome: (user, item, seconds) or (id, attributes)."""
    if not isinstance(allowed, tuple) or len(found) != len(allowed):
        return False
    if len(found) == 3:
        return bool(found == allowed)
    (found_id, texts), (item_id, attributes) = found, allowed
    texts = {bare(name): text for name, text in texts.items() if bare(text) is not None}
    allowed_texts = {bare(name): text for name, text in attributes.items()}
    if found_id != item_id or not texts.keys() <= allowed_texts.keys():
        return False
    return all(_text_fits(texts.get(name), text) for name, text in allowed_texts.items())


def _text_fits(found: str | None, allowed: Any) -> bool:
    if isinstance(allowed, Cleaned):
        return allowed.fits(found)
    if isinstance(allowed, Joined):
        return "".join((found or "").split()) == "".join(allowed.split())
    return bare(found) == bare(allowed)


@dataclass
class Matched:
    """Which lines are surely damaged, and which may be."""

    damaged: set[int] = field(default_factory=set)
    perhaps: set[int] = field(default_factory=set)
    good: int = 0
    numbers: dict[int, int] = field(default_factory=dict)


def match(
    rows: list[PlainRow], found: list[Any], *, first_only: bool, only: set[str] | None = None, prefix: bool = False
) -> tuple[Matched, int]:
    """Walk through the rows of a file and through what was read from it.

    Args:
        rows: the plain reading.
        found: the rows that a reader returned.
        first_only: of several rows with the same id the first is kept.
        only: ids that are kept, if not all.
        prefix: more rows may follow.

    Returns:
        (the damaged lines, the number of rows that were found).

    Raises:
        WrongError: if they differ.
    """
    matched, place, seen = Matched(), 0, set()
    for row in rows:
        values = [outcome for outcome in row.outcomes if isinstance(outcome, tuple)]
        marks = [outcome for outcome in row.outcomes if outcome in (DAMAGED, BLANK)]
        several = next((outcome for outcome in row.outcomes if isinstance(outcome, Several)), None)
        left_out = [
            value
            for value in values
            if (first_only and value[0] in seen) or (only is not None and value[0] not in only)
        ]
        if place < len(found) and any(fits(found[place], value) for value in values if value not in left_out):
            seen.add(found[place][0])
            place += 1
            matched.good += 1
        elif several is not None:
            place += _listed(several, found[place:])
            matched.perhaps.add(row.number)
        elif left_out and not marks:
            matched.good += 1
        elif marks == [DAMAGED] and not left_out:
            matched.damaged.add(row.number)
        elif marks or left_out:
            matched.perhaps.add(row.number)
        else:
            got = found[place] if place < len(found) else "nothing more"
            raise WrongError(f"line {row.number}: read {got!r}, expected one of {row.outcomes!r}")
        if row.also_numbered is not None:
            matched.numbers[row.also_numbered] = row.number
    if place < len(found) and not prefix:
        raise WrongError(f"read {found[place]!r}, which the file does not hold there")
    return matched, place


def _listed(several: Several, found: list[Any]) -> int:
    """How many rows that were read are those that a line lists."""
    count = 0
    for outcomes in several.rows:
        if count < len(found) and any(fits(found[count], value) for value in outcomes):
            count += 1
    return count


def compare(
    name: str,
    file: PlainFile,
    found: list[Any],
    report: FileReport | None,
    *,
    first_only: bool,
    only: set[str] | None = None,
) -> Matched:
    """Compare the rows that were read from a file, and the report about it, with the plain reading.

    Raises:
        WrongError: if they differ.
    """
    rows = file.rows if file.sure_rows is None else file.rows[: file.sure_rows]
    try:
        matched, place = match(rows, found, first_only=first_only, only=only, prefix=file.sure_rows is not None)
    except WrongError as error:
        raise WrongError(f"{name}: {error}") from None
    if file.sure_rows is not None:
        _check_held(name, found[place:], file.text)
        return matched
    if report is None:
        return matched
    least, most = len(matched.damaged), len(matched.damaged | matched.perhaps)
    if not least <= report.damaged <= most:
        raise WrongError(
            f"{name}: {report.damaged} damaged lines reported, expected {least} to {most}: {matched.damaged}"
        )
    if not matched.good <= report.lines - report.damaged <= matched.good + len(matched.perhaps):
        raise WrongError(f"{name}: {report.lines} lines reported, {report.damaged} damaged; {matched.good} are good")
    numbers = [number for number, _ in report.examples]
    known = [
        number if number in matched.damaged | matched.perhaps else matched.numbers.get(number) for number in numbers
    ]
    if not set(known) <= matched.damaged | matched.perhaps:
        raise WrongError(
            f"{name}: the damaged lines are {matched.damaged} or {matched.perhaps}; reported {report.examples}"
        )
    if not matched.perhaps and known != sorted(matched.damaged)[: len(known)]:
        raise WrongError(
            f"{name}: the first damaged lines are {sorted(matched.damaged)[:5]}; reported {report.examples}"
        )
    return matched


def _check_held(name: str, found: list[Any], text: str) -> None:
    """Check that a file holds the words of some rows. Quotes are left out, because they may or may not be quotes."""
    text = joined_surrogates(text).replace('"', "")
    for row in found:
        texts = [row[0], row[1]] if len(row) == 3 else [row[0], *row[1].values()]
        for value in texts:
            for word in (value or "").replace('"', "").split():
                if word not in text:
                    raise WrongError(f"{name}: read {word!r} in {row!r}, which the file does not hold")


# Sources


def interactions_of(source: Source) -> list[tuple[str, str, int]]:
    return source.interactions.cast({"user_id": pl.String, "item_id": pl.String}).rows()


def items_of(source: Source) -> list[tuple[str, dict[str, str]]]:
    rows = source.items.to_dicts()
    return [(row.pop("item_id"), row) for row in rows]


@dataclass
class SourceCheck:
    """Checks what a reader returned for a file of interactions and one of items.

    Args:
        log, items: (file's name, its plain reading).
        max_damaged: as the reader got it.
        only_logged: whether items are left out that no interaction names.
    """

    log: tuple[str, PlainFile | Refused]
    items: tuple[str, PlainFile | Refused]
    max_damaged: float = 1.0
    only_logged: bool = False

    def __call__(self, found: Any) -> str:
        if isinstance(found, BaseException):
            return self._refused(found)
        for name, file in (self.log, self.items):
            if isinstance(file, Refused):
                raise WrongError(
                    f"{name}: read although it has to be refused ({file}): {found.interactions} {found.items}"
                )
        reports = {report.name: report for report in found.report.files}
        log = interactions_of(found)
        (log_name, log_file), (items_name, items_file) = self.log, self.items
        only = {item for _, item, _ in log} if self.only_logged else None
        matched = [
            compare(log_name, log_file, log, reports[log_name], first_only=False),  # type: ignore[arg-type]
            compare(items_name, items_file, items_of(found), reports[items_name], first_only=True, only=only),  # type: ignore[arg-type]
        ]
        if self.max_damaged < 1 and any(lines.damaged for lines in matched):
            raise WrongError(f"damaged lines were accepted with max_damaged={self.max_damaged}")
        sure = all(file.sure_rows is None for file in (log_file, items_file))  # type: ignore[union-attr]
        return "doubtful quotes" if not sure else "damaged lines" if any(m.damaged for m in matched) else "same result"

    def _refused(self, error: BaseException) -> str:
        refusable, why = [], ""
        for name, file in (self.log, self.items):
            if (
                isinstance(file, Refused)
                or file.may_refuse
                or file.sure_rows is not None
                or any(WHOLE_FILE in row.outcomes for row in file.rows)
                or (self.max_damaged < 1 and any(DAMAGED in row.outcomes for row in file.rows))
            ):
                refusable.append(name)
        names = [self.log[0], self.items[0]]
        checked_error(error, refusable or names)
        if not refusable:
            raise WrongError(f"refused, but can be read: {type(error).__name__}: {str(error)[:400]}{why}")
        return f"refused: {type(error).__name__}"


# Catalogues


@dataclass
class CatalogCheck:
    """Checks the catalogue of a file."""

    name: str
    file: PlainFile | Refused
    on_invalid: str

    def __call__(self, found: Any) -> str:
        invalid, doubtful = self._invalid()
        if isinstance(found, BaseException):
            checked_error(found, [self.name])
            if not invalid and not doubtful:
                raise WrongError(f"refused, but can be read: {type(found).__name__}: {str(found)[:400]}")
            return f"refused: {type(found).__name__}"
        if invalid:
            raise WrongError(
                f"read although it has to be refused ({invalid}): {list(zip(found.ids, found, strict=True))[:3]}"
            )
        assert isinstance(self.file, PlainFile)
        rows = [
            PlainRow(
                row.number,
                [outcome if not isinstance(outcome, tuple) or outcome[1] else DAMAGED for outcome in row.outcomes],
            )
            for row in self.file.rows
        ]
        file = PlainFile(rows, self.file.may_refuse, self.file.sure_rows, self.file.text)
        items = list(zip(found.ids, found, strict=True))
        matched = compare(self.name, file, items, None, first_only=self.on_invalid == "drop")
        return "doubtful quotes" if file.sure_rows is not None else "dropped rows" if matched.damaged else "same result"

    def _invalid(self) -> tuple[str, list[str]]:
        """(Why the file has to be refused, why it may be)."""
        if isinstance(self.file, Refused):
            return str(self.file), []
        doubts = list(self.file.may_refuse) + (["quotes"] if self.file.sure_rows is not None else [])
        seen: set[str] = set()
        for row in self.file.rows:
            if WHOLE_FILE in row.outcomes or BLANK in row.outcomes:
                doubts.append(f"row {row.number}")
            values = [outcome for outcome in row.outcomes if isinstance(outcome, tuple)]
            if not values and BLANK not in row.outcomes and self.on_invalid == "raise" and not doubts:
                return f"row {row.number} is {row.outcomes}", doubts
            for item_id, attributes in values:
                if item_id in seen or not attributes:
                    doubts.append(f"row {row.number} repeats its id or has no text")
                    if self.on_invalid == "raise" and self.file.sure_rows is None and row.outcomes == values:
                        return doubts[-1], doubts
                seen.add(item_id)
            if not values and row.outcomes != [BLANK]:
                doubts.append(f"row {row.number} has no id")
        return "", doubts
