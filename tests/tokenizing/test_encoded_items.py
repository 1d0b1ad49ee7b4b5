"""Many encoded items end to end."""

from __future__ import annotations

import numpy as np
import pytest

from recformer_hf.tokenizing.encoded_items import EncodedItems


def items(ids: list[int], offsets: list[int]) -> EncodedItems:
    return EncodedItems(np.array(ids, np.int32), np.ones(len(ids), np.uint8), np.array(offsets, np.int64))


def test_an_item_is_a_view():
    encoded = items([4, 5, 6, 7], [0, 1, 4])
    assert len(encoded) == 2
    assert [item.input_ids.tolist() for item in encoded] == [[4], [5, 6, 7]]
    assert encoded[-1].input_ids.tolist() == [5, 6, 7]
    assert np.shares_memory(encoded[0].input_ids, encoded.input_ids)
    for index in (2, -3):
        with pytest.raises(IndexError, match=f"no item {index}: 2 items"):
            encoded[index]


def test_concatenate():
    joined = EncodedItems.concatenate([items([4, 5], [0, 2]), items([], [0]), items([6, 7], [0, 1, 2])])
    assert joined.input_ids.tolist() == [4, 5, 6, 7]
    assert joined.offsets.tolist() == [0, 2, 3, 4]
    nothing = EncodedItems.concatenate([])
    assert len(nothing) == 0
    for encoded in (joined, nothing):
        assert encoded.input_ids.dtype == np.int32
        assert encoded.token_type_ids.dtype == np.uint8
        assert encoded.offsets.dtype == np.int64
