"""Turns a reader's `Source` into users' sequences of catalogue rows.

Ids become integers in the first step. Everything after it is arithmetic on flat arrays, without a Python loop over
rows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from tqdm.auto import tqdm

from ..items.catalog import ItemCatalog
from .arrays import offsets_from_lengths
from .k_core import k_core
from .polars_engine import pl
from .readers.source import DataError, Source
from .sequences import whole_number
from .source_check import checked_source, refuse_blank_ids
from .time_order import Ties, in_order, tied_share

Policy = Literal["drop", "error"]

FILE_ORDER = "the order of the source's rows, which have no times"
"""`info["order"]` of a log without times."""


class UnknownItemsError(DataError):
    """The log has items that are missing from the table of items or have no text, and the policy is "error"."""


class EmptyResultError(DataError):
    """Nothing is left after a filter, or a part of a split is empty."""


@dataclass(frozen=True)
class PreparedInteractions:
    """Every user's interactions in order of time, ready to be split.

    Args:
        user_ids: large_string `[num_users]`, sorted.
        items: int32 `[num_interactions]`, rows of `catalog`; user by user, oldest first.
        timestamps: int64 `[num_interactions]`, seconds since 1970, ascending within a user.
        offsets: int64 `[num_users + 1]`, where each user's interactions begin.
        catalog: the remaining items, in the order of their ids.
        info: `source` and `read` (what was read), `preparation` (settings and counts), `seed`,
            `share_tied_timestamps`, 0 to 1, and `order` if the source has no times: `timestamps` are then positions
            among its rows, and `share_tied_timestamps` is None.
    """

    user_ids: pa.Array
    items: np.ndarray
    timestamps: np.ndarray
    offsets: np.ndarray
    catalog: ItemCatalog
    info: dict[str, Any]

    @property
    def has_times(self) -> bool:
        """Whether `timestamps` are times; otherwise the order of the source's rows is all that is known."""
        return "order" not in self.info

    @property
    def lengths(self) -> np.ndarray:
        """Number of interactions of each user, int64 `[num_users]`."""
        return np.diff(self.offsets)


def prepare(
    source: Source,
    *,
    min_user_interactions: int = 5,
    min_item_interactions: int = 5,
    ties: Ties = "random",
    max_history: int | None = None,
    unknown_items: Policy = "drop",
    items_without_text: Policy = "drop",
    seed: int = 0,
) -> PreparedInteractions:
    """Clean, order and filter a log. The result does not depend on the order of the log's rows (unless `ties="file"`).

    The steps, in this order: interactions with items that are unknown or have no text are removed; exact duplicates
    (same user, item and time) are removed; each user's interactions are sorted by time; the k-core is taken; long
    sequences are cut to their newest interactions.

    Amazon's times are days, and the order of its raw files depends on the items. Keeping the file's order within a day,
    or ordering by item, would let a model guess the next item from the order of the ids. `ties="random"` is therefore
    the default: interactions of one user at the same time are put in an order that is drawn for that user from a hash
    of user, item, time and seed.

    Args:
        source: what a reader returned, or one made by hand: times may be dates or datetimes, ids whole numbers, and
            attributes of any type (`source_check.checked_source`).
        min_user_interactions: the k of users in the k-core (5 in the paper's sets); 1 keeps all.
        min_item_interactions: the k of items.
        ties: how to order a user's interactions at the same time: "random" (seeded), "item_id", or "file" (as in the
            log). A source without times is always in the order of its rows.
        max_history: keep only this many newest interactions of a user, targets included; None keeps all. It applies
            after the k-core, so that an item may end up with fewer than `min_item_interactions`.
        unknown_items: what to do with interactions whose item is missing from the table of items: "drop" and count
            them, or "error".
        items_without_text: the same for items whose attributes are all empty.
        seed: seed for `ties="random"`.

    Returns:
        the sequences, their catalogue, and counts of everything that was removed.

    Raises:
        UnknownItemsError: if items are unknown or without text, and the policy is "error".
        EmptyResultError: if no interaction is left; the message gives the counts of every round of the k-core.
        DataError: if an argument is out of its range, item ids are not unique, or an id or a time is missing or
            unreadable.
        TypeError: if `source` is not a `Source` of polars frames, or a number is no whole number.
    """
    source = checked_source(source)
    if source.report.file_order:
        ties = _ties_of_file_order(ties)
    settings = _Settings(
        min_user_interactions,
        min_item_interactions,
        ties,
        seed,
        max_history,
        unknown_items,
        items_without_text,
    )
    if source.interactions.is_empty():
        raise EmptyResultError(_why_nothing_was_read(source))
    counts: dict[str, Any] = {"interactions_read": source.interactions.height}
    with tqdm(total=5, desc="Coding ids", unit=" steps", delay=2) as progress:
        # Each step assigns `rows` again, and the last one deletes it. A second reference to an earlier state would keep
        # gigabytes alive at tens of millions of rows.
        user_ids, item_ids, rows = _code_ids(source.interactions)
        refuse_blank_ids(user_ids, "user_id")
        refuse_blank_ids(item_ids, "item_id")
        counts |= {"users_read": len(user_ids), "items_read": len(item_ids)}
        described = _described_items(source.items)
        rows = _with_usable_items(rows, item_ids, source.items, described, settings, counts)
        _advance(progress, "Sorting by time")
        rows = in_order(rows, user_ids, item_ids, ties, settings.seed)
        counts["exact_duplicates_dropped"] = int(counts["interactions_usable"] - rows.height)
        _advance(progress, "Taking the k-core")
        kept = _take_k_core(rows, settings, counts)
        del rows
        _advance(progress, "Cutting long histories")
        kept = _newest(kept, settings.max_history, counts)
        _advance(progress, "Building the catalogue")
        catalog, item_rows = _remaining_items(kept.items, item_ids, described)
        lengths = np.bincount(kept.users, minlength=len(user_ids))
        _advance(progress, "Prepared")
    return PreparedInteractions(
        user_ids=user_ids.filter(pl.Series(lengths > 0)).to_arrow().cast(pa.large_string()),
        items=item_rows,
        timestamps=kept.times,
        offsets=offsets_from_lengths(lengths[lengths > 0]),
        catalog=catalog,
        info={
            "source": source.report.describe(),
            "seed": settings.seed if ties == "random" else None,
            "share_tied_timestamps": None if source.report.file_order else tied_share(kept.users, kept.times),
            "read": source.report.to_dict(),
            "preparation": asdict(settings) | counts,
            **({"order": FILE_ORDER} if source.report.file_order else {}),
        },
    )


