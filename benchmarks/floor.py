"""The floor: the operations that an encoder's matrix products on real tokens need at least.

Only products count: two operations for a multiplication and an addition. The attention and feed-forward products of
`<s>` in the last layer are below 1 % and not counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from recformer_hf import RecformerConfig


def linear_flops(config: RecformerConfig) -> int:
    """One token in one layer: query, key, value and output (width x width each) and both feed-forward products."""
    return 8 * config.hidden_size**2 + 4 * config.hidden_size * config.intermediate_size


def window_pairs(lengths: Sequence[int], window: int) -> int:
    """Pairs of tokens that attend to each other through the window, over all sequences."""
    half = window // 2
    return sum(min(n, place + half + 1) - max(0, place - half) for n in lengths for place in range(n))


def encoder_flops(config: RecformerConfig, lengths: Sequence[int], layers: int) -> int:
    """Forward of `layers` layers over all tokens: linear layers, and scores and weighted sums of the window."""
    pairs = window_pairs(lengths, max(config.attention_windows))
    return layers * (sum(lengths) * linear_flops(config) + 4 * pairs * config.hidden_size)


def training_flops_per_token(config: RecformerConfig) -> int:
    """Forward and backward of all linear layers except the last, which computes `<s>` only: 467 M at base size."""
    return 3 * (config.num_hidden_layers - 1) * linear_flops(config)
