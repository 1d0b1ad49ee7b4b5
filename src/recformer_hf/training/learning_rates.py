"""A learning rate of their own for some weights of an optimizer."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.optim import Optimizer


def set_rate(optimizer: Optimizer, weights: Iterable[nn.Parameter], rate: float) -> None:
    """Moves weights to parameter groups with another learning rate; the rest of their settings stays.

    Args:
        optimizer: before its first step, and before a schedule is made for it.
        weights: those that the optimizer does not have are ignored.
        rate: their peak learning rate.
    """
    chosen = {id(weight) for weight in weights}
    for group in list(optimizer.param_groups):
        mine = [weight for weight in group["params"] if id(weight) in chosen]
        if not mine:
            continue
        group["params"] = [weight for weight in group["params"] if id(weight) not in chosen]
        optimizer.add_param_group({**group, "params": mine, "lr": rate})


__all__ = ["set_rate"]
