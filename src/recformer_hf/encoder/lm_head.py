"""The head that predicts masked words."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..configuration_recformer import RecformerConfig
from .kernels import linear
from .layers import RecformerLayerNorm


class RecformerLMHead(nn.Module):
    """Masked-language-modelling head (Recformer, equation 6): dense, GELU, layer norm, decoder."""

    def __init__(self, config: RecformerConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.layer_norm = RecformerLayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """Masked tokens `[num_masked, hidden_size]` -> logits `[num_masked, vocab_size]`."""
        hidden = F.gelu(linear(self.dense, hidden.to(self.layer_norm.weight.dtype)))
        return linear(self.decoder, self.layer_norm(hidden))


__all__ = ["RecformerLMHead"]
