"""Maps the columns of a file to the columns of a `Source`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..polars_engine import pl
from .cells import id_as_text
from .source import MissingColumnsError, ReadReport


def check_columns(file_name: str, present: Iterable[str], wanted: Iterable[str], advice: str) -> None:
    """Check that a file has the columns that a reader wants.

    Args:
        file_name: for the message.
        present: the file's columns.
        wanted: the columns that it must have.
        advice: a sentence that says how to fix it.

    Raises:
        MissingColumnsError: if a column is missing.
    """
    present = list(present)
    missing = [name for name in dict.fromkeys(wanted) if name not in present]
    if missing:
        raise MissingColumnsError(
            f"{file_name} has no column {_listed(missing)}; its columns are {_listed(present)}. {advice}"
        )


def attribute_columns(present: Iterable[str], id_column: str, attributes: Sequence[str] | None) -> list[str]:
    """The columns of an item's text: the given ones or, if None, all but the id."""
    return [name for name in present if name != id_column] if attributes is None else list(attributes)


class InteractionCollector:
    """Collects the blocks of a log under the column names of a `Source`, with interned ids.

    An interned id takes four bytes a row instead of its text. All blocks share their categories, so that joining them
    recodes nothing, and the codes of a log's ids are 0, 1, 2 ... in order of appearance.

    Args:
        user, item, timestamp: names of the columns in the file.
    """

    def __init__(self, user: str, item: str, timestamp: str) -> None:
        self._user, self._item, self._timestamp = user, item, timestamp
        # `random` gives them a name of their own, because categories of the same name share their codes, even across
        # logs.
        self._users, self._items = pl.Categories.random(), pl.Categories.random()
        self._blocks: list[pl.DataFrame] = []

    def add(self, block: pl.DataFrame) -> None:
        """Add rows of the file; their times are seconds already, and other columns are ignored."""
        self._blocks.append(
            block.select(
                id_as_text(self._user).cast(pl.Categorical(self._users)).alias("user_id"),
                id_as_text(self._item).cast(pl.Categorical(self._items)).alias("item_id"),
                pl.col(self._timestamp).alias("timestamp"),
            )
        )

    def interactions(self) -> pl.DataFrame:
        """All rows, in the order in which they were added."""
        if not self._blocks:
            return pl.DataFrame(schema={"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64})
        return pl.concat(self._blocks, rechunk=True)


def first_of_each_item(items: pl.DataFrame, report: ReadReport, count_name: str) -> pl.DataFrame:
    """The first row of each `item_id`; the others are counted under `count_name`."""
    unique = items.unique("item_id", keep="first", maintain_order=True)
    report.count(count_name, items.height - unique.height)
    return unique


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
