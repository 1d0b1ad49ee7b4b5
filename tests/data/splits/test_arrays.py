"""Pieces of flat sequences, taken, thinned and joined."""

from __future__ import annotations

import numpy as np
import pytest

from recformer_hf.data.preparation import EmptyResultError
from recformer_hf.data.sequences import Sequences
from recformer_hf.data.splits.arrays import concatenated, joined_catalog, sequences_between, take_ids, without_items
from recformer_hf.items.catalog import ItemCatalog
from tests.support.prepared import SMALL, keep_all


def test_pieces_are_taken_of_users_chosen_by_mask_or_number():
    prepared = keep_all(SMALL)  # u: rows 0 to 4, v: 0 to 2, w: 0
    starts, ends = prepared.offsets[:-1], prepared.offsets[1:]
    by_mask = sequences_between(prepared, np.array([True, False, True]), starts, ends)
    assert by_mask == Sequences.from_lists(["u", "w"], [[0, 1, 2, 3, 4], [0]])
    numbers = np.array([1, 0, 1])
    by_number = sequences_between(
        prepared, numbers, starts[numbers], starts[numbers] + [1, 3, 2], targets=ends[numbers] - 1
    )
    assert by_number == Sequences.from_lists(["v", "u", "v"], [[0], [0, 1, 2], [0, 1]], [2, 4, 2])


def test_all_ids_are_not_copied():
    ids = keep_all(SMALL).user_ids
    assert take_ids(ids, np.arange(3)) is ids
    assert take_ids(ids, np.array([0, 2, 1])).to_pylist() == ["u", "w", "v"]


def test_held_out_items_leave_histories_and_rows_that_lose_everything_go():
    held_out = np.array([False, True, False, True])
    train = Sequences.from_lists(["a", "b", "c"], [[0, 1, 2], [1, 3], [2]])
    assert without_items(train, held_out) == Sequences.from_lists(["a", "c"], [[0, 2], [2]])
    test = Sequences.from_lists(["a", "b", "c"], [[0, 1, 2], [1, 2], [2]], [0, 3, 2])
    assert without_items(test, held_out) == Sequences.from_lists(["a", "c"], [[0, 2], [2]], [0, 2])
    assert without_items(train, np.zeros(4, dtype=bool)) is train
    with pytest.raises(EmptyResultError, match="Hold out fewer items"):
        without_items(train, np.ones(4, dtype=bool))


def test_parts_are_joined_in_order():
    first, second = Sequences.from_lists(["a"], [[0, 1]], [2]), Sequences.from_lists(["b", "c"], [[2], [1]], [0, 0])
    assert concatenated([first, second]) == Sequences.from_lists(["a", "b", "c"], [[0, 1], [2], [1]], [2, 0, 0])
    whole = [Sequences.from_lists(["a"], [[0, 1]]), Sequences.from_lists(["b"], [[2]])]
    assert concatenated(whole) == Sequences.from_lists(["a", "b"], [[0, 1], [2]])


def test_a_joined_catalogue_has_each_id_once_with_its_first_text():
    shoes = ItemCatalog.from_items({"x": {"title": "first"}, "y": {"title": "only"}})
    books = ItemCatalog.from_items({"z": {"title": "new"}, "x": {"title": "second"}})
    catalog, rows = joined_catalog({"shoes": shoes, "books": books})
    assert dict(zip(catalog.ids, catalog, strict=True)) == {
        "x": {"title": "first"}, "y": {"title": "only"}, "z": {"title": "new"},
    }  # fmt: skip
    assert {name: found.tolist() for name, found in rows.items()} == {"shoes": [0, 1], "books": [2, 0]}
