"""Padded <-> packed, layouts, length-sorted batches, packed items."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.encoder.packing import (
    PaddedIndex,
    length_sorted_batches,
    pack_items,
    pack_sequences,
)
from recformer_hf.tokenization_recformer import EncodedItems
from tests.support.layouts import layout_of, lengths_strategy


class TestSequenceLayout:
    def test_indices(self):
        layout = layout_of([3, 1, 2])
        assert layout.sequence_ids.tolist() == [0, 0, 0, 1, 2, 2]
        assert layout.positions.tolist() == [0, 1, 2, 0, 0, 1]
        assert layout.first_tokens.tolist() == [0, 3, 4]
        assert (layout.max_seqlen, layout.num_sequences, layout.lengths) == (3, 3, [3, 1, 2])

    @settings(max_examples=30, deadline=None)
    @given(lengths_strategy)
    def test_padding_and_back(self, lengths):
        layout = layout_of(lengths)
        rows = torch.arange(layout.total_tokens)[:, None]
        padded = layout.to_padded(rows)
        assert torch.equal(layout.to_packed(padded), rows)
        assert torch.equal(padded[layout.padded_mask], rows)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6).filter(any), min_size=1, max_size=5))
def test_padded_index_is_exact_for_any_mask(mask):
    mask = torch.tensor(mask)
    index = PaddedIndex(mask)
    values = torch.arange(mask.numel()).view(mask.shape)
    packed = index.pack(values)
    assert torch.equal(packed, values[mask])
    assert torch.equal(index.pad(packed), values * mask)
    assert index.cu_seqlens.diff().tolist() == mask.sum(1).tolist()


class TestLengthSortedBatches:
    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 120))
    def test_cover_all_within_the_budget(self, lengths, budget):
        lengths = np.array(lengths, dtype=np.int64)
        batches = list(length_sorted_batches(lengths, budget))
        assert sorted(np.concatenate([np.empty(0, int), *batches]).tolist()) == list(range(len(lengths)))
        assert all(lengths[batch].sum() <= budget or len(batch) == 1 for batch in batches)
        order = np.concatenate([np.empty(0, int), *batches])
        assert (np.diff(lengths[order]) <= 0).all()


def test_pack_sequences():
    first = {"input_ids": [0, 5, 6], "token_type_ids": [0, 1, 2], "item_position_ids": [0, 1, 1]}
    second = {"input_ids": [0], "token_type_ids": [0], "item_position_ids": [0]}
    batch = pack_sequences([first, second])
    assert batch["input_ids"].tolist() == [[0, 5, 6, 0]]
    assert batch["cu_seqlens"].tolist() == [0, 3, 4]
    assert batch["cu_seqlens"].dtype == torch.int32
    with pytest.raises(ValueError, match="nothing to pack"):
        pack_sequences([])


def test_pack_items():
    encoded = EncodedItems(
        np.array([5, 6, 7, 8, 9], np.int32), np.array([1, 2, 1, 2, 2], np.uint8), np.array([0, 2, 5])
    )
    batch = pack_items(encoded, np.array([1, 0, 1]), bos_token_id=0, max_token_num=3)
    assert batch["input_ids"].tolist() == [[0, 7, 8, 0, 5, 6, 0, 7, 8]]  # the last token of item 1 is cut off
    assert batch["token_type_ids"].tolist() == [[0, 1, 2, 0, 1, 2, 0, 1, 2]]
    assert batch["item_position_ids"].tolist() == [[0, 1, 1] * 3]
    assert batch["cu_seqlens"].tolist() == [0, 3, 6, 9]
