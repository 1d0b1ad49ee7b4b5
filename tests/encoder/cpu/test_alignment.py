"""Weights begin where torch would have put them, on CPUs whose products depend on it."""

from __future__ import annotations

import pytest
import torch

from recformer_hf.encoder.cpu import alignment
from recformer_hf.encoder.cpu.alignment import ALIGNMENT, align_weights, moved_copy, products_depend_on_alignment
from tests.support.quantized import OnlyMultiplies


@pytest.mark.parametrize("offset", [0, 8, 56])
def test_a_moved_copy_begins_where_it_should(offset):
    tensor = torch.randn(5, 7)
    moved = moved_copy(tensor, offset)
    assert moved.data_ptr() % ALIGNMENT == offset
    assert torch.equal(moved, tensor)


@pytest.mark.parametrize("depends", [True, False])
def test_only_weights_that_begin_elsewhere_are_copied_and_only_if_it_matters(depends, monkeypatch):
    monkeypatch.setattr(alignment, "products_depend_on_alignment", lambda: depends)
    layer = torch.nn.Linear(16, 16)
    weight = layer.weight.detach().clone()
    layer.weight.data, bias = moved_copy(weight, 8), layer.bias.data_ptr()
    align_weights(layer)
    assert layer.weight.data_ptr() % ALIGNMENT == (0 if depends else 8)
    assert torch.equal(layer.weight, weight)
    assert layer.bias.data_ptr() == bias


def test_products_of_aligned_weights_have_the_same_bits():
    matrix, hidden = torch.randn(96, 64), torch.randn(17, 64)
    layer = torch.nn.Linear(64, 96, bias=False)
    layer.weight.data = moved_copy(matrix, 56)
    align_weights(layer)
    assert products_depend_on_alignment() in (True, False)
    with torch.no_grad():
        assert torch.equal(hidden @ layer.weight.T, hidden @ moved_copy(matrix, 0).T)


def test_weights_without_an_address_stay():
    layer = torch.nn.Linear(16, 16)
    layer.weight = torch.nn.Parameter(layer.weight.detach().as_subclass(OnlyMultiplies), requires_grad=False)
    layer.bias = torch.nn.Parameter(torch.zeros(16, device="meta"))
    weight, bias = layer.weight, layer.bias
    align_weights(layer)
    assert layer.weight is weight
    assert layer.bias is bias
