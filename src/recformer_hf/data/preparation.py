"""From a reader's `Source` to users' sequences of catalogue rows: unknown items and duplicates out, order, k-core, cap.

Ids become integers once; everything after that is arithmetic on flat arrays, without a Python loop over rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from tqdm.auto import tqdm
from transformers.utils import logging

from ..items.catalog import ItemCatalog
from .arrays import offsets_from_lengths
from .polars_engine import pl
from .readers.source import DataError, Source
from .stable_hash import mix, stable_hash

logger = logging.get_logger(__name__)

Ties = Literal["random", "item_id", "file"]
Policy = Literal["drop", "error"]


class UnknownItemsError(DataError):
    """The log names items that the table of items does not have, or that have no text, and they were to be refused."""


class EmptyResultError(DataError):
    """Nothing is left after a filter or a split."""


@dataclass(frozen=True)
class PreparedInteractions:
    """Every user's interactions in order of time, ready to be split.

    Args:
        user_ids: large_string `[num_users]`, sorted.
        items: int32 `[num_interactions]`, rows of `catalog`; user by user, oldest first.
        timestamps: int64 `[num_interactions]`, seconds since 1970, ascending within a user.
        offsets: int64 `[num_users + 1]`, where each user's interactions begin.
        catalog: the items that are left, in order of their ids.
        info: `source` and `read`: what was read; `preparation`: rules and counts; `seed`; `share_tied_timestamps`.
    """

    user_ids: pa.Array
    items: np.ndarray
    timestamps: np.ndarray
    offsets: np.ndarray
    catalog: ItemCatalog
    info: dict[str, Any]

    @property
    def lengths(self) -> np.ndarray:
        """Interactions of each user, int64 `[num_users]`."""
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
    """Clean, order and filter a log. The result depends on the log's rows, not on their order (unless `ties="file"`).

    In this order: interactions of items that are unknown or have no text go; exact duplicates (same user, item and
    time) go; users' interactions are sorted by time; the k-core is taken; long sequences are cut to their newest.

    Amazon's times are days, and its raw files stand in an order that has to do with the items: keeping the file's order
    within a day, or the items', lets a model guess the next item from the order of ids. So `ties="random"` is the
    default: interactions of one user at one time are put in an order drawn for that user from a hash of user, item,
    time and seed.

    Args:
        source: what a reader returned.
        min_user_interactions: the k of users in the k-core (the paper's sets: 5); 1 keeps all.
        min_item_interactions: the k of items.
        ties: order of a user's interactions at one time: "random" (seeded), "item_id", or "file" (as the log has them).
        max_history: keep only the newest so many interactions of a user, targets included; None keeps all. Applied
            after the k-core, so that an item may come to have fewer than `min_item_interactions`.
        unknown_items: what to do with interactions of items that the table of items lacks: "drop" and count, or
            "error".
        items_without_text: the same for items whose attributes are all empty.
        seed: of `ties="random"`.

    Returns:
        the sequences, their catalogue, and the counts of everything that was left out.

    Raises:
        UnknownItemsError: items are unknown or without text and the policy is "error".
        EmptyResultError: no interaction is left; the message gives the counts of every round of the k-core.
        DataError: an argument out of its range, or item ids that are not unique.
    """
    _check_arguments(min_user_interactions, min_item_interactions, ties, max_history, unknown_items, items_without_text)
    log = source.interactions
    counts: dict[str, Any] = {"interactions_read": log.height}
    with tqdm(total=5, desc="Coding ids", unit=" steps", delay=2) as progress:
        user_ids, users = _coded(log["user_id"])
        item_ids, items = _coded(log["item_id"])
        counts |= {"users_read": len(user_ids), "items_read": len(item_ids)}
        described = _described_items(source.items)
        usable = _usable_items(item_ids, items, source.items, described, unknown_items, items_without_text, counts)
        _advance(progress, "Sorting by time")
        keep = None if usable.all() else usable[items]
        log = pl.DataFrame({"user": users, "item": items, "time": log["timestamp"]})
        log = log if keep is None else log.filter(pl.Series(keep))
        del users, items, keep
        log = _in_order(log, ties, user_ids, item_ids, seed)
        counts["exact_duplicates_dropped"] = int(counts["interactions_usable"] - log.height)
        _advance(progress, "Taking the k-core")
        users, items = log["user"].to_numpy(), log["item"].to_numpy()
        kept, rounds = k_core(users, items, min_user_interactions, min_item_interactions)
        counts["k_core_rounds"] = [
            dict(zip(("interactions", "users", "items"), numbers, strict=True)) for numbers in rounds
        ]
        if not len(kept):
            raise EmptyResultError(_why_empty(counts, min_user_interactions, min_item_interactions))
        users, items, times = users[kept], items[kept], log["time"].to_numpy()[kept]
        del log, kept
        _advance(progress, "Cutting long histories")
        if max_history is not None:
            newest = _from_end(users) < max_history
            counts["interactions_beyond_max_history_dropped"] = int(len(newest) - newest.sum())
            users, items, times = users[newest], items[newest], times[newest]
        _advance(progress, "Building the catalogue")
        present = np.flatnonzero(np.bincount(items, minlength=len(item_ids)))
        row_of = np.zeros(len(item_ids), dtype=np.int32)
        row_of[present] = np.arange(len(present), dtype=np.int32)
        catalog = ItemCatalog.from_polars(_in_id_order(described, item_ids.gather(present)))
        per_user = np.bincount(users, minlength=len(user_ids))
        _advance(progress, "Prepared")
    rules = {
        "min_user_interactions": min_user_interactions,
        "min_item_interactions": min_item_interactions,
        "ties": ties,
        "seed": seed,
        "max_history": max_history,
        "unknown_items": unknown_items,
        "items_without_text": items_without_text,
    }
    left = per_user[per_user > 0]
    return PreparedInteractions(
        user_ids=user_ids.filter(pl.Series(per_user > 0)).to_arrow().cast(pa.large_string()),
        items=row_of[items],
        timestamps=times,
        offsets=offsets_from_lengths(left),
        catalog=catalog,
        info={
            "source": source.report.describe(),
            "seed": seed if ties == "random" else None,
            "share_tied_timestamps": tied_share(users, times),
            "read": source.report.to_dict(),
            "preparation": rules | counts,
        },
    )


def _check_arguments(
    min_user: int, min_item: int, ties: str, max_history: int | None, unknown_items: str, items_without_text: str
) -> None:
    for name, number in (("min_user_interactions", min_user), ("min_item_interactions", min_item)):
        if number < 1:
            raise DataError(f"{name} is {number}; expected at least 1 (which keeps all).")
    if ties not in ("random", "item_id", "file"):
        raise DataError(f'ties is {ties!r}; expected "random", "item_id" or "file".')
    if max_history is not None and max_history < 1:
        raise DataError(f"max_history is {max_history}; expected at least 1, or None for no cap.")
    for name, policy in (("unknown_items", unknown_items), ("items_without_text", items_without_text)):
        if policy not in ("drop", "error"):
            raise DataError(f'{name} is {policy!r}; expected "drop" or "error".')


def _advance(progress: Any, following: str) -> None:
    progress.update()
    progress.set_description(following, refresh=False)


def _coded(ids: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """The distinct ids, sorted, as String `[m]`, and each row's number among them, int32 `[n]`."""
    interned = ids if isinstance(ids.dtype, pl.Categorical) else ids.cast(pl.Categorical(pl.Categories.random()))
    distinct = interned.unique()
    texts = distinct.cast(pl.String)
    order = texts.arg_sort()
    codes = distinct.to_physical().to_numpy()[order.to_numpy()]
    rank = np.zeros(int(codes.max()) + 1 if len(codes) else 0, dtype=np.int32)
    rank[codes] = np.arange(len(codes), dtype=np.int32)
    return texts.gather(order), rank[interned.to_physical().to_numpy()]


def _described_items(items: pl.DataFrame) -> pl.DataFrame:
    """The rows of the table of items that have any text."""
    if items["item_id"].n_unique() != items.height:
        repeated = items.filter(pl.col("item_id").is_duplicated())["item_id"].unique(maintain_order=True)
        raise DataError(
            f"{len(repeated):,} ids stand more than once in the table of items (first: "
            f"{', '.join(map(repr, repeated.head(5).to_list()))}). Keep one row of each."
        )
    attributes = [name for name in items.columns if name != "item_id"]
    return items.filter(pl.any_horizontal(pl.col(attributes).str.contains(r"\S")))


def _usable_items(
    item_ids: pl.Series,
    items: np.ndarray,
    table: pl.DataFrame,
    described: pl.DataFrame,
    unknown_items: Policy,
    items_without_text: Policy,
    counts: dict[str, Any],
) -> np.ndarray:
    """Which of the log's items have text, bool `[num_items]`; the others are counted, or refused."""
    known = item_ids.is_in(table["item_id"].implode()).to_numpy()
    usable = item_ids.is_in(described["item_id"].implode()).to_numpy()
    per_item = np.bincount(items, minlength=len(item_ids))
    for name, which, policy, reason in (
        ("unknown_items", ~known, unknown_items, "not in the table of items"),
        ("items_without_text", known & ~usable, items_without_text, "without any text"),
    ):
        number, interactions = int(which.sum()), int(per_item[which].sum())
        counts[f"{name}_dropped"], counts[f"interactions_of_{name}_dropped"] = number, interactions
        if number and policy == "error":
            first = ", ".join(map(repr, item_ids.filter(pl.Series(which)).head(5).to_list()))
            raise UnknownItemsError(
                f"{number:,} of the log's {len(item_ids):,} items are {reason} ({interactions:,} interactions; first: "
                f'{first}). Mend the table of items, or pass {name}="drop" to leave their interactions out.'
            )
    counts["interactions_usable"] = int(per_item[usable].sum())
    return usable


def _in_order(log: pl.DataFrame, ties: Ties, user_ids: pl.Series, item_ids: pl.Series, seed: int) -> pl.DataFrame:
    """The log by user, time and the rule for ties, without exact duplicates."""
    same = ["user", "time", "item"]
    if ties == "random":
        log = log.with_columns(pl.Series("tie", _tie_keys(log, user_ids, item_ids, seed)))
        log = log.sort("user", "time", "tie", "item")  # one key for duplicates: they come to stand together
    elif ties == "item_id":
        log = log.sort(same)
    else:
        log = log.with_row_index("tie").sort([*same, "tie"])
    repeats = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in same).fill_null(False)
    log = log.filter(~repeats)
    return log.sort("user", "time", "tie").select(same) if ties == "file" else log.select(same)


