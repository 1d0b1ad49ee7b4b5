"""The seam to the faster ways: the numbers of the plain expressions, and modules that must be called are called."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.activations import GELUActivation

from recformer_hf.encoder import kernels
from recformer_hf.encoder.kernels import dropout, dropout_add, extra_rows, feed_forward, keep_mask, linear
from recformer_hf.encoder.plain_modules import is_plain_linear
from recformer_hf.encoder.window_blocks import WindowBlocks
from tests.support.layouts import layout_of


def test_wrapped_and_hooked_modules_go_their_own_way(layer, hidden):
    class Scaled(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    scaled = Scaled(96, 160)
    scaled.load_state_dict(layer.state_dict())
    assert not is_plain_linear(scaled)
    torch.testing.assert_close(linear(scaled, hidden), 2 * layer(hidden))

    seen = []
    handle = layer.register_forward_hook(lambda *_: seen.append(True))
    assert not is_plain_linear(layer)
    linear(layer, hidden)
    with torch.no_grad():
        linear(layer, hidden)
    assert seen == [True, True]
    handle.remove()
    assert is_plain_linear(layer)
    layer.forward = lambda x: x  # as offloading does
    assert linear(layer, hidden) is hidden


def test_a_linear_layer_takes_any_shape(layer, hidden):
    with torch.no_grad():
        expected = layer(hidden)
        torch.testing.assert_close(linear(layer, hidden), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(linear(layer, hidden.view(3, 100, 96)).flatten(0, 1), expected, atol=1e-5, rtol=1e-5)


class TestFeedForward:
    @pytest.fixture
    def layers(self) -> nn.ModuleList:
        torch.manual_seed(0)
        return nn.ModuleList([nn.Linear(96, 160), nn.Linear(160, 96)])

    @pytest.mark.parametrize("activation", [GELUActivation(), nn.GELU(), nn.ReLU()], ids=repr)
    @pytest.mark.parametrize("training", [True, False])
    def test_is_the_plain_expression(self, layers, hidden, activation, training):
        with torch.set_grad_enabled(training):
            found = feed_forward(layers[0], activation, layers[1], hidden)
            torch.testing.assert_close(found, layers[1](activation(layers[0](hidden))), atol=1e-5, rtol=1e-5)

    def test_wrapped_and_hooked_layers_and_constants_go_their_own_way(self, layers, hidden, monkeypatch):
        monkeypatch.setattr(kernels, "feed_forward_in_blocks", lambda *_: pytest.fail("a layer was not called"))
        monkeypatch.setattr(kernels.RecomputingFeedForward, "apply", lambda *_: pytest.fail("a layer was not called"))
        seen, activation = [], GELUActivation()
        expected = layers[1](activation(layers[0](hidden)))
        for module in (layers[0], activation, layers[1]):
            handle = module.register_forward_hook(lambda module, *_: seen.append(module))
            torch.testing.assert_close(feed_forward(layers[0], activation, layers[1], hidden), expected)
            with torch.no_grad():
                torch.testing.assert_close(feed_forward(layers[0], activation, layers[1], hidden), expected)
            assert seen == [module, module]
            handle.remove()
            seen.clear()
        layers.requires_grad_(False)
        torch.testing.assert_close(feed_forward(layers[0], activation, layers[1], hidden), expected)

    def test_untouched_layers_are_computed_in_one_piece(self, layers, hidden, monkeypatch):
        monkeypatch.setattr(kernels, "linear", lambda *_: pytest.fail("the plain way was taken"))
        output = feed_forward(layers[0], GELUActivation(), layers[1], hidden)
        assert "RecomputingFeedForward" in output.grad_fn.name()
        with torch.no_grad():
            feed_forward(layers[0], GELUActivation(), layers[1], hidden)


class TestDropout:
    @pytest.mark.parametrize(("probability", "training"), [(0.3, False), (0.0, True)])
    def test_nothing_is_dropped_outside_training(self, probability, training):
        hidden, residual = torch.randn(4, 5), torch.randn(4, 5)
        assert torch.equal(dropout(hidden, probability, training), hidden)
        assert torch.equal(dropout_add(hidden, residual, probability, training), hidden + residual)

    @pytest.mark.parametrize(("probability", "training"), [(0.3, False), (0.3, True)])
    def test_a_wider_residual_gives_the_type_of_the_sum(self, probability, training):
        hidden, residual = torch.randn(4, 5).bfloat16(), torch.randn(4, 5)
        before = hidden.clone()
        total = dropout_add(hidden, residual, probability, training)
        assert total.dtype == torch.float32
        assert torch.equal(hidden, before)
        if not training:
            assert torch.equal(total, hidden.float() + residual)

    def test_a_mask_and_its_factor(self):
        torch.manual_seed(0)
        keep, factor = keep_mask((200, 200), 0.25, torch.device("cpu"))
        assert keep.dtype == torch.uint8
        assert factor == pytest.approx(4 / 3, rel=1e-3)
        assert keep.double().mean().item() == pytest.approx(0.75, abs=0.02)


def test_the_window_without_the_flash_kernel(monkeypatch):
    blocks = WindowBlocks(layout_of([13, 1, 40, 7]), 4, 61)
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(61, 12, generator=generator) for _ in range(3)]
    found = kernels.window_inference(*rows, blocks, num_heads=3)
    monkeypatch.setattr(kernels, "flash_kernel", lambda: None)
    torch.testing.assert_close(kernels.window_inference(*rows, blocks, num_heads=3), found, atol=1e-5, rtol=1e-5)


def test_extra_rows_are_for_cpus(monkeypatch):
    monkeypatch.setattr(kernels, "compiles_by_shape", lambda dtype: dtype == torch.bfloat16)
    assert extra_rows(4100, torch.bfloat16, torch.device("cpu")) == 124  # 33 times 128
    assert extra_rows(4100, torch.float32, torch.device("cpu")) == 28  # 129 times 32
    assert extra_rows(4100, torch.bfloat16, torch.device("cuda")) == 0


def test_other_devices_take_the_plain_expressions(monkeypatch):
    for name in ("cpu_linear", "cpu_dropout", "cpu_dropout_add", "draw_mask", "flash_kernel", "rows_to_run"):
        monkeypatch.setattr(kernels, name, lambda *_, name=name: pytest.fail(f"{name} is for CPUs"))
    meta = torch.device("meta")
    layer, hidden = nn.Linear(12, 12, device=meta), torch.randn(61, 12, device=meta)
    assert linear(layer, hidden).device == meta
    assert dropout(hidden, 0.3, training=True).device == meta
    assert dropout_add(hidden.bfloat16(), hidden, 0.3, training=True).dtype == torch.float32
    keep, factor = keep_mask((3, 4), 0.5, meta)
    assert (keep.device, keep.dtype, factor) == (meta, torch.uint8, 2)
    assert extra_rows(4100, torch.bfloat16, meta) == 0
    with torch.no_grad():
        assert feed_forward(layer, GELUActivation(), layer, hidden).shape == (61, 12)
