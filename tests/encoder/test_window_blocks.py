"""The window's blocks: who sees whom, and the views of the rows."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.encoder.window_blocks import WindowBlocks
from tests.support.layouts import layout_of, lengths_strategy


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


def test_all_layers_share_the_blocks_of_a_layout():
    layout = layout_of([9, 1, 6])
    blocks = WindowBlocks.of(layout, 4, 16)
    assert WindowBlocks.of(layout, 4, 16) is blocks
    assert WindowBlocks.of(layout, 2, 16) is not blocks
    assert WindowBlocks.of(layout, 4, 32).num_rows == 32
