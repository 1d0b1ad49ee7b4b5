"""Columns by a header."""

from __future__ import annotations

import pytest

from recformer_hf.data.readers.header import (
    column_names,
    columns_of_text,
    nameless_columns,
    nameless_error,
    sequence_columns,
)


def test_names_have_no_white_space_around_them_and_no_types():
    assert column_names([" a", "b\t", ""]) == ["a", "b", ""]
    names = ["item_id:token", "title:token_seq", "price:float", "vector:float_seq", "time:date", "x"]
    assert column_names(names, typed=True) == ["item_id", "title", "price", "vector", "time:date", "x"]
    assert column_names(names) == names
    assert column_names(["item_id :token", "a"], typed=True) == ["item_id", "a"]
    assert sequence_columns([*names, "id_seq", " items:token_seq "]) == ["title", "vector", "items"]


@pytest.mark.parametrize(
    ("names", "columns", "nameless"),
    [
        (["", "a", "b"], ["a", "b"], []),
        (["Unnamed: 0", "a"], ["a"], []),
        (["Unnamed: 0.1", "Unnamed: 0", "a"], ["a"], []),
        (["a", "Unnamed: 0"], ["a", "Unnamed: 0"], []),
        (["a", "", "b", ""], ["a", "b"], [1, 3]),
        (["", "", "a"], ["a"], [1]),
        ([""], [], []),
    ],
)
def test_what_pandas_and_excel_add_is_no_column(names, columns, nameless):
    assert columns_of_text(names) == columns
    assert nameless_columns(names) == nameless


def test_a_value_without_a_column_name_is_named():
    assert "items.csv has values in column 3" in str(nameless_error("items.csv", 2, 7, "x"))
