"""Splits made elsewhere: ids and rows by user, and what is wrong with them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.items.catalog import ItemCatalog
from tests.support.small_dataset import catalog, small_dataset

HISTORIES = {"ada": ["i0", "i1"], "bob": ["i2", "i0", "i1"], "cyd": ["i3"]}
VALIDATION = dict(zip(HISTORIES, zip(HISTORIES.values(), ["i2", "i3", "i0"], strict=True), strict=True))
TEST = {"ada": (["i0", "i1", "i2"], "i1"), "bob": (["i2", "i0", "i1", "i3"], "i4"), "cyd": (["i3", "i0"], "i2")}


def rows_of(ids):
    return [int(item[1:]) for item in ids]


class TestForms:
    def test_ids_by_user(self):
        found = SequentialDataset.from_sequences(catalog(), HISTORIES, VALIDATION, TEST, name="mine")
        assert found == small_dataset()
        assert found.info["name"] == "mine"
        assert found.info["protocol"] == "made by the caller"

    def test_rows_by_user(self):
        def pairs(split):
            return {user: (rows_of(history), int(target[1:])) for user, (history, target) in split.items()}

        train = {user: np.array(rows_of(items)) for user, items in HISTORIES.items()}
        rows = SequentialDataset.from_sequences(catalog(), train, pairs(VALIDATION), pairs(TEST), items="rows")
        assert rows == small_dataset()

    def test_lists_of_rows_and_sequences(self):
        expected = small_dataset()
        test = [(user, *pair) for user, pair in TEST.items()]
        assert (
            SequentialDataset.from_sequences(catalog(), list(HISTORIES.items()), expected.validation, test) == expected
        )
        again = SequentialDataset.from_sequences(
            catalog(), list(expected.train), None, list(expected.test), items="rows"
        )
        assert again.test == expected.test
        assert again.validation is None

    def test_a_user_may_be_tested_twice_but_train_once(self):
        twice = [("ada", ["i0"], "i1"), ("ada", ["i0", "i1"], "i2")]
        assert len(SequentialDataset.from_sequences(catalog(), HISTORIES, test=twice).test) == 2
        with pytest.raises(ValueError, match="1 of 2 users of train occur again"):
            SequentialDataset.from_sequences(catalog(), [("ada", ["i0"]), ("ada", ["i1"])])

    def test_whole_numbers_are_ids_unless_they_are_said_to_be_rows(self):
        numbers = ItemCatalog.from_items({str(row + 1): {"title": f"T{row}"} for row in range(3)})
        for items in ([3, 1], [3.0, 1.0], np.array([3, 1]), ["3", "1"]):
            assert SequentialDataset.from_sequences(numbers, {7: items}).train[0].history.tolist() == [2, 0]
        assert SequentialDataset.from_sequences(numbers, {7: [2, 1]}, items="rows").train[0].history.tolist() == [2, 1]
        assert SequentialDataset.from_sequences(numbers, {7: [1]}).train[0].user_id == "7"

    def test_info_goes_into_the_card(self, tmp_path):
        info = {"protocol": "five folds", "license": "cc0-1.0"}
        SequentialDataset.from_sequences(catalog(), HISTORIES, info=info).save_to_disk(tmp_path / "set")
        card = (tmp_path / "set" / "README.md").read_text()
        assert "**Protocol:** five folds" in card
        assert SequentialDataset.load(tmp_path / "set").train == small_dataset().train


@pytest.mark.parametrize(
    ("splits", "error", "message"),
    [
        ({"train": {"u": ["i0", "x9"]}}, ValueError, "1 of 2 items of train are not in .* 'x9' of user 'u'"),
        ({"train": {"u": [0]}}, ValueError, r'the first: 0 of user .u.*items="rows"'),
        ({"train": {"u": ["i0", None]}}, ValueError, "the first: None of user 'u'"),
        ({"train": {"u": [float("nan")]}}, ValueError, "the first: nan of user 'u'"),
        ({"train": {"u": ["i0", 1.5]}}, TypeError, r"train, user 'u': The item id 1\.5"),
        ({"train": {"u": [True]}}, TypeError, "train, user 'u': The item id True"),
        ({"train": {"u": []}}, ValueError, "train: 1 of 1 users have no items"),
        ({"train": {}}, ValueError, "train has no users"),
        ({"train": {1: ["i0"], "u": ["i0"], "1": ["i1"]}}, ValueError, "1 of 3 users .* occur again, the first: '1'"),
        ({"train": None}, TypeError, "train is a NoneType; expected a mapping"),
        ({"train": {"u": "i0"}}, TypeError, "The items of user 'u' in train are 'i0'; expected a list"),
        ({"train": ["i0", "i1"]}, TypeError, "Row 0 of train is 'i0'; expected a user and a list"),
        ({"train": {"u": (["i0"], "i1")}}, TypeError, "expected the user and one list of items"),
        ({"train": {None: ["i0"]}}, ValueError, "Row 0 of train has no user: None"),
        ({"train": {1.5: ["i0"]}}, TypeError, r"The user of row 0 of train: The user id 1\.5"),
        ({"test": {"u": ["i0", "i1"]}}, TypeError, r"pass \(items\[:-1\], items\[-1\]\) for the user"),
        ({"test": {"u": (["i0"], "x9")}}, ValueError, "1 of 1 items of the targets of test .* 'x9' of user 'u'"),
        ({"test": {"u": (["i0"], None)}}, ValueError, "the targets of test .* None of user 'u'"),
        ({"test": {"u": (["i0"], ["i1"])}}, TypeError, r"The target of user 'u' in test is \['i1'\]; expected one"),
        ({"test": {"u": ([], "i1")}}, ValueError, "test: 1 of 1 users have no items"),
        ({"train": {"u": [0.0]}, "items": "rows"}, TypeError, "The rows of user 'u' in train is float64"),
        ({"train": {"u": [True]}, "items": "rows"}, TypeError, "The rows of user 'u' in train is bool"),
        ({"train": {"u": ["i0"]}, "items": "rows"}, TypeError, r"catalog.rows_of\(ids\)"),
        ({"train": {"u": [-1]}, "items": "rows"}, ValueError, "train: 1 of 1 items are negative"),
        ({"train": {"u": [6]}, "items": "rows"}, ValueError, "1 of 1 items of train are not in the catalogue"),
        ({"test": {"u": ([0], 2**31)}, "items": "rows"}, ValueError, "test: targets go from"),
        ({"test": {"u": ([0], 0.5)}, "items": "rows"}, TypeError, "targets of test is float64"),
        ({"items": "names"}, ValueError, 'expected "ids" or "rows"'),
        ({"catalog": {"i0": {"title": "T"}}}, TypeError, "catalog is a dict; expected an ItemCatalog"),
        ({"info": {"date": object()}}, TypeError, "info cannot be saved as JSON"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(splits, error, message):
    arguments = {"catalog": catalog(), "train": HISTORIES if splits.get("items") != "rows" else {"u": [0]}} | splits
    with pytest.raises(error, match=message):
        SequentialDataset.from_sequences(**arguments)


def test_a_frame_is_refused_with_the_way():
    pd = pytest.importorskip("pandas")
    with pytest.raises(TypeError, match=r"train is a DataFrame; .*from_frames"):
        SequentialDataset.from_sequences(catalog(), pd.DataFrame({"user_id": ["u"], "item_id": ["i0"]}))


def test_lists_of_items_that_pandas_grouped():
    rows = [(user, item) for user, items in HISTORIES.items() for item in items]
    grouped = pd.DataFrame(rows, columns=["user", "item"]).groupby("user", sort=False)["item"].agg(list)
    given, expected = (SequentialDataset.from_sequences(catalog(), train) for train in (grouped, HISTORIES))
    assert given.train == expected.train
    with pytest.raises(ValueError, match="occur again"):
        SequentialDataset.from_sequences(catalog(), pd.concat([grouped, grouped]))
