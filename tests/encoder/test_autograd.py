"""torch's contexts have what the protocol says."""

from __future__ import annotations

import torch

from recformer_hf.encoder.autograd import Context


def test_torchs_context_is_one():
    seen = []

    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Context, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return 2 * x + y

        @staticmethod
        def backward(ctx: Context, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
            seen.append((ctx.saved_tensors, ctx.needs_input_grad))
            return 2 * gradient, None

    x = torch.ones(3, requires_grad=True)
    Double.apply(x, torch.ones(3)).sum().backward()
    (((saved,), needed),) = seen
    assert torch.equal(saved, x)
    assert needed == (True, False)
    assert x.grad.tolist() == [2, 2, 2]
