"""Preparation: what goes, what stays, and in which order."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.preparation import FILE_ORDER, EmptyResultError, UnknownItemsError, prepare
from recformer_hf.data.readers.amazon import read_amazon
from recformer_hf.data.readers.source import DataError, Source
from recformer_hf.data.splits import by_domain, leave_one_out, temporal
from tests.support.data_sources import ITEMS, LOG, write_amazon
from tests.support.prepared import keep_all, logs, sequences_of, source_of


def test_exact_duplicates_go_and_repeats_at_another_time_stay():
    log = [("u", "a", 1), ("u", "a", 1), ("u", "a", 2), ("v", "a", 1), ("u", "b", 1), ("u", "a", 1)]
    for ties in ("random", "item_id", "file"):
        prepared = keep_all(log, ties=ties)
        assert {user: Counter(found) for user, found in sequences_of(prepared).items()} == {
            "u": Counter([("a", 1), ("b", 1), ("a", 2)]),
            "v": Counter([("a", 1)]),
        }
        assert prepared.info["preparation"]["exact_duplicates_dropped"] == 2


@settings(max_examples=60, deadline=None)
@given(log=logs, ties=st.sampled_from(["random", "item_id", "file"]))
def test_no_interaction_is_lost_or_invented_and_time_ascends(log, ties):
    prepared = keep_all(log, ties=ties)
    found = sequences_of(prepared)
    assert Counter((user, *row) for user, rows in found.items() for row in rows) == Counter(set(log))
    assert all([time for _, time in rows] == sorted(time for _, time in rows) for rows in found.values())
    assert list(found) == sorted(found, key=str.encode)
    assert list(prepared.catalog.ids) == sorted({item for _, item, _ in log})


@settings(max_examples=40, deadline=None)
@given(log=logs, order=st.randoms(use_true_random=False), seed=st.integers(0, 5))
def test_the_order_of_the_files_rows_changes_nothing_unless_asked(log, order, seed):
    shuffled = list(log)
    order.shuffle(shuffled)
    for ties in ("random", "item_id"):
        first, second = (keep_all(rows, ties=ties, seed=seed) for rows in (log, shuffled))
        assert first.items.tobytes() == second.items.tobytes()
        assert first.timestamps.tobytes() == second.timestamps.tobytes()
        assert first.user_ids.equals(second.user_ids)
        assert first.info == second.info


def test_interned_ids_give_the_same_as_text():
    text = source_of(LOG)
    interned = Source(
        text.interactions.with_columns(
            pl.col("user_id").cast(pl.Categorical(pl.Categories.random())),
            pl.col("item_id").cast(pl.Categorical(pl.Categories.random())),
        ),
        text.items,
        text.report,
    )
    first, second = (prepare(s, min_user_interactions=5, min_item_interactions=1) for s in (text, interned))
    assert first.items.tobytes() == second.items.tobytes()
    assert first.user_ids.equals(second.user_ids)
    assert first.catalog == second.catalog


def test_the_newest_are_kept_of_a_long_history():
    log = [("u", f"i{step}", step) for step in range(6)] + [("v", "i0", 3)]
    prepared = keep_all(log, max_history=2)
    assert sequences_of(prepared) == {"u": [("i4", 4), ("i5", 5)], "v": [("i0", 3)]}
    assert prepared.info["preparation"]["interactions_beyond_max_history_dropped"] == 4


def test_unknown_items_and_items_without_text_are_counted_and_dropped_or_refused():
    log = [("u", "known", 1), ("u", "strange", 2), ("v", "strange", 3), ("v", "blank", 4), ("v", "known", 5)]
    source = source_of(log, {"known": "A title", "blank": "  ", "never bought": "B"})
    settings = {"min_user_interactions": 1, "min_item_interactions": 1}
    prepared = prepare(source, **settings)
    assert sequences_of(prepared) == {"u": [("known", 1)], "v": [("known", 5)]}
    counts = prepared.info["preparation"]
    assert (counts["unknown_items_dropped"], counts["interactions_of_unknown_items_dropped"]) == (1, 2)
    assert (counts["items_without_text_dropped"], counts["interactions_of_items_without_text_dropped"]) == (1, 1)
    with pytest.raises(
        UnknownItemsError, match=r"1 of the log's 3 items are not in .*2 interactions; first: 'strange'"
    ):
        prepare(source, **settings, unknown_items="error")
    with pytest.raises(UnknownItemsError, match=r"without any text .*'blank'"):
        prepare(source, **settings, items_without_text="error")


def test_an_empty_core_says_the_counts_of_every_round():
    with pytest.raises(
        EmptyResultError,
        match=r"round 0: 3 interactions, 2 users, 2 items; round 1: 0 interactions, 0 users.*Lower min_user",
    ):
        prepare(source_of([("u", "a", 1), ("u", "b", 2), ("v", "a", 3)]))
    with pytest.raises(EmptyResultError, match="2 were of unknown items"):
        prepare(source_of([("u", "a", 1), ("v", "b", 2)], {"c": "Title"}))
    with pytest.raises(EmptyResultError, match="Nothing is left of 0 interactions"):
        prepare(source_of([]))


def test_repeated_item_ids_are_refused():
    source = source_of(LOG)
    twice = Source(source.interactions, pl.concat([source.items, source.items]), source.report)
    with pytest.raises(DataError, match=r"10 ids occur more than once .*'B000'"):
        prepare(twice)


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_user_interactions": 0}, {"min_item_interactions": -1}, {"ties": "first"}, {"max_history": 0},
        {"unknown_items": "keep"}, {"items_without_text": "keep"},
    ],
)  # fmt: skip
def test_arguments_out_of_range_name_themselves_and_what_they_may_be(wrong):
    (name,) = wrong
    with pytest.raises(DataError, match=f"{name} is .*expected"):
        prepare(source_of(LOG), **wrong)


@pytest.mark.parametrize("value", [2.5, "2", True, float("nan")])
@pytest.mark.parametrize("name", ["min_user_interactions", "min_item_interactions", "max_history", "seed"])
def test_numbers_are_whole_numbers(name, value):
    with pytest.raises(TypeError, match=f"{name} is .*expected a whole number"):
        prepare(source_of(LOG), **{name: value})


def test_numbers_of_numpy_can_be_saved(tmp_path):
    prepared = prepare(source_of(LOG), min_item_interactions=np.int64(1), seed=np.int32(3), max_history=np.int8(4))
    leave_one_out(prepared).save_to_disk(tmp_path / "set")
    assert SequentialDataset.load(tmp_path / "set").info["seed"] == 3


class TestWithoutTimes:
    def source(self) -> Source:
        """A log whose order is not that of ids, with an item twice in a row."""
        log = [("u", item, row) for row, item in enumerate(["c", "a", "a", "b", "c"])]
        source = source_of(log)
        return replace(source, report=replace(source.report, file_order=True))

    def test_the_order_of_the_rows_is_kept_and_said(self, tmp_path):
        prepared = prepare(self.source(), min_user_interactions=1, min_item_interactions=1)
        assert [prepared.catalog.ids[row] for row in prepared.items.tolist()] == ["c", "a", "a", "b", "c"]
        assert not prepared.has_times
        assert prepared.info["preparation"]["ties"] == "file"
        assert prepared.info["seed"] is None
        assert prepared.info["share_tied_timestamps"] is None
        assert prepared.info["read"]["file_order"] is True
        leave_one_out(prepared).save_to_disk(tmp_path / "set")
        assert SequentialDataset.load(tmp_path / "set").info["order"] == FILE_ORDER
        card = (tmp_path / "set" / "README.md").read_text()
        assert f"- **Order of the interactions:** {FILE_ORDER}" in card
        assert "| interactions tied in time with another of the same user | not known |" in card

    def test_what_needs_times_is_refused(self):
        prepared = prepare(self.source(), min_user_interactions=1, min_item_interactions=1)
        with pytest.raises(DataError, match=r"temporal split needs times.*leave_one_out"):
            temporal(prepared)
        with pytest.raises(DataError, match="has no times"):
            prepare(self.source(), ties="item_id")

    def test_joined_with_a_domain_that_has_times(self):
        without = prepare(self.source(), min_user_interactions=1, min_item_interactions=1)
        joined = by_domain({"one": without, "two": keep_all(LOG)}, {})
        assert joined.info["share_tied_timestamps"] is None
        assert joined.info["order"] == FILE_ORDER


def test_from_raw_files_to_the_catalogue(tmp_path):
    source = read_amazon(*write_amazon(tmp_path, "2018"), "2018")
    prepared = prepare(source, min_user_interactions=5, min_item_interactions=1)
    row = prepared.catalog.row_of("B003")
    assert prepared.catalog[row] == {"title": "Lantern 3", "brand": "Brand 0", "category": "Garden Lights"}
    assert prepared.items.dtype == np.int32
    assert prepared.info["source"] == "Amazon reviews 2018 (Shop.json.gz, meta_Shop.json.gz)"
    assert set(ITEMS) >= set(prepared.catalog.ids)