def _tie_keys(log: pl.DataFrame, user_ids: pl.Series, item_ids: pl.Series, seed: int) -> np.ndarray:
    """A number for every interaction that depends on its user, item, time and the seed alone, uint64 `[n]`."""
    user_hash = stable_hash(user_ids.to_arrow(), seed)
    item_hash = mix(stable_hash(item_ids.to_arrow(), seed))
    keys = np.empty(log.height, dtype=np.uint64)
    for start in range(0, log.height, 1 << 22):  # in parts: the temporaries stay small
        part = log.slice(start, 1 << 22)
        time_hash = mix(part["time"].to_numpy().astype(np.uint64))
        keys[start : start + part.height] = mix(
            user_hash[part["user"].to_numpy()] ^ item_hash[part["item"].to_numpy()] ^ time_hash
        )
    return keys


def k_core(
    users: np.ndarray, items: np.ndarray, min_user_interactions: int, min_item_interactions: int
) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """The largest set of interactions in which every user and every item has enough of them.

    Users and items with too few are taken out together, again and again, until none is left to take out. What remains
    does not depend on the order of taking out: it is the union of all sets that satisfy the condition.

    Args:
        users: non-negative integers `[n]`.
        items: non-negative integers `[n]`.
        min_user_interactions: what every remaining user has at least.
        min_item_interactions: what every remaining item has at least.

    Returns:
        (positions of the interactions that remain, int64, ascending;
        (interactions, users, items) before the first round and after each).
    """
    kept, rounds = np.arange(len(users)), []
    while True:
        per_user, per_item = np.bincount(users), np.bincount(items)
        rounds.append((len(users), int(np.count_nonzero(per_user)), int(np.count_nonzero(per_item))))
        logger.info("k-core: %s interactions, %s users, %s items", *(f"{number:,}" for number in rounds[-1]))
        enough = (per_user >= min_user_interactions)[users] & (per_item >= min_item_interactions)[items]
        if enough.all():
            return kept, rounds
        kept, users, items = kept[enough], users[enough], items[enough]


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
        f"{min_user} interactions a user and {min_item} an item ({rounds}). Lower min_user_interactions or "
        "min_item_interactions, or check that the items' ids are written alike in both files."
    )


def _from_end(users: np.ndarray) -> np.ndarray:
    """Each interaction's distance from its user's last one, for users that stand together, int64 `[n]`."""
    last = np.flatnonzero(np.append(users[1:] != users[:-1], True))
    return np.repeat(last, np.diff(last, prepend=-1)) - np.arange(len(users))


def tied_share(users: np.ndarray, times: np.ndarray) -> float:
    """Share of interactions, 0 to 1, that have the same time as another one of their user; both `[n]`, in order."""
    if not len(users):
        return 0.0
    same = (users[1:] == users[:-1]) & (times[1:] == times[:-1])
    return float((np.append(same, False) | np.append(False, same)).mean())


def _in_id_order(items: pl.DataFrame, item_ids: pl.Series) -> pl.DataFrame:
    """The rows of `items` of the sorted `item_ids`, in that order."""
    return items.filter(pl.col("item_id").is_in(item_ids.implode())).sort("item_id")
