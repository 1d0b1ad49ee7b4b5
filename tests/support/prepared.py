"""Small logs, prepared, for the tests of preparation and splits."""

from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import strategies as st

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
