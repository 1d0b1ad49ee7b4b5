"""The floor equals a count by hand."""

from __future__ import annotations

from benchmarks import floor
from recformer_hf import RecformerConfig


def test_floor_equals_a_count_by_hand():
    config = RecformerConfig(
        vocab_size=10,
        hidden_size=2,
        num_hidden_layers=3,
        num_attention_heads=1,
        intermediate_size=5,
        attention_window=2,
    )
    # Four projections of 2 x 2 and two products of 2 x 5, two operations each.
    assert floor.linear_flops(config) == 2 * (4 * 2 * 2 + 2 * 2 * 5)
    # Of three tokens in a row with one neighbour on each side: 2 + 3 + 2; of one token alone: 1.
    assert floor.window_pairs([3, 1], window=2) == 8
    # Each pair is a score and a weighted value of width 2, two operations each.
    assert floor.encoder_flops(config, [3, 1], layers=2) == 2 * (4 * 72 + 8 * 2 * 2 * 2)
    assert floor.training_flops_per_token(config) == 3 * 2 * 72


def test_training_at_base_size_takes_467_million_operations_a_token():
    assert round(floor.training_flops_per_token(RecformerConfig()) / 1e6) == 467
