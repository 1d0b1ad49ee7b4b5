"""Which modules need not be called."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from recformer_hf.encoder.plain_modules import is_plain_linear, is_untouched


class Scaled(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_a_linear_layer_as_it_was_made():
    assert is_plain_linear(nn.Linear(3, 4))
    assert is_plain_linear(nn.Linear(3, 4).bfloat16())


@pytest.mark.parametrize("module", [Scaled(3, 4), nn.Linear(3, 4, bias=False), nn.GELU()], ids=repr)
def test_other_modules(module):
    assert not is_plain_linear(module)


def test_a_weight_of_integers():
    layer = nn.Linear(3, 4)
    layer.weight = nn.Parameter(torch.zeros(4, 3, dtype=torch.int8), requires_grad=False)
    assert is_untouched(layer, nn.Linear)
    assert not is_plain_linear(layer)


@pytest.mark.parametrize(
    "register",
    [
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
    ],
)
def test_a_hook_until_it_is_removed(register):
    layer = nn.Linear(3, 4)
    handle = getattr(layer, register)(lambda *_: None)
    assert not is_untouched(layer, nn.Linear)
    handle.remove()
    assert is_untouched(layer, nn.Linear)


def test_a_forward_of_the_instance():
    layer = nn.Linear(3, 4)
    layer.forward = lambda x: x  # as offloading does
    assert not is_untouched(layer, nn.Linear)


def test_a_subclass_is_another_kind():
    assert is_untouched(Scaled(3, 4), Scaled)
    assert not is_untouched(Scaled(3, 4), nn.Linear)