def _ties_of_file_order(ties: Ties) -> Ties:
    if ties == "item_id":
        raise DataError(
            'ties is "item_id", but the log has no times (timestamp_column=None): the order of its rows is kept. Leave '
            'ties out, or pass "file".'
        )
    return "file" if ties == "random" else ties


@dataclass(frozen=True)
class _Settings:
    """The arguments of `prepare`, in the order in which `info` lists them."""

    min_user_interactions: int
    min_item_interactions: int
    ties: Ties
    seed: int
    max_history: int | None
    unknown_items: Policy
    items_without_text: Policy

    def __post_init__(self) -> None:
        for name in ("min_user_interactions", "min_item_interactions", "seed", "max_history"):
            if name != "max_history" or self.max_history is not None:
                # A numpy integer could not be saved as JSON.
                object.__setattr__(self, name, whole_number(getattr(self, name), name))
        for name in ("min_user_interactions", "min_item_interactions"):
            if getattr(self, name) < 1:
                raise DataError(f"{name} is {getattr(self, name)}; expected at least 1 (which keeps all).")
        if self.ties not in ("random", "item_id", "file"):
            raise DataError(f'ties is {self.ties!r}; expected "random", "item_id" or "file".')
        if self.max_history is not None and self.max_history < 1:
            raise DataError(f"max_history is {self.max_history}; expected at least 1, or None to keep all.")
        for name in ("unknown_items", "items_without_text"):
            if getattr(self, name) not in ("drop", "error"):
                raise DataError(f'{name} is {getattr(self, name)!r}; expected "drop" or "error".')


class _Interactions(NamedTuple):
    """Interactions as arrays `[n]`: int32 numbers of users and of items, int64 times in seconds."""

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray

    def take(self, which: np.ndarray) -> _Interactions:
        """The interactions at these positions, or where a mask is true."""
        return _Interactions(self.users[which], self.items[which], self.times[which])


def _advance(progress: tqdm, following: str) -> None:
    progress.update()
    progress.set_description(following, refresh=False)


def _code_ids(interactions: pl.DataFrame) -> tuple[pl.Series, pl.Series, pl.DataFrame]:
    """The distinct user ids and item ids, sorted, String; and the log as `user`, `item` (int32 numbers) and `time`."""
    user_ids, users = _coded(interactions["user_id"])
    item_ids, items = _coded(interactions["item_id"])
    return user_ids, item_ids, pl.DataFrame({"user": users, "item": items, "time": interactions["timestamp"]})


