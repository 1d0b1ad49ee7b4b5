"""Maps the columns of a file to the columns of a `Source`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from transformers.utils import logging

from ..polars_engine import pl
from .cells import ids_as_text
from .source import DataError, MissingColumnsError, ReadReport
from .timestamps import TimeUnit, check_times, odd_times

logger = logging.get_logger(__name__)

ITEM_ID = "item_id"
"""Column of the ids in a `Source`."""


def check_columns(file_name: str, present: Iterable[str], wanted: Iterable[str], advice: str) -> None:
    """Check that a file has the columns that a reader wants, each of them once.

    Args:
        file_name: for the message.
        present: the file's columns.
        wanted: the columns that it must have.
        advice: a sentence that says how to fix it.

    Raises:
        MissingColumnsError: if a column is missing.
        DataError: if a wanted column is there more than once.
    """
    present, wanted = list(present), dict.fromkeys(wanted)
    missing = wanted.keys() - set(present)
    if missing:
        raise MissingColumnsError(
            f"{file_name} has no column {_listed(name for name in wanted if name in missing)}; its columns are "
            f"{_listed(present)}. {advice}"
        )
    repeated = [name for name in _repeated(present) if name in wanted]
    if repeated:
        raise DataError(f"{file_name} has the column {_listed(repeated)} more than once. Rename or remove one of them.")


def attribute_columns(present: Iterable[str], id_column: str, attributes: Sequence[str] | None) -> list[str]:
    """The columns of an item's text: the given ones or, if None, all but the id.

    Raises:
        DataError: if an attribute is given twice; or if an attribute has the name "item_id", under which a source holds
            the ids, although the ids are in another column.
    """
    present = list(present)
    names = [name for name in present if name != id_column] if attributes is None else list(attributes)
    if attributes is not None and _repeated(names):
        raise DataError(f"attributes has {_listed(_repeated(names))} more than once: {_listed(names)}.")
    if ITEM_ID in names:
        others = [name for name in names if name != ITEM_ID]
        reason = "it is the column of the ids" if id_column == ITEM_ID else f"the ids are in {id_column!r}"
        raise DataError(
            f"The column {ITEM_ID!r} cannot be an attribute: {reason}. Leave it out with attributes={others}, or "
            "rename it in the file."
        )
    return names


class InteractionCollector:
    """Collects the blocks of a log under the column names of a `Source`, with interned ids.

    An interned id takes four bytes a row instead of its text. All blocks share their categories, so that joining them
    recodes nothing, and the codes of a log's ids are 0, 1, 2 ... in order of appearance.

    Args:
        user, item: names of the columns in the file.
        timestamp: the column of times; None if the file has none: a row's time is then its position in the log, from 0.
        unit, format: how the times were read, see `timestamps.check_times`.
        check: whether `interactions` checks the times.
    """

    def __init__(
        self,
        user: str,
        item: str,
        timestamp: str | None,
        *,
        unit: TimeUnit = "s",
        format: str | None = None,
        check: bool = True,
    ) -> None:
        self._user, self._item, self._timestamp = user, item, timestamp
        self._unit, self._format, self._check = unit, format, check
        # `random` gives them a name of their own, because categories of the same name share their codes, even across
        # logs.
        self._users, self._items = pl.Categories.random(), pl.Categories.random()
        self._blocks: list[pl.DataFrame] = []
        self._rows = 0

    def add(self, block: pl.DataFrame) -> None:
        """Add rows of the file; their times are seconds already, and other columns are ignored."""
        if self._timestamp is None:
            times = pl.int_range(self._rows, self._rows + block.height, dtype=pl.Int64)
        else:
            times = pl.col(self._timestamp)
        self._rows += block.height
        self._blocks.append(
            block.select(
                ids_as_text(block[self._user]).cast(pl.Categorical(self._users)).alias("user_id"),
                ids_as_text(block[self._item]).cast(pl.Categorical(self._items)).alias("item_id"),
                times.alias("timestamp"),
            )
        )

    def interactions(self, *files: str) -> pl.DataFrame:
        """All rows, in the order in which they were added.

        Args:
            *files: names of the files that they were read from, for errors.

        Raises:
            DataError: if the times look as if they had been read in a wrong unit or notation. Odd times that may be
                right are logged as a warning.
        """
        if not self._blocks:
            return pl.DataFrame(schema={"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64})
        log = pl.concat(self._blocks, rechunk=True)
        if self._check and self._timestamp is not None:
            try:
                check_times(log["timestamp"], self._timestamp, self._unit, self._format)
            except DataError as error:
                raise DataError(f"{', '.join(files) or 'The log'}: {error}") from None
            odd = odd_times(log["timestamp"], self._timestamp, self._unit, self._format)
            if odd is not None:
                logger.warning("%s: %s", ", ".join(files) or "The log", odd)
        return log


def check_join(logged: pl.Series, described: pl.Series, advice: str, shown: Sequence[str] = ()) -> None:
    """Log a warning if the table of items describes less than half of the log's items.

    Args:
        logged: the item of each interaction, `[n]`.
        described: the ids of the table, `[m]`, String.
        advice: sentences that say by which column the log names its items, and what may be wrong.
        shown: some ids of the table, for the message; by default the first of `described`.
    """
    items = logged.unique(maintain_order=True).cast(pl.String)
    known = int(items.is_in(described.implode()).sum())
    if known < len(items) / 2:
        logger.warning(
            "Only %s of the log's %s items are in the table of items (the log has %s; the table has %s). %s",
            f"{known:,}",
            f"{len(items):,}",
            _listed(items.head(3).to_list()),
            _listed(shown or described.head(3).to_list()) or "no items",
            advice,
        )


def first_of_each_item(items: pl.DataFrame, report: ReadReport, count_name: str) -> pl.DataFrame:
    """The first row of each `item_id`; the others are counted under `count_name`."""
    unique = items.unique("item_id", keep="first", maintain_order=True)
    report.count(count_name, items.height - unique.height)
    return unique


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, number in Counter(names).items() if number > 1]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
