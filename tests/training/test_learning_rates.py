"""training/learning_rates.py: some weights with a learning rate of their own."""

from __future__ import annotations

import torch
from torch import nn

from recformer_hf.training.learning_rates import set_rate


def test_weights_move_to_groups_of_the_same_decay():
    first, second, third = (nn.Parameter(torch.ones(2)) for _ in range(3))
    optimizer = torch.optim.AdamW(
        [{"params": [first, second], "weight_decay": 0.1}, {"params": [third], "weight_decay": 0.0}], lr=1e-4
    )
    set_rate(optimizer, [second, third, nn.Parameter(torch.ones(1))], 1e-3)
    found = [(group["params"], group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert [([id(weight) for weight in weights], *rest) for weights, *rest in found] == [
        ([id(first)], 1e-4, 0.1), ([], 1e-4, 0.0), ([id(second)], 1e-3, 0.1), ([id(third)], 1e-3, 0.0)
    ]  # fmt: skip


def test_a_schedule_scales_each_rate():
    slow, fast = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([slow, fast], lr=0.1)
    set_rate(optimizer, [fast], 1.0)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    (slow.sum() + fast.sum()).backward()
    optimizer.step()
    torch.testing.assert_close(slow.detach(), torch.full((2,), 0.95))
    torch.testing.assert_close(fast.detach(), torch.full((2,), 0.5))
