"""The block mask of `flex_attention`, whose result is compared in test_layers.py, and compiled in test_gpu.py."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask

from recformer_hf.encoder.flex_window import FLEX_BLOCK, flex_block_mask
from recformer_hf.encoder.packing import SequenceLayout


class TestFlexBlocks:
    """The compiled kernel skips the blocks that the mask leaves out; the uncompiled one of the tests above does not."""

    @pytest.mark.parametrize("half", [1, 32, 128, 256])
    @pytest.mark.parametrize("lengths", [[1], [128], [129, 3, 1000, 64, 64, 5], [700], [37] * 40], ids=str)
    def test_no_block_with_a_visible_token_is_left_out(self, lengths, half):
        cu_seqlens = torch.tensor([0, *lengths]).cumsum(0)
        total = int(cu_seqlens[-1])
        mask = flex_block_mask(SequenceLayout(cu_seqlens, total, torch.device("cpu")), half)
        defined = create_block_mask(mask.mask_mod, None, None, total, total, device="cpu")
        assert mask.shape == defined.shape
        taken, needed = mask.to_dense().bool(), defined.to_dense().bool()
        assert not (needed & ~taken).any()
        if half <= FLEX_BLOCK:
            assert torch.equal(taken, needed)
