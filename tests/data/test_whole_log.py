"""The log that splits were made from: every interaction once, with what it is for."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.data.sequences import Sequences
from recformer_hf.data.splits import cold_item, leave_one_out, low_resource, temporal, users_held_out
from recformer_hf.data.whole_log import WholeLog, whole_log
from tests.support.prepared import keep_all, logs, many, sequences_of
from tests.support.small_dataset import catalog


def shown(log: WholeLog) -> dict[str, list[tuple[int, str]]]:
    users = log.user_ids.to_pylist()
    rows: dict[str, list[tuple[int, str]]] = {user: [] for user in users}
    for user, item, label in zip(log.users.tolist(), log.items.tolist(), log.labels.tolist(), strict=True):
        rows[users[user]].append((item, log.names[label]))
    return rows


def joined(**splits) -> dict[str, list[tuple[int, str]]]:
    return shown(whole_log(splits, catalog()))


def test_labels():
    train = Sequences.from_lists(["ada", "bob"], [[0, 1], [4]])
    validation = Sequences.from_lists(["ada"], [[0, 1]], [2])
    test = Sequences.from_lists(["cyd", "ada"], [[3, 3], [0, 1, 2]], [5, 1])
    assert joined(train=train, validation=validation, test=test) == {
        "ada": [(0, "train"), (1, "train"), (2, "validation"), (1, "test")],
        "bob": [(4, "train")],
        "cyd": [(3, "history"), (3, "history"), (5, "test")],
    }


def test_several_rows_of_a_user():
    test = Sequences.from_lists(["ada", "ada"], [[0], [0, 1]], [1, 2])
    assert joined(train=Sequences.from_lists(["ada"], [[0]]), test=test) == {
        "ada": [(0, "train"), (1, "test"), (2, "test")]
    }


@settings(max_examples=30, deadline=None)
@given(log=logs, data=st.data())
def test_every_split_gives_the_log_back(log, data):
    prepared = keep_all(log + many())
    shares = {"validation_share": 0.3, "test_share": 0.3}
    splits = [leave_one_out, partial(users_held_out, **shares), partial(temporal, targets="all")]
    split = data.draw(st.sampled_from(splits))
    dataset = low_resource(split(prepared), 1.0)
    found = shown(whole_log(dataset.splits, dataset.catalog))
    for user, rows in sequences_of(prepared).items():
        if split is leave_one_out:
            assert [prepared.catalog.ids[item] for item, _ in found[user]] == [item for item, _ in rows]
        elif user in found:
            known = [prepared.catalog.ids[item] for item, _ in found[user]]
            assert known == [item for item, _ in rows][: len(known)]


def test_sequences_of_no_log_are_named():
    train = Sequences.from_lists(["ada", "bob"], [[0], [1, 2]])
    with pytest.raises(ValueError, match=r"user 'bob' are not beginnings .*'i2' in one, 'i0' in another"):
        joined(train=train, test=Sequences.from_lists(["bob"], [[1, 0]], [3]))
    with pytest.raises(ValueError, match="A target of user 'bob' is in the user's training sequence"):
        joined(train=train, test=Sequences.from_lists(["bob"], [[1]], [2]))
    removed = cold_item(keep_all(many()), held_out_share=0.3).cold
    with pytest.raises(ValueError, match="removed items"):
        whole_log(removed.splits, removed.catalog)
