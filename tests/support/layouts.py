"""Layouts of packed rows, for tests."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st

from recformer_hf.encoder.packing import SequenceLayout

lengths_strategy = st.lists(st.integers(1, 30), min_size=1, max_size=8)
"""Lengths of the sequences of a small batch."""


def layout_of(lengths: list[int]) -> SequenceLayout:
    """The layout of sequences of these lengths."""
    bounds = torch.tensor([0, *np.cumsum(lengths)])
    return SequenceLayout(bounds, int(bounds[-1]), torch.device("cpu"))
