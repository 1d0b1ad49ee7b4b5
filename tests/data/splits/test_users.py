"""The split by users."""

from __future__ import annotations

import pytest

from recformer_hf.data.readers.source import DataError
from recformer_hf.data.splits import users_held_out
from tests.support.prepared import check_same_bytes, keep_all, many, sequences_of, shown


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
    with pytest.raises(DataError, match="validation_share is nan"):
        users_held_out(prepared, validation_share=float("nan"))


def test_the_same_log_gives_the_same_bytes_and_a_saved_split_comes_back(tmp_path):
    check_same_bytes(users_held_out, tmp_path)
