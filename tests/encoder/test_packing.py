"""Padded <-> packed, layouts, length-sorted batches, packed items."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.encoder.attention import WindowBlocks
from recformer_hf.encoder.packing import (
    PaddedIndex,
    SequenceLayout,
    length_sorted_batches,
    pack_items,
    pack_sequences,
)
from recformer_hf.tokenization_recformer import EncodedItems

CPU = torch.device("cpu")


def layout_of(lengths: list[int]) -> SequenceLayout:
    bounds = torch.tensor([0, *np.cumsum(lengths)])
    return SequenceLayout(bounds, int(bounds[-1]), CPU)


lengths_strategy = st.lists(st.integers(1, 30), min_size=1, max_size=8)


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


class TestWindowBlocks:
    @settings(max_examples=60, deadline=None)
    @given(lengths_strategy, st.sampled_from([1, 2, 4, 8, 32]), st.integers(0, 40))
    def test_every_query_sees_exactly_its_window_and_s(self, lengths, half, spare):
        layout = layout_of(lengths)
        blocks = WindowBlocks(layout, half, layout.total_tokens + spare)
        start = torch.arange(blocks.num_blocks)[:, None] * blocks.block
        keys = start - blocks.block + torch.arange(blocks.width)
        for token in range(layout.total_tokens):
            block, row = divmod(token, blocks.block)
            seen = keys[block][blocks.near[block, row]].tolist()
            seen += [int(blocks.first_tokens[block])] * bool(blocks.far[block, row])
            first = int(layout.first_tokens[layout.sequence_ids[token]])
            end = first + lengths[int(layout.sequence_ids[token])]
            near = set(range(max(token - half, first), min(token + half + 1, end)))
            assert sorted(seen) == sorted(near | {first})  # each once
            assert not blocks.near[block, row, 0 if row == blocks.block - 1 else -1]  # what the <s> borrows

    @settings(max_examples=30, deadline=None)
    @given(lengths_strategy, st.sampled_from([1, 2, 8]), st.integers(0, 40))
    def test_adding_up_is_the_transpose_of_the_views(self, lengths, half, spare):
        layout = layout_of(lengths)
        blocks = WindowBlocks(layout, half, layout.total_tokens + spare)
        rows = torch.randn(layout.total_tokens + spare, 12, dtype=torch.float64, requires_grad=True)
        views = blocks.window_view(rows.detach(), num_heads=3), blocks.first_of(rows.detach(), num_heads=3)
        weights = [torch.randn_like(view) for view in views]
        padded = torch.nn.functional.pad(rows, (0, 0, blocks.block, blocks.padded_rows + blocks.block - len(rows)))
        windows = padded.unfold(0, blocks.width, blocks.block).unflatten(1, (3, -1)).permute(1, 0, 3, 2)
        torch.testing.assert_close(windows, views[0])
        in_row = torch.arange(blocks.num_blocks * blocks.block) < layout.total_tokens
        seen = (blocks.near & in_row.view(-1, blocks.block, 1))[None, :, :, :, None]  # what nobody sees may differ
        by_head = blocks.windows_by_head(rows.detach(), num_heads=3)
        torch.testing.assert_close(by_head[:, :, None] * seen, views[0][:, :, None] * seen)
        total = (windows * weights[0]).sum() + (blocks.first_of(rows, 3) * weights[1]).sum()
        (expected,) = torch.autograd.grad(total, rows)
        torch.testing.assert_close(blocks.add_windows(*weights), expected)


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
