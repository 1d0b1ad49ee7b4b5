"""The floor: operations that an encoder's matrix products on real tokens need.

Counted are products alone, two operations for a multiplication and an addition. Attention and feed-forward of `<s>`,
which has a last layer of its own, are below 1 % and left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from recformer_hf import RecformerConfig


def linear_flops(config: RecformerConfig) -> int:
    """Of one token in one layer: query, key, value, output (each width x width) and both feed-forward products."""
    return 8 * config.hidden_size**2 + 4 * config.hidden_size * config.intermediate_size


def window_pairs(lengths: Sequence[int], window: int) -> int:
    """Pairs of tokens of one sequence that see each other through the window."""
    half = window // 2
    return sum(min(n, place + half + 1) - max(0, place - half) for n in lengths for place in range(n))


def encoder_flops(config: RecformerConfig, lengths: Sequence[int], layers: int) -> int:
    """Of a forward of `layers` layers over all tokens: linear layers, scores and sums of the window."""
    pairs = window_pairs(lengths, max(config.attention_windows))
    return layers * (sum(lengths) * linear_flops(config) + 4 * pairs * config.hidden_size)


def training_flops_per_token(config: RecformerConfig) -> int:
    """Forward and backward of the linear layers, where the last layer serves `<s>` alone: 467 M at base size."""
    return 3 * (config.num_hidden_layers - 1) * linear_flops(config)
