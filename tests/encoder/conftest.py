"""A linear layer and its input."""

from __future__ import annotations

import pytest
import torch
from torch import nn


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(96, 160)


@pytest.fixture
def hidden() -> torch.Tensor:
    return torch.randn(300, 96, generator=torch.Generator().manual_seed(1))
