"""Shares of the training sequences."""

from __future__ import annotations

import pytest

from recformer_hf.data.readers.source import DataError
from recformer_hf.data.splits import leave_one_out, low_resource
from tests.support.prepared import check_same_bytes, keep_all, many, shown


def test_low_resource_subsets_are_nested_and_leave_evaluation_alone():
    dataset = leave_one_out(keep_all(many(users=200)))
    subsets = {share: low_resource(dataset, share, seed=7) for share in (0.01, 0.05, 0.1, 0.5, 1.0)}
    users = {share: subset.train.user_ids.to_pylist() for share, subset in subsets.items()}
    assert [len(kept) for kept in users.values()] == [2, 10, 20, 100, 200]
    for smaller, larger in zip(list(users)[:-1], list(users)[1:], strict=True):
        assert set(users[smaller]) < set(users[larger])
    for share, subset in subsets.items():
        assert subset.validation is dataset.validation
        assert subset.test is dataset.test
        assert subset.catalog is dataset.catalog
        assert users[share] == [user for user in dataset.train.user_ids.to_pylist() if user in set(users[share])]
        assert all(shown(subset, "train")[user] == shown(dataset, "train")[user] for user in users[share])
    assert subsets[1.0].train == dataset.train
    assert low_resource(dataset, 0.1, seed=8).train != subsets[0.1].train
    assert "Low resource: 5%" in subsets[0.05].info["protocol"]


@pytest.mark.parametrize("share", [0, -0.1, 1.5, 5])
def test_a_share_is_a_share(share):
    with pytest.raises(DataError, match="expected above 0 and at most 1"):
        low_resource(leave_one_out(keep_all(many())), share)


def test_who_is_drawn_depends_on_who_they_are_not_on_who_else_is_there():
    some, more = many(users=40), many(users=44)
    kept = [set(low_resource(leave_one_out(keep_all(log)), 0.5).train.user_ids.to_pylist()) for log in (some, more)]
    newcomers = {f"user {user:03d}" for user in range(40, 44)}
    assert len(kept[0] - kept[1]) <= len(newcomers)


def test_the_same_log_gives_the_same_bytes_and_a_saved_split_comes_back(tmp_path):
    check_same_bytes(lambda prepared: low_resource(leave_one_out(prepared), 0.3), tmp_path)
