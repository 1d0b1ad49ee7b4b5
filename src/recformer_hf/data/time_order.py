"""Orders a log by time, and interactions at the same time by a rule."""

from __future__ import annotations

from typing import Literal

import numpy as np

from .polars_engine import pl
from .stable_hash import mix, stable_hash

Ties = Literal["random", "item_id", "file"]


def in_order(rows: pl.DataFrame, user_ids: pl.Series, item_ids: pl.Series, ties: Ties, seed: int) -> pl.DataFrame:
    """A log by user, time and the rule for ties, without exact duplicates.

    Args:
        rows: `user` and `item`, int32 positions in `user_ids` and `item_ids`; `time`, Int64.
        user_ids: String `[num_users]`.
        item_ids: String `[num_items]`.
        ties: the rule: "random", "item_id" or "file" (the order of `rows`).
        seed: seed for "random".

    Returns:
        the rows that remain, with the columns `user`, `time` and `item`.
    """
    same = ["user", "time", "item"]
    if ties == "random":
        rows = rows.with_columns(pl.Series("tie", _tie_keys(rows, user_ids, item_ids, seed)))
        rows = rows.sort("user", "time", "tie", "item")  # duplicates have the same key, so this puts them side by side
    elif ties == "item_id":
        rows = rows.sort(same)
    else:
        rows = rows.with_row_index("tie").sort([*same, "tie"])
    repeats = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in same).fill_null(False)
    rows = rows.filter(~repeats)
    return rows.sort("user", "time", "tie").select(same) if ties == "file" else rows.select(same)


def _tie_keys(rows: pl.DataFrame, user_ids: pl.Series, item_ids: pl.Series, seed: int) -> np.ndarray:
    """A number for each interaction that depends only on its user, item, time and the seed, uint64 `[n]`."""
    user_hash = stable_hash(user_ids.to_arrow(), seed)
    item_hash = mix(stable_hash(item_ids.to_arrow(), seed))
    keys = np.empty(rows.height, dtype=np.uint64)
    for start in range(0, rows.height, 1 << 22):  # in parts, which keeps the temporary arrays small
        part = rows.slice(start, 1 << 22)
        time_hash = mix(part["time"].to_numpy().astype(np.uint64))
        keys[start : start + part.height] = mix(
            user_hash[part["user"].to_numpy()] ^ item_hash[part["item"].to_numpy()] ^ time_hash
        )
    return keys


def tied_share(users: np.ndarray, times: np.ndarray) -> float:
    """Share of interactions, 0 to 1, at the same time as another interaction of their user.

    Args:
        users, times: `[n]`, sorted by user and then by time.
    """
    if not len(users):
        return 0.0
    same = (users[1:] == users[:-1]) & (times[1:] == times[:-1])
    return float((np.append(same, False) | np.append(False, same)).mean())
