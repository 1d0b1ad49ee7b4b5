"""Ragged arrays, against loops over their rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recformer_hf.data.arrays import gather, integers, offsets_from_lengths, rows_within, slice_indices


@given(st.lists(st.integers(0, 5), max_size=8))
def test_offsets_are_running_sums(lengths):
    expected = [sum(lengths[:row]) for row in range(len(lengths) + 1)]
    for given_lengths in (lengths, np.array(lengths, np.int32), np.array(lengths, np.uint8)):
        offsets = offsets_from_lengths(given_lengths)
        assert offsets.tolist() == expected
        assert offsets.dtype == np.int64


def test_offsets_of_a_mask_count_what_it_chooses():
    assert offsets_from_lengths(np.array([True, False, True, True])).tolist() == [0, 1, 1, 2, 3]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), max_size=8))
def test_slices_are_taken_end_to_end(slices):
    starts, lengths = (np.array([each[part] for each in slices], dtype=np.int64) for part in (0, 1))
    indices = slice_indices(starts, lengths)
    assert indices.tolist() == [place for start, length in slices for place in range(start, start + length)]
    assert indices.dtype == np.int64


def test_starts_of_zero_give_positions_within_rows():
    assert slice_indices(np.zeros(3, np.int64), np.array([2, 0, 3])).tolist() == [0, 1, 0, 1, 2]


@pytest.mark.parametrize("types", [(np.uint16, np.uint16, np.uint16), (np.uint8, np.int32, np.uint16)])
def test_gather_takes_each_element_from_its_own_array(types):
    arrays = [np.arange(4 + number, dtype=dtype) + 10 * number for number, dtype in enumerate(types)]
    which, places = np.array([2, 0, 1, 2, 0]), np.array([5, 3, 4, 0, 0])
    gathered = gather(arrays, which, places)
    assert gathered.tolist() == [25, 3, 14, 20, 0]
    assert gathered.dtype == np.result_type(*types)


def test_gather_from_a_single_array_ignores_which():
    assert gather([np.arange(9)], np.array([7, 7]), np.array([8, 1])).tolist() == [8, 1]


@pytest.mark.parametrize("values", [[1, 2], (1, 2), np.array([1, 2], np.uint8), np.array([1, 2])])
def test_integers_keep_their_type(values):
    assert integers(values, "rows").tolist() == [1, 2]
    assert integers(values, "rows").dtype == np.asarray(values).dtype


def test_an_empty_list_is_integers():
    assert integers([], "rows").dtype.kind == "i"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, 2.0], "rows is float64 of shape .* Decimals often come from missing values"),
        ([1, None], "rows is object"),
        ([True, False], r"rows is bool .* np.flatnonzero\(mask\)"),
        (["i1"], r"catalog.rows_of\(ids\)"),
        ([[1], [2]], "in one dimension"),
        ([[1], [2, 3]], "cannot be one array"),
        (3, r"rows is int64 of shape \(\)"),
    ],
)
def test_nothing_else_is_cast_to_integers(values, message):
    with pytest.raises(TypeError, match=message):
        integers(values, "rows")


def test_rows_within_refuses_rows_outside():
    assert rows_within([0, 2, 0], 3, "Rows", "a split of 3 users").tolist() == [0, 2, 0]
    for rows in ([3], [-1, 0]):
        with pytest.raises(IndexError, match="requested from a split of 3 users; expected rows from 0 to 2"):
            rows_within(rows, 3, "Rows", "a split of 3 users")
