"""Histories of dictionaries and ids, and what is wrong with some."""

from __future__ import annotations

import pytest

from recformer_hf import UnknownItemError
from tests.support.shop import ITEMS


class TestHistories:
    @pytest.mark.parametrize(
        ("histories", "error", "message"),
        [
            ([["rkA"], []], ValueError, "History 1 is empty; it needs at least one item"),
            (
                [["rkA"], ["rkA", "rkZ"]],
                UnknownItemError,
                "Item 1 of history 1 is unknown: .*'rkZ'.*Closest: 'rkN'",
            ),
            ([["rkA", 3.5]], TypeError, "Item 1 of the history is a float, 3.5; expected a dictionary"),
            ([["rkA", True]], TypeError, "is a bool"),
            ([["rkA"], [{"title": " "}]], ValueError, "Item 0 of history 1 is empty"),
            ([["rkA"], [{"title": b"x"}]], TypeError, "Item 0 of history 1 has a value of type bytes"),
            (["rkA"], TypeError, r"got a list of str. One history is \[history\]"),
            ("rkA", TypeError, "Expected a list of histories, got a str"),
            ([["rkA"], "rkA"], TypeError, "History 1 is a str"),
            ([["rkA"], None], TypeError, "History 1 is a NoneType"),
        ],
    )
    def test_bad_histories(self, model, tokenizer, histories, error, message):
        with pytest.raises(error, match=message):
            model.encode_histories(histories, tokenizer)

    def test_ids_need_a_catalogue(self, model, tokenizer):
        model.catalog = None
        model.encode_histories([[ITEMS["rkA"]]], tokenizer)
        with pytest.raises(ValueError, match=r"is the id 'rkA', but the model has no catalogue.*model.catalog ="):
            model.encode_histories([["rkA"]], tokenizer)

    def test_a_huge_or_strange_id_is_an_error_of_a_line(self, model, tokenizer):
        for item_id in ("x" * 10**6, "\ud800", "", "\x00", 10**5000, -1):
            with pytest.raises(UnknownItemError, match="unknown") as error:
                model.recommend([[item_id]], tokenizer)
            assert len(str(error.value)) < 500
            str(error.value).encode()
