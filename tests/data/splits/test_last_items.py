"""Leave-one-out, and its test rows with and without cold targets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.data.preparation import EmptyResultError
from recformer_hf.data.readers.source import DataError
from recformer_hf.data.splits import cold_item, leave_one_out
from tests.support.prepared import SMALL, check_same_bytes, keep_all, logs, many, sequences_of, shown


def test_leave_one_out_is_the_papers():
    dataset = leave_one_out(keep_all(SMALL))
    assert shown(dataset, "train") == {
        "u": [(["i0", "i1", "i2"], None)], "v": [(["i0"], None)], "w": [(["i0"], None)],
    }  # fmt: skip
    assert shown(dataset, "validation") == {"u": [(["i0", "i1", "i2"], "i3")], "v": [(["i0"], "i1")]}
    assert shown(dataset, "test") == {"u": [(["i0", "i1", "i2", "i3"], "i4")], "v": [(["i0", "i1"], "i2")]}
    assert "w" not in shown(leave_one_out(keep_all(SMALL), short_users="drop"), "train")
    assert dataset.info["split"]["users_shorter_than_three"] == 1
    assert "Leave-one-out" in dataset.info["protocol"]
    assert dataset.train.items.dtype == np.int32


@settings(max_examples=60, deadline=None)
@given(log=logs)
def test_leave_one_out_loses_and_invents_nothing_and_keeps_the_order(log):
    prepared = keep_all(log)
    found = {user: [item for item, _ in rows] for user, rows in sequences_of(prepared).items()}
    if all(len(items) < 3 for items in found.values()):
        with pytest.raises(EmptyResultError, match="three interactions"):
            leave_one_out(prepared)
        return
    dataset = leave_one_out(prepared)
    train, validation, test = (shown(dataset, split) for split in ("train", "validation", "test"))
    assert set(train) == set(found)
    for user, items in found.items():
        ((trained, _),) = train[user]
        if len(items) < 3:
            assert trained == items
            assert user not in validation
            assert user not in test
        else:
            assert validation[user] == [(trained, items[-2])]
            assert test[user] == [([*trained, items[-2]], items[-1])]
            assert [*trained, items[-2], items[-1]] == items


def test_cold_and_in_set_rows_are_all_test_rows_and_training_has_seen_only_the_latter():
    prepared = keep_all([*many(), *[("late", f"i{step:02d}", 5 * step) for step in range(4)], ("late", "unseen", 99)])
    whole, (in_set, cold) = leave_one_out(prepared), cold_item(prepared)
    assert in_set.train == cold.train == whole.train
    assert in_set.validation == cold.validation == whole.validation
    assert shown(cold, "test") == {"late": [(["i00", "i01", "i02", "i03"], "unseen")]}
    assert {**shown(in_set, "test"), **shown(cold, "test")} == shown(whole, "test")
    assert in_set.statistics["share_test_targets_not_in_training"] == 0
    assert cold.statistics["share_test_targets_not_in_training"] == 1


@settings(max_examples=30, deadline=None)
@given(share=st.floats(0.1, 0.6), seed=st.integers(0, 9))
def test_held_out_items_are_nowhere_in_training_and_validation(share, seed):
    prepared = keep_all(many())
    whole = leave_one_out(prepared)
    try:
        in_set, cold = cold_item(prepared, held_out_share=share, seed=seed)
    except EmptyResultError:
        return
    trained = set(cold.train.items.tolist())
    assert trained.isdisjoint(cold.test.targets.tolist())
    assert set(in_set.test.targets.tolist()) <= trained
    assert len(trained) <= len(prepared.catalog) - cold.info["split"]["held_out_items"]
    assert set(cold.validation.items.tolist()) | set(cold.validation.targets.tolist()) <= trained
    assert {**shown(in_set, "test"), **shown(cold, "test")} == shown(whole, "test")  # histories whole
    held_out = {prepared.catalog.id_of(row) for row in range(len(prepared.catalog)) if row not in trained}
    for user, ((items, _),) in shown(whole, "train").items():
        left = [item for item in items if item not in held_out]
        assert shown(cold, "train").get(user, [([], None)]) == [(left, None)]


def test_larger_shares_hold_out_more_of_the_same_items():
    prepared = keep_all(many())
    seen = [set(cold_item(prepared, held_out_share=share).cold.train.items.tolist()) for share in (0.2, 0.4)]
    assert seen[1] < seen[0]


def test_a_split_without_cold_rows_says_so():
    log = [(user, item, time) for user in "uvw" for time, item in enumerate("aabcab")]
    with pytest.raises(EmptyResultError, match=r"No cold test row: of 3 targets 3 occur in training. Hold out more"):
        cold_item(keep_all(log))
    with pytest.raises(DataError, match="held_out_share is 1"):
        cold_item(keep_all(log), held_out_share=1)


@pytest.mark.parametrize(
    "split",
    [leave_one_out, lambda prepared: cold_item(prepared, held_out_share=0.3).cold],
    ids=["leave_one_out", "cold_item"],
)
def test_the_same_log_gives_the_same_bytes_and_a_saved_split_comes_back(split, tmp_path):
    check_same_bytes(split, tmp_path)
