"""The blocked window's own backward. Its result is compared with the definition in test_layers.py."""

from __future__ import annotations

import pytest
import torch

from recformer_hf.encoder.attention import eager_window_attention
from recformer_hf.encoder.blocked_window import BlockedWindow, blocked_window_attention
from recformer_hf.encoder.packing import SequenceLayout
from recformer_hf.encoder.window_blocks import WindowBlocks
from recformer_hf.modeling_recformer import RecformerModel
from tests.support.layouts import layout_of
from tests.support.models import enliven, random_batch, small_config


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("extra_rows", [0, 5])
def test_equals_the_definition(training, extra_rows):
    layout = layout_of([13, 1, 40, 7])
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(61 + extra_rows, 12, generator=generator, dtype=torch.float64) for _ in range(3)]
    expected, _ = eager_window_attention(*(x[:61] for x in rows), layout, 3, 4, 0.0)
    found, probabilities = blocked_window_attention(*(x.requires_grad_(training) for x in rows), layout, 3, 4, 0.0)
    assert probabilities is None
    assert found.requires_grad == training
    assert found[61:].isfinite().all()
    torch.testing.assert_close(found[:61], expected)


def test_has_the_gradient_of_its_function():
    config = small_config(hidden_size=8, num_attention_heads=2, intermediate_size=8, num_hidden_layers=2)
    model = enliven(RecformerModel(config)).double().eval()
    batch = random_batch([11, 3], config)
    batch["inputs_embeds"] = torch.randn(2, 11, 8, dtype=torch.float64, requires_grad=True)
    del batch["input_ids"]

    def states(embeds: torch.Tensor) -> torch.Tensor:
        return model(**{**batch, "inputs_embeds": embeds}).last_hidden_state

    assert torch.autograd.gradcheck(states, batch["inputs_embeds"])


@pytest.mark.parametrize("half", [1, 4])
def test_gradients_of_the_blocked_window_are_exact_with_dropout(half):
    """Against finite differences, the draws held still by a seed."""
    lengths = torch.tensor([0, 9, 10, 16])
    layout = SequenceLayout(lengths, 16, torch.device("cpu"))
    blocks = WindowBlocks.of(layout, half, 16)
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(16, 6, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(3)]

    def window(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return BlockedWindow.apply(query, key, value, blocks, 2, 0.4)

    assert torch.autograd.gradcheck(window, rows)
