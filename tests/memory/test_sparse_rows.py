"""Sparse rows against dense matrices: making, sums over histories, other catalogues, damaged files."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recformer_hf.memory import sparse_rows
from recformer_hf.memory.sparse_rows import SparseRows

HISTORIES = [np.array([0, 2]), np.array([1]), np.array([], int), np.array([2, 2, 3])]


def dense(rows: SparseRows) -> np.ndarray:
    """The whole matrix."""
    matrix = np.zeros((len(rows), rows.num_columns), np.float32)
    for row in range(len(rows)):
        own = slice(rows.offsets[row], rows.offsets[row + 1])
        matrix[row, rows.columns[own]] = rows.values[own]
    return matrix


def random_rows(seed: int, size: int = 12, entries: int = 60) -> SparseRows:
    draw = np.random.default_rng(seed)
    return SparseRows.from_triples(
        draw.integers(0, size, entries), draw.integers(0, size, entries), draw.random(entries), size, size
    )


def small() -> SparseRows:
    """[[0, 2, 0, 1], [0, 0, 0, 0], [3, 0, 0, 5], [0, 0, 4, 0]]"""
    rows, columns = np.array([2, 0, 0, 3, 2, 2]), np.array([3, 3, 1, 2, 0, 3])
    return SparseRows.from_triples(rows, columns, np.array([4.0, 1, 2, 4, 3, 1]), 4, 4)


def test_equal_pairs_are_added() -> None:
    rows = small()
    assert dense(rows).tolist() == [[0, 2, 0, 1], [0, 0, 0, 0], [3, 0, 0, 5], [0, 0, 4, 0]]
    assert rows.offsets.tolist() == [0, 2, 2, 4, 5]
    assert rows.num_entries == 5
    assert (rows.columns.dtype, rows.values.dtype) == (np.int32, np.float32)


def test_a_place_beyond_32_bits() -> None:
    size = 1_000_000
    rows = SparseRows.from_triples(np.array([999_999]), np.array([999_998]), np.array([2.0]), size, size)
    assert (rows.offsets[-2:].tolist(), rows.columns.tolist()) == ([0, 1], [999_998])


def test_rows_are_scaled_by_a_power_of_their_sum() -> None:
    expected = [[0, 2 / 3**0.25, 0, 1 / 3**0.25], [0] * 4, [3 / 8**0.25, 0, 0, 5 / 8**0.25], [0, 0, 4 / 4**0.25, 0]]
    assert dense(small().scaled_by_sums(-0.25)) == pytest.approx(np.array(expected), rel=1e-6)
    assert small().row_sums().tolist() == [3, 0, 8, 4]


def test_a_history_adds_its_rows_the_newest_most() -> None:
    half = math.log(2)
    sums = small().sum_of_rows(HISTORIES, decay=half)
    expected = [[3, 1, 0, 5.5], [0, 0, 0, 0], [0, 0, 0, 0], [2.25, 0, 4, 3.75]]
    assert sums == pytest.approx(np.array(expected), rel=1e-6)
    assert sums.dtype == np.float32


@pytest.mark.parametrize("at_once", [1, 7, 1 << 22])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_sums_are_those_of_the_whole_matrix_whatever_the_batch(
    monkeypatch: pytest.MonkeyPatch, at_once: int, decay: float
) -> None:
    monkeypatch.setattr(sparse_rows, "ENTRIES_AT_ONCE", at_once)
    draw = np.random.default_rng(1)
    rows = random_rows(2).select(np.arange(12))
    histories = [draw.integers(0, 12, length) for length in (3, 0, 1, 0, 25, 4, 0)]
    matrix = dense(rows).astype(np.float64)
    weighed = ([math.exp(-decay * age) * matrix[item] for age, item in enumerate(h[::-1])] for h in histories)
    expected = [sum(parts, np.zeros(12)) for parts in weighed]
    sums = rows.sum_of_rows(histories, decay)
    assert sums == pytest.approx(np.array(expected), rel=1e-5)
    assert np.array_equal(dense(rows.sparse_sum_of_rows(histories, decay)), sums)
    assert np.array_equal(rows.sum_of_rows(histories[4:5], decay)[0], sums[4])


def test_a_batch_without_histories() -> None:
    assert small().sum_of_rows([], 0.3).shape == (0, 4)
    assert len(small().sparse_sum_of_rows([], 0.3)) == 0


def test_an_item_without_a_row_is_refused() -> None:
    for history in ([4], [-1]):
        with pytest.raises(IndexError, match="there are rows for 0 to 3"):
            small().sum_of_rows([np.array(history)], 0.3)


def test_new_items_are_empty() -> None:
    longer = small().extended(2)
    expected = np.zeros((6, 6))
    expected[:4, :4] = dense(small())
    assert np.array_equal(dense(longer), expected)


def test_items_are_selected_as_rows_and_columns() -> None:
    rows = random_rows(3)
    chosen = np.array([5, 0, 11, 3])
    assert np.array_equal(dense(rows.select(chosen)), dense(rows)[np.ix_(chosen, chosen)])
    assert len(rows.select(np.zeros(0, int))) == 0
    with pytest.raises(ValueError, match="selected twice"):
        rows.select(np.array([1, 1]))
    with pytest.raises(IndexError, match="Items 3 to 12 selected from 12"):
        rows.select(np.array([3, 12]))


def test_columns_are_scaled() -> None:
    factors = np.array([1, 2, 0.5, 4])
    assert np.array_equal(dense(small().columns_scaled(factors)), dense(small()) * factors)


def test_rows_are_taken_and_replaced() -> None:
    rows = random_rows(5)
    chosen = np.array([3, 3, 0])
    assert np.array_equal(dense(rows.take_rows(chosen)), dense(rows)[chosen])
    expected = dense(rows)
    expected[[7, 2]] = dense(rows)[[0, 1]]
    assert np.array_equal(dense(rows.replaced(np.array([7, 2]), rows.take_rows(np.array([0, 1])))), expected)


def test_blocks_are_joined() -> None:
    whole = np.concatenate([dense(small()), dense(small())])
    assert np.array_equal(dense(SparseRows.joined([small(), small()], 4)), whole)
    assert len(SparseRows.joined([], 4)) == 0


def test_tensors_and_back() -> None:
    rows = random_rows(4)
    again = SparseRows.from_tensors(rows.to_tensors(), rows.num_columns)
    assert np.array_equal(dense(again), dense(rows))
    with pytest.raises(ValueError, match="no values"):
        SparseRows.from_tensors({name: t for name, t in rows.to_tensors().items() if name != "values"}, 12)


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("offsets", 0, 1, "ascend from 0 to 5 entries"),
        ("offsets", -1, 4, "ascend from 0 to 5 entries"),
        ("offsets", 1, 5, "ascend from 0 to 5 entries"),
        ("columns", 0, 4, "go from 0 to 4; expected 0 to 3"),
        ("columns", 0, -1, "go from -1 to 3; expected 0 to 3"),
        ("columns", 3, 0, "Columns of row 2 of sparse rows do not ascend"),
        ("values", 2, np.nan, "not finite"),
        ("values", 2, np.inf, "not finite"),
    ],
)
def test_damaged_arrays_are_refused(name: str, place: int, value: float, message: str) -> None:
    tensors = {key: tensor.clone() for key, tensor in small().to_tensors().items()}
    tensors[name][place] = value
    with pytest.raises(ValueError, match=message):
        SparseRows.from_tensors(tensors, 4)


def test_arrays_of_other_lengths_or_types_are_refused() -> None:
    tensors = small().to_tensors()
    with pytest.raises(ValueError, match="5 columns but 4 values"):
        SparseRows.from_tensors({**tensors, "values": tensors["values"][:4]}, 4)
    with pytest.raises(TypeError, match="columns of sparse rows are int64"):
        SparseRows.from_tensors({**tensors, "columns": tensors["columns"].long()}, 4)
    with pytest.raises(ValueError, match="2 rows, 1 columns, 2 values"):
        SparseRows.from_triples(np.array([0, 1]), np.array([0]), np.array([1.0, 1]), 2, 2)
    with pytest.raises(ValueError, match="columns go from 0 to 2; expected 0 to 1"):
        SparseRows.from_triples(np.array([0, 1]), np.array([0, 2]), np.array([1.0, 1]), 2, 2)
