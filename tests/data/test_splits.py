"""Splits: who trains on what, who is asked for what, and that nothing leaks from one to the other."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.preparation import EmptyResultError
from recformer_hf.data.readers.source import DataError
from recformer_hf.data.splits import by_domain, cold_item, leave_one_out, low_resource, temporal, users_held_out
from tests.support.prepared import keep_all, logs, sequences_of

# u has five interactions, v three, w one.
SMALL = [("u", f"i{step}", 10 * step) for step in range(5)] + [("v", f"i{step}", 5 + 10 * step) for step in range(3)]
SMALL = [*SMALL, ("w", "i0", 7)]


def shown(dataset, split):
    """user -> [(items, target), ...] with item ids."""
    part, ids = getattr(dataset, split), dataset.catalog.ids
    found = {}
    for row in range(len(part)):
        user, history, target = part[row]
        found.setdefault(user, []).append(([ids[i] for i in history.tolist()], None if target is None else ids[target]))
    return found


def saved_bytes(dataset, folder):
    dataset.save_to_disk(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def many(users=40, items=12, length=6):
    """A log without ties: every user a walk through the items of their own."""
    return [
        (f"user {user:03d}", f"i{(user * 7 + step * (1 + user % 3)) % items:02d}", 100 * step + user)
        for user in range(users)
        for step in range(length + user % 3)
    ]


# Leave-one-out


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


# Temporal


def test_temporal_asks_for_the_first_of_each_period():
    dataset = temporal(keep_all(SMALL), validation_from=10, test_from=30)
    assert shown(dataset, "train") == {"u": [(["i0"], None)], "v": [(["i0"], None)], "w": [(["i0"], None)]}
    assert shown(dataset, "validation") == {"u": [(["i0"], "i1")], "v": [(["i0"], "i1")]}
    assert shown(dataset, "test") == {"u": [(["i0", "i1", "i2"], "i3")]}


def test_temporal_can_ask_for_all_of_each_period():
    dataset = temporal(keep_all(SMALL), validation_from=10, test_from=30, targets="all")
    assert shown(dataset, "validation") == {
        "u": [(["i0"], "i1"), (["i0", "i1"], "i2")], "v": [(["i0"], "i1"), (["i0", "i1"], "i2")],
    }  # fmt: skip
    assert shown(dataset, "test")["u"] == [(["i0", "i1", "i2"], "i3"), (["i0", "i1", "i2", "i3"], "i4")]


def test_temporal_reads_dates_and_counts_users_without_a_past():
    day = 86_400
    log = [("u", "a", 0), ("u", "b", 2 * day), ("u", "c", 4 * day), ("new", "a", 4 * day), ("new", "b", 5 * day)]
    dataset = temporal(keep_all(log), validation_from="1970-01-02", test_from="1970-01-04")
    assert shown(dataset, "test") == {"u": [(["a", "b"], "c")]}
    assert dataset.info["split"]["test_targets_without_history"] == 1
    assert dataset.info["split"]["validation_from"] == "1970-01-02"
    whole = temporal(keep_all(log), validation_from="1970-01-02", test_from="1970-01-04", targets="all")
    assert shown(whole, "test") == {"u": [(["a", "b"], "c")], "new": [(["a"], "b")]}


@settings(max_examples=60, deadline=None)
@given(log=logs, cuts=st.tuples(st.integers(1, 5), st.integers(1, 5)), targets=st.sampled_from(["first", "all"]))
def test_temporal_never_trains_on_what_came_after(log, cuts, targets):
    validation_from, test_from = min(cuts), max(cuts)
    prepared = keep_all(log)
    try:
        dataset = temporal(prepared, validation_from, test_from, targets=targets)
    except DataError:  # an empty part, or equal dates
        return
    found = sequences_of(prepared)
    asked = Counter()
    for split, begin, end in (("validation", validation_from, test_from), ("test", test_from, 10**9)):
        for user, rows in shown(dataset, split).items():
            for history, target in rows:
                item, time = found[user][len(history)]
                assert item == target
                assert begin <= time < end
                assert history == [item for item, _ in found[user][: len(history)]]
                asked[user, split] += 1
    for user, ((trained, _),) in shown(dataset, "train").items():
        before = [item for item, time in found[user] if time < validation_from]
        assert trained == before
    for user, rows in found.items():
        late = [(position, time) for position, (_, time) in enumerate(rows) if time >= test_from]
        expected = [position for position, _ in late if position > 0]
        if targets == "first" and late:
            expected = [late[0][0]] if late[0][0] > 0 else []
        assert asked[user, "test"] == len(expected)


def test_temporal_without_dates_takes_shares_of_the_interactions():
    prepared = keep_all(many())
    dataset = temporal(prepared)
    assert 0.6 < len(dataset.train.items) / len(prepared.items) <= 0.8


def test_temporal_dates_must_make_sense():
    prepared = keep_all(SMALL)
    with pytest.raises(DataError, match="must lie before"):
        temporal(prepared, 30, 10)
    with pytest.raises(DataError, match=r"validation_from is 'soon'; expected a date"):
        temporal(prepared, "soon", 10)
    with pytest.raises(EmptyResultError, match=r"No training sequence .* from 1970-01-01 to 1970-01-01 00:00:40"):
        temporal(prepared, 0, 10)
    with pytest.raises(EmptyResultError, match="No test sequence"):
        temporal(prepared, 10, "2020-01-01")


# Cold items


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


# Users held out


def test_held_out_users_are_only_evaluated_on():
    prepared = keep_all(many())
    dataset = users_held_out(prepared, validation_share=0.25, test_share=0.5, seed=4)
    found = {user: [item for item, _ in rows] for user, rows in sequences_of(prepared).items()}
    parts = {split: shown(dataset, split) for split in ("train", "validation", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 10, "validation": 10, "test": 20}
    assert set.union(*map(set, parts.values())) == set(found)
    for split, part in parts.items():
        for user, ((history, target),) in part.items():
            assert ([*history, target] if split != "train" else history) == found[user]
    other = users_held_out(prepared, validation_share=0.25, test_share=0.5, seed=5)
    assert set(shown(other, "test")) != set(parts["test"])
    with pytest.raises(DataError, match="sum below 1"):
        users_held_out(prepared, validation_share=0.5, test_share=0.5)


# Low resource


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
    with pytest.raises(DataError, match="expected above 0 to 1"):
        low_resource(leave_one_out(keep_all(many())), share)


def test_who_is_drawn_depends_on_who_they_are_not_on_who_else_is_there():
    some, more = many(users=40), many(users=44)
    kept = [set(low_resource(leave_one_out(keep_all(log)), 0.5).train.user_ids.to_pylist()) for log in (some, more)]
    newcomers = {f"user {user:03d}" for user in range(40, 44)}
    assert len(kept[0] - kept[1]) <= len(newcomers)


# Domains


def test_domains_are_sequences_of_their_own_over_one_catalogue():
    shoes = keep_all([("u", "a", 1), ("u", "b", 2), ("v", "b", 1)])
    books = keep_all([("u", "b", 5), ("u", "c", 6), ("u", "a", 7), ("w", "c", 1)])
    dataset = by_domain({"shoes": shoes}, {"books": books})
    assert list(dataset.catalog.ids) == ["a", "b", "c"]
    assert shown(dataset, "train") == {"u/shoes": [(["a", "b"], None)], "v/shoes": [(["b"], None)]}
    assert shown(dataset, "validation") == {"u/books": [(["b", "c"], "a")]}
    assert dataset.test is None
    assert set(dataset.info["domains"]) == {"shoes", "books"}
    both = by_domain({"shoes": shoes, "books": books}, {})
    assert len(both.train) == 4
    assert both.validation is None
    with pytest.raises(DataError, match="both trains and validates"):
        by_domain({"shoes": shoes}, {"shoes": shoes})
    with pytest.raises(DataError, match="No domain"):
        by_domain({}, {"shoes": shoes})


# The same bytes


@pytest.mark.parametrize(
    "split",
    [
        leave_one_out,
        temporal,
        users_held_out,
        lambda prepared: cold_item(prepared, held_out_share=0.3).cold,
        lambda prepared: low_resource(leave_one_out(prepared), 0.3),
        lambda prepared: by_domain({"a": prepared}, {"b": prepared}),
    ],
    ids=["leave_one_out", "temporal", "users_held_out", "cold_item", "low_resource", "by_domain"],
)
def test_the_same_log_gives_the_same_bytes_and_a_saved_split_comes_back(split, tmp_path):
    log = many()
    first, second = split(keep_all(log)), split(keep_all(log[::-1]))
    assert saved_bytes(first, tmp_path / "a") == saved_bytes(second, tmp_path / "b")
    loaded = SequentialDataset.load(tmp_path / "a")
    assert loaded == first
    assert loaded.info["protocol"] == first.info["protocol"]
