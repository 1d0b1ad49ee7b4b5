"""`Sequences`: arrays that fit together, rows, selection and equality."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.data.sequences import Sequences


class TestSequences:
    def test_rows(self):
        split = Sequences.from_lists(["ada", "bob"], [[3, 1], [2]], [0, 5])
        assert len(split) == 2
        user_id, history, target = split[0]
        assert (user_id, history.tolist(), target) == ("ada", [3, 1], 0)
        assert split[-1].history.tolist() == [2]
        assert split.history(1).dtype == np.int32
        assert split.lengths.tolist() == [2, 1]
        assert Sequences.from_lists(["ada"], [[1]])[0].target is None
        for row in (2, -3):
            with pytest.raises(IndexError, match=f"No row {row} in a split of 2 users"):
                split[row]

    def test_arrays_have_the_stated_types(self):
        split = Sequences(["a", "b"], np.array([1, 2, 3]), [0, 1, 3], np.array([4, 5], np.uint8))
        assert [array.dtype for array in (split.items, split.offsets, split.targets)] == [np.int32, np.int64, np.int32]
        assert split.user_ids.type == pa.string()
        assert Sequences(pa.array(["a"], pa.large_string()), [1], [0, 1]).user_ids.type == pa.large_string()
        assert Sequences(pa.chunked_array([["a"], ["b"]]), [1, 2], [0, 1, 2]).user_ids.to_pylist() == ["a", "b"]

    def test_arrays_are_not_copied_when_they_fit(self):
        items = np.array([1, 2], np.int32)
        assert Sequences(["a"], items, [0, 2]).items is items

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ((["a"], [1, 2], [0, 1]), ValueError, "2 offsets from 0 to 1 do not cut 2 items into 1 sequences"),
            ((["a"], [1, 2], [1, 2]), ValueError, "from 1 to 2 do not cut"),
            ((["a"], [1], []), ValueError, "0 offsets from none"),
            ((["a", "b"], [1], [0, 1]), ValueError, "expected 3 from 0 to 1"),
            ((["a", "b"], [1], [0, 1, 1]), ValueError, r"1 of 2 users have no items, the first: \['b'\]"),
            ((["a", "b", "c"], [1, 2], [0, 2, 1, 2]), ValueError, r"1 of 3 users have no items, the first: \['b'\]"),
            ((["a"], [1], [0, 1], [1, 2]), ValueError, "2 targets for 1 users"),
            (([None], [1], [0, 1]), ValueError, "1 of 1 user ids are missing"),
            ((["a"], [1.5], [0, 1]), TypeError, "items is float64"),
            ((["a"], [[1]], [0, 1]), TypeError, "expected integers in one dimension"),
            ((["a"], [True], [0, 1]), TypeError, "items is bool"),
            ((["a"], [None], [0, 1]), TypeError, "items is object.*catalog.rows_of"),
            ((["a"], ["i1"], [0, 1]), TypeError, "items is <U2.*catalog.rows_of"),
            ((["a"], [1], [0.0, 1.0]), TypeError, "offsets is float64"),
            ((["a"], [1], [0, 1], [float("nan")]), TypeError, "targets is float64.*missing values"),
            ((["a"], [1], [0, 1], [True]), TypeError, r"targets is bool.*np.flatnonzero\(mask\)"),
            ((["a", "b"], [1, -1], [0, 1, 2]), ValueError, "1 of 2 items are negative, the first: -1 of user 'b'"),
            ((["a"], [1], [0, 1], [-1]), ValueError, "1 of 1 targets are negative, the first: -1 of user 'a'"),
            ((["a", "b", "c"], [1, 2], [0, 2**63 - 1, -2, 2]), ValueError, "1 of 3 users have no items"),
            (([1.0], [1], [0, 1]), TypeError, "user ids are double; expected text or whole numbers"),
            (([True], [1], [0, 1]), TypeError, "user ids are bool"),
            ((["a", 1], [1, 2], [0, 1, 2]), TypeError, "user ids must be text, all of them"),
            ((["a"], [2**31], [0, 1]), ValueError, "items go from 2147483648 to 2147483648; expected int32"),
        ],
    )
    def test_arrays_that_do_not_fit(self, arguments, error, message):
        with pytest.raises(error, match=message):
            Sequences(*arguments)

    @pytest.mark.parametrize(
        ("histories", "targets", "message"),
        [
            ([[1], [1.7]], None, "The history of row 1 is float64"),
            ([[True, False]], None, "The history of row 0 is bool"),
            ([[1, None]], None, "The history of row 0 is object"),
            ([[[1]]], None, "The history of row 0 is int64 of shape"),
            ([[1]], [1.0], "targets is float64"),
        ],
    )
    def test_lists_of_anything_but_integers_are_refused(self, histories, targets, message):
        with pytest.raises(TypeError, match=message):
            Sequences.from_lists(["a", "b"][: len(histories)], histories, targets)

    def test_ids_of_any_texts_and_whole_numbers(self):
        for ids in ([7, 8], np.array([7, 8]), pa.array(["7", "8"]).dictionary_encode(), ["7", "8"]):
            assert Sequences(ids, [1, 2], [0, 1, 2]).user_ids.to_pylist() == ["7", "8"]

    def test_rows_are_whole_numbers(self):
        split = Sequences.from_lists(["a", "b"], [[1], [2]])
        assert split[np.int64(1)].user_id == "b"
        for row in (0.5, 1.0, True, "0", None):
            with pytest.raises(TypeError, match="expected a whole number"):
                split[row]
        for rows in ([True, False], np.array([0.0, 1.0]), [None], ["a"]):
            with pytest.raises(TypeError, match="expected integers"):
                split.select(rows)
        assert len(split.select([])) == 0
        assert len(split.select(1)) == 1

    @settings(max_examples=40, deadline=None)
    @given(histories=st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=5), max_size=8), data=st.data())
    def test_select(self, histories, data):
        split = Sequences.from_lists([f"u{i}" for i in range(len(histories))], histories, list(range(len(histories))))
        rows = data.draw(st.lists(st.integers(0, len(histories) - 1), max_size=8)) if histories else []
        selected = split.select(rows)
        assert [(u, h.tolist(), t) for u, h, t in selected] == [(f"u{row}", histories[row], row) for row in rows]
        assert split.select(np.arange(len(split))) == split

    def test_select_refuses_rows_outside(self):
        with pytest.raises(
            IndexError, match="Rows 0 to 1 requested from a split of 1 users; expected rows from 0 to 0"
        ):
            Sequences.from_lists(["a"], [[1]]).select([0, 1])

    def test_equality(self):
        one = Sequences.from_lists(["a", "b"], [[1, 2], [3]])
        assert one == Sequences(pa.array(["a", "b"], pa.large_string()), [1, 2, 3], [0, 2, 3])
        for other in (
            Sequences.from_lists(["a", "c"], [[1, 2], [3]]),
            Sequences.from_lists(["a", "b"], [[1], [2, 3]]),
            Sequences.from_lists(["a", "b"], [[1, 2], [4]]),
            Sequences.from_lists(["a", "b"], [[1, 2], [3]], [0, 0]),
        ):
            assert one != other
