"""Small logs, prepared, for the tests of preparation and splits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import strategies as st

from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.preparation import PreparedInteractions, prepare
from recformer_hf.data.readers.source import ReadReport, Source


def source_of(log: list[tuple[str, str, int]], items: dict[str, str | None] | None = None) -> Source:
    """A source of (user, item, time) rows; every item of the log has a title unless `items` says otherwise."""
    if items is None:
        items = {item: f"Title {item}" for _, item, _ in log}
    schema = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64}
    table = pl.DataFrame({"item_id": list(items), "title": list(items.values())}, schema_overrides={"title": pl.String})
    return Source(pl.DataFrame(log, schema=schema, orient="row"), table, ReadReport("a test"))


def sequences_of(prepared: PreparedInteractions) -> dict[str, list[tuple[str, int]]]:
    """user -> [(item, time), ...] as prepared."""
    ids = prepared.catalog.ids
    return {
        user: [
            (ids[row], time)
            for row, time in zip(prepared.items[a:b].tolist(), prepared.timestamps[a:b].tolist(), strict=True)
        ]
        for user, a, b in zip(prepared.user_ids.to_pylist(), prepared.offsets[:-1], prepared.offsets[1:], strict=True)
    }


def keep_all(log: list[tuple[str, str, int]], **settings: Any) -> PreparedInteractions:
    """The log prepared without a k-core."""
    return prepare(source_of(log), min_user_interactions=1, min_item_interactions=1, **settings)


# Logs of (user, item, time) with many repeats and ties.
logs = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob", "cy", "dé", "e"]), st.sampled_from(["i1", "i2", "i3", "i4"]), st.integers(0, 6)
    ),
    min_size=1,
    max_size=60,
)


# User u has five interactions, v three, w one.
SMALL = [("u", f"i{step}", 10 * step) for step in range(5)] + [("v", f"i{step}", 5 + 10 * step) for step in range(3)]
SMALL = [*SMALL, ("w", "i0", 7)]


def many(users: int = 40, items: int = 12, length: int = 6) -> list[tuple[str, str, int]]:
    """A log without ties, in which every user walks through the items in another way."""
    return [
        (f"user {user:03d}", f"i{(user * 7 + step * (1 + user % 3)) % items:02d}", 100 * step + user)
        for user in range(users)
        for step in range(length + user % 3)
    ]


def shown(dataset: SequentialDataset, split: str) -> dict[str, list[tuple[list[str], str | None]]]:
    """user -> [(items, target), ...] with item ids."""
    part, ids = getattr(dataset, split), dataset.catalog.ids
    found: dict[str, list[tuple[list[str], str | None]]] = {}
    for row in range(len(part)):
        user, history, target = part[row]
        found.setdefault(user, []).append(([ids[i] for i in history.tolist()], None if target is None else ids[target]))
    return found


def check_same_bytes(split: Callable[[PreparedInteractions], SequentialDataset], folder: Path) -> None:
    """A log in another order gives a split with the same bytes, and the saved split is loaded as it was."""
    log = many()
    first, second = split(keep_all(log)), split(keep_all(log[::-1]))
    assert _saved_bytes(first, folder / "a") == _saved_bytes(second, folder / "b")
    loaded = SequentialDataset.load(folder / "a")
    assert loaded == first
    assert loaded.info["protocol"] == first.info["protocol"]


def _saved_bytes(dataset: SequentialDataset, folder: Path) -> dict[str, bytes]:
    dataset.save_to_disk(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