def _coded(ids: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """The distinct ids, sorted, String `[m]`; and the number of each row's id among them, int32 `[n]`."""
    interned = ids if isinstance(ids.dtype, pl.Categorical) else ids.cast(pl.Categorical(pl.Categories.random()))
    # Only the distinct ids are sorted as text. The rows follow through the codes of their categories.
    distinct = interned.unique()
    texts = distinct.cast(pl.String)
    order = texts.arg_sort()
    codes = distinct.to_physical().to_numpy()[order.to_numpy()]
    rank = np.zeros(int(codes.max()) + 1 if len(codes) else 0, dtype=np.int32)
    rank[codes] = np.arange(len(codes), dtype=np.int32)
    return texts.gather(order), rank[interned.to_physical().to_numpy()]


def _described_items(items: pl.DataFrame) -> pl.DataFrame:
    """The rows of the table of items that have text in any attribute."""
    if items["item_id"].n_unique() != items.height:
        repeated = items.filter(pl.col("item_id").is_duplicated())["item_id"].unique(maintain_order=True)
        raise DataError(
            f"{len(repeated):,} ids occur more than once in the table of items (first: "
            f"{', '.join(map(repr, repeated.head(5).to_list()))}). Keep one row for each id."
        )
    attributes = [name for name in items.columns if name != "item_id"]
    return items.filter(pl.any_horizontal(pl.col(attributes).str.contains(r"\S")))


def _with_usable_items(
    rows: pl.DataFrame,
    item_ids: pl.Series,
    table: pl.DataFrame,
    described: pl.DataFrame,
    settings: _Settings,
    counts: dict[str, Any],
) -> pl.DataFrame:
    """The log without items that are unknown or have no text, which are counted or refused."""
    known = item_ids.is_in(table["item_id"].implode()).to_numpy()
    usable = item_ids.is_in(described["item_id"].implode()).to_numpy()
    items = rows["item"].to_numpy()
    per_item = np.bincount(items, minlength=len(item_ids))
    for name, which, policy, reason in (
        ("unknown_items", ~known, settings.unknown_items, "not in the table of items"),
        ("items_without_text", known & ~usable, settings.items_without_text, "without any text"),
    ):
        number, interactions = int(which.sum()), int(per_item[which].sum())
        counts[f"{name}_dropped"], counts[f"interactions_of_{name}_dropped"] = number, interactions
        if number and policy == "error":
            first = ", ".join(map(repr, item_ids.filter(pl.Series(which)).head(5).to_list()))
            raise UnknownItemsError(
                f"{number:,} of the log's {len(item_ids):,} items are {reason} ({interactions:,} interactions; first: "
                f'{first}). Fix the table of items, or pass {name}="drop" to drop their interactions.'
            )
    counts["interactions_usable"] = int(per_item[usable].sum())
    # Usually every item is usable, and the log need not be copied.
    return rows if usable.all() else rows.filter(pl.Series(usable[items]))


def _take_k_core(rows: pl.DataFrame, settings: _Settings, counts: dict[str, Any]) -> _Interactions:
    minima = settings.min_user_interactions, settings.min_item_interactions
    log = _Interactions(*(rows[name].to_numpy() for name in ("user", "item", "time")))
    kept, rounds = k_core(log.users, log.items, *minima)
    counts["k_core_rounds"] = [
        dict(zip(("interactions", "users", "items"), numbers, strict=True)) for numbers in rounds
    ]
    if not len(kept):
        raise EmptyResultError(_why_empty(counts, *minima))
    return log.take(kept)


def _why_nothing_was_read(source: Source) -> str:
    report = source.report
    damaged = sum(file.damaged for file in report.files)
    reasons = [f"{damaged:,} damaged lines"] if damaged else []
    reasons += [f"{name.replace('_', ' ')} {number:,}" for name, number in report.counts.items() if "ratings" in name]
    left_out = f"; left out: {', '.join(reasons)}" if reasons else ""
    return f"Nothing is left of 0 interactions: {report.describe()} has no usable one{left_out}."


def _why_empty(counts: dict[str, Any], min_user: int, min_item: int) -> str:
    rounds = "; ".join(
        f"round {number}: {left['interactions']:,} interactions, {left['users']:,} users, {left['items']:,} items"
        for number, left in enumerate(counts["k_core_rounds"])
    )
    unknown = counts["interactions_of_unknown_items_dropped"]
    textless = counts["interactions_of_items_without_text_dropped"]
    duplicates = counts["exact_duplicates_dropped"]
    return (
        f"Nothing is left of {counts['interactions_read']:,} interactions ({unknown:,} were of unknown items, "
        f"{textless:,} of items without text, {duplicates:,} exact duplicates) after the k-core with at least "
        f"{min_user} interactions per user and {min_item} per item ({rounds}). Lower min_user_interactions or "
        "min_item_interactions, or check that both files write the items' ids in the same way."
    )


def _newest(interactions: _Interactions, max_history: int | None, counts: dict[str, Any]) -> _Interactions:
    if max_history is None:
        return interactions
    newest = _from_end(interactions.users) < max_history
    counts["interactions_beyond_max_history_dropped"] = int(len(newest) - newest.sum())
    return interactions.take(newest)


def _from_end(users: np.ndarray) -> np.ndarray:
    """The distance of each interaction from its user's last one, int64 `[n]`; a user's interactions are adjacent."""
    last = np.flatnonzero(np.append(users[1:] != users[:-1], True))
    return np.repeat(last, np.diff(last, prepend=-1)) - np.arange(len(users))


def _remaining_items(items: np.ndarray, item_ids: pl.Series, described: pl.DataFrame) -> tuple[ItemCatalog, np.ndarray]:
    """The catalogue of the items that occur, in the order of their ids; and each interaction's row, int32 `[n]`."""
    # `item_ids` are sorted, so the numbers of the items are in the order of their ids, as the table is below.
    present = np.flatnonzero(np.bincount(items, minlength=len(item_ids)))
    row_of = np.zeros(len(item_ids), dtype=np.int32)
    row_of[present] = np.arange(len(present), dtype=np.int32)
    table = described.filter(pl.col("item_id").is_in(item_ids.gather(present).implode())).sort("item_id")
    return ItemCatalog.from_polars(table), row_of[items]
