"""The split at two dates: nothing that came later is trained on."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.data.preparation import EmptyResultError
from recformer_hf.data.readers.source import DataError
from recformer_hf.data.splits import temporal
from tests.support.prepared import SMALL, check_same_bytes, keep_all, logs, many, sequences_of, shown


def test_temporal_asks_for_the_first_of_each_period():
    dataset = temporal(keep_all(SMALL), validation_from=10, test_from=30)
    assert shown(dataset, "train") == {"u": [(["i0"], None)], "v": [(["i0"], None)], "w": [(["i0"], None)]}
    assert shown(dataset, "validation") == {"u": [(["i0"], "i1")], "v": [(["i0"], "i1")]}
    assert shown(dataset, "test") == {"u": [(["i0", "i1", "i2"], "i3")]}


@pytest.mark.parametrize("moment", ["2017-07-14", "20170714", 1_499_990_400, "1499990400", "2017-07-14T02:00+02:00"])
def test_dates_in_every_notation_are_the_same_moment(moment):
    log = [(user, item, 1_499_990_000 + time) for user, item, time in many()]
    dataset = temporal(keep_all(log), moment, 1_499_990_500)
    assert dataset.info["split"]["validation_from"] == "2017-07-14"


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


def test_the_same_log_gives_the_same_bytes_and_a_saved_split_comes_back(tmp_path):
    check_same_bytes(temporal, tmp_path)
