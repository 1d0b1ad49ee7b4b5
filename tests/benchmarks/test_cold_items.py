"""The study of cold items on real shops: its split, and its table."""

from __future__ import annotations

import pytest

from benchmarks import cold_items, results_tables
from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.data.sequences import Sequences
from recformer_hf.data.splits import cold_item, leave_one_out


@pytest.fixture(scope="module")
def dataset() -> SequentialDataset:
    whole = load_demo_domain("kitchen", num_users=60, num_items=60)
    return leave_one_out(cold_items.interactions(whole))


def test_the_interactions_are_those_that_were_split(dataset):
    again = leave_one_out(cold_items.interactions(dataset))
    for name in ("train", "validation", "test"):
        before, after = getattr(dataset, name), getattr(again, name)
        assert after.user_ids.to_pylist() == before.user_ids.to_pylist()
        assert [after.history(row).tolist() for row in range(len(after))] == [
            before.history(row).tolist() for row in range(len(before))
        ]
        if name != "train":
            assert after.targets.tolist() == before.targets.tolist()


def test_held_out_items_are_in_no_training_sequence(dataset):
    parts = cold_item(cold_items.interactions(dataset), held_out_share=cold_items.SHARE)
    seen = set(parts.cold.train.items.tolist())
    assert not seen & set(parts.cold.test.targets.tolist())
    assert set(parts.in_set.test.targets.tolist()) <= seen
    assert len(parts.cold.test) + len(parts.in_set.test) == len(dataset.test)


def test_a_dataset_without_a_test_split_is_refused(dataset):
    rows = Sequences(dataset.train.user_ids, dataset.train.items, dataset.train.offsets)
    with pytest.raises(ValueError, match="no test split"):
        cold_items.interactions(SequentialDataset(dataset.catalog, rows, dataset.validation, None, dataset.info))


def test_the_table_has_a_column_for_each_domain_and_part():
    figures = {part: [[0.1, 0.05, 0.15], [0.2, 0.15, 0.25]] for part in cold_items.PARTS}
    rows = cold_items.figures_of({"toys": {"a": figures, "b": figures}, "beauty": {"a": figures}})
    head, first, second = results_tables.TABLES["cold_items"](rows)
    assert head[1:] == ["toys, held-out targets", "toys, others", "beauty, held-out targets", "beauty, others"]
    assert first == ["a", *[".1000 / .2000"] * 4]
    assert second == ["b", ".1000 / .2000", ".1000 / .2000", "", ""]
