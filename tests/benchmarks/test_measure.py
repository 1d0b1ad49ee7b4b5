"""Ratios, rates and costly operations are what their names say."""

from __future__ import annotations

import pytest
import torch

from benchmarks import measure


def test_most_expensive_operations_are_sorted_and_named():
    matrix = torch.randn(1200, 1200)  # its product takes tens of milliseconds, more than any pause of the other one
    found = measure.most_expensive(lambda: torch.mm(matrix, matrix).relu(), count=2)
    assert found[0]["operation"] == "aten::mm"
    assert found[0]["ms"] >= found[1]["ms"] > 0
    assert found[0]["calls"] == 1


def test_ratios_are_taken_within_a_turn():
    assert measure.median_ratio([4.0, 40.0, 400.0], [2.0, 20.0, 100.0]) == 2.0


def test_a_process_that_fails_says_why():
    with pytest.raises(RuntimeError, match="No such file"):
        measure.peak_memory(["json.tool", "there-is-none.json"])


def test_the_ceiling_is_the_best_of_all_rates(monkeypatch):
    def turns(functions, repeats, warmup):
        return {name: [1.0, 0.5 if name == "model" else 2.0] for name in functions}

    monkeypatch.setattr(measure, "interleaved_medians", turns)
    rate = measure.matrix_product_rate(torch.float32, width=8, inner=16, rows=(2, 4))
    assert rate == 2 * 4 * 8 * 16 / 0.5
