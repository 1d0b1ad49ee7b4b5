"""The attention of `<s>`: by algebra, one sequence after another, and by projecting all tokens."""

from __future__ import annotations

import pytest
import torch

from recformer_hf.encoder.first_token import first_token_attention
from recformer_hf.encoder.packing import SequenceLayout
from recformer_hf.modeling_recformer import RecformerModel
from tests.support.models import assert_parity, enliven, random_batch, small_config


@pytest.mark.parametrize("lengths", [[12, 4], [40, 3, 2, 1]])  # the second is uneven enough to go one by one
def test_the_algebra_is_the_ordinary_attention(lengths):
    """Against keys and values that are projected for all tokens, sequence by sequence."""
    module = enliven(RecformerModel(small_config())).eval().encoder.layer[0].attention.self
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    layout = SequenceLayout(bounds, sum(lengths), torch.device("cpu"))
    hidden = torch.randn(sum(lengths), 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, _ = first_token_attention(module, hidden, layout, 0.0)
        for row, (start, end) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
            tokens = hidden[start:end]
            query, key, value = (
                projection(each).unflatten(1, (4, 16)).transpose(0, 1)
                for projection, each in (
                    (module.query_global, tokens[:1]), (module.key_global, tokens), (module.value_global, tokens)
                )
            )  # fmt: skip
            expected = torch.softmax(query @ key.transpose(1, 2) / 4, dim=-1) @ value
            torch.testing.assert_close(found[row], expected.flatten(), atol=1e-5, rtol=0)


def test_the_projections_of_s_may_be_wrapped(model):
    """Wrapped projections (LoRA, quantised) take the ordinary way and give the same result."""

    class Wrapped(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return self.inner(hidden)

    batch = random_batch([30, 6, 1], model.config)
    with torch.no_grad():
        expected = model(**batch).last_hidden_state
        for layer in model.encoder.layer:
            attention = layer.attention.self
            for name in ("query_global", "key_global", "value_global", "query", "key", "value"):
                setattr(attention, name, Wrapped(getattr(attention, name)))
        assert_parity(model(**batch).last_hidden_state, expected)
        assert_parity(model(**batch, pooled_only=True).pooler_output, expected[:, 0])
