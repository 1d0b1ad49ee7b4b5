"""The flash kernel on overlapping views: the numbers of the window's blocks."""

from __future__ import annotations

import pytest
import torch

from recformer_hf.encoder import kernels
from recformer_hf.encoder.cpu.flash import flash_kernel, flash_window
from recformer_hf.encoder.window_blocks import WindowBlocks
from tests.support.layouts import layout_of


@pytest.mark.skipif(flash_kernel() is None, reason="this torch does not have the kernel")
@pytest.mark.parametrize("half", [2, 8])
@pytest.mark.parametrize("lengths", [[1], [40], [13, 1, 40, 7], [3] * 9], ids=str)
def test_equals_the_blocks_softmax(lengths, half, monkeypatch):
    blocks = WindowBlocks(layout_of(lengths), half, sum(lengths))
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(sum(lengths), 24, generator=generator) for _ in range(3))
    found = flash_window(flash_kernel(), query, key, value, blocks, num_heads=3)
    monkeypatch.setattr(kernels, "flash_kernel", lambda: None)
    expected = kernels.window_inference(query, key, value, blocks, num_heads=3)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_another_default_type_does_not_hide_the_kernel():
    expected = flash_kernel() is None
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        assert (flash_kernel.__wrapped__() is None) == expected
    finally:
        torch.set_default_dtype(before)
