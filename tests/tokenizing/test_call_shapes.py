"""Columns, arrays and batches of other libraries as items; tables and iterators, which are refused."""

from __future__ import annotations

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from recformer_hf.items.catalog import ItemCatalog
from recformer_hf.tokenization_recformer import RecformerTokenizer
from recformer_hf.tokenizing.call_shapes import check_items, plain_input
from tests.support.tokenizers import CATALOG, GUITAR, SWITCH

ROWS = [{"title": "wok", "brand": "acme"}, {"title": "pan", "brand": None}]


@pytest.fixture(scope="module")
def tokenizer():
    return RecformerTokenizer.train_from_catalog(CATALOG, vocab_size=300)


@pytest.mark.parametrize("data", [SWITCH, [SWITCH], (SWITCH, GUITAR), [[SWITCH]], "text", ["text"], None, b"bytes", 5])
def test_plain_inputs_stay_the_same_object(data):
    assert plain_input(data) is data


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (np.array(ROWS, dtype=object), ROWS),
        (pd.Series(ROWS), ROWS),
        (pl.Series([{"a": "b"}]), [{"a": "b"}]),
        (pa.array([{"a": "b"}]), [{"a": "b"}]),
        (pa.chunked_array([["a", "b"]]), ["a", "b"]),
        (datasets.Dataset.from_dict({"title": ["a", "b"]})["title"], ["a", "b"]),
        ([np.array(ROWS, dtype=object), [SWITCH]], [ROWS, [SWITCH]]),
        (pd.Series([[SWITCH], [GUITAR, SWITCH]]), [[SWITCH], [GUITAR, SWITCH]]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_column_is_the_list_of_its_elements(tokenizer, column, expected):
    assert plain_input(column) == expected
    assert tokenizer(column, padding=True) == tokenizer(expected, padding=True)


@pytest.mark.parametrize("batched", [False, True])
def test_every_row_of_a_mapped_dataset_is_an_item(tokenizer, batched):
    dataset = datasets.Dataset.from_list(ROWS)
    mapped = dataset.map(tokenizer, batched=batched)
    assert mapped["input_ids"][:] == [tokenizer(row)["input_ids"] for row in ROWS]


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        (pd.DataFrame(ROWS), r'frame\.to_dict\("records"\)'),
        (pl.DataFrame(ROWS), r"frame\.to_dicts\(\)"),
        (pa.Table.from_pylist(ROWS), r"table\.to_pylist\(\)"),
        (datasets.Dataset.from_list(ROWS), r"list\(dataset\)"),
        (
            datasets.DatasetDict(train=datasets.Dataset.from_list(ROWS)),
            r"of one split as dict.*: list\(dataset\)",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_table_is_refused_with_the_call_that_gives_its_rows(tokenizer, table, rows):
    with pytest.raises(TypeError, match=rf"got a {type(table).__name__}, which is a table.*{rows}"):
        tokenizer(table)
    if isinstance(table, datasets.Dataset):
        check_items(table, "encode_items")  # iterating gives its rows
        return
    with pytest.raises(TypeError, match=rf"encode_items takes several item dictionaries.*{rows}"):
        tokenizer.encode_items(table)
    with pytest.raises(TypeError, match=rf"train_from_catalog takes several item dictionaries.*{rows}"):
        RecformerTokenizer.train_from_catalog(table)


@pytest.mark.parametrize(
    "data",
    [iter([SWITCH]), (item for item in [SWITCH]), {"a"}, {"a": SWITCH}.values(), range(3)],
)
def test_other_objects_are_refused_with_what_is_taken(tokenizer, data):
    with pytest.raises(TypeError, match=rf"takes text, an item .*a batch .*{type(data).__name__}"):
        tokenizer(data)


def test_what_a_tokenizer_returned_is_no_item(tokenizer):
    with pytest.raises(TypeError, match="tokenized already"):
        tokenizer(tokenizer(SWITCH))


@pytest.mark.parametrize("items", [None, 5, SWITCH, "text", b"bytes"])
def test_several_items_are_an_iterable(items):
    with pytest.raises(TypeError, match="encode_items takes several item dictionaries, got"):
        check_items(items, "encode_items")


def test_iterables_of_items():
    for items in ([], iter(ROWS), (row for row in ROWS), {"a": SWITCH}.values(), ItemCatalog.from_items({"a": SWITCH})):
        check_items(items, "encode_items")
