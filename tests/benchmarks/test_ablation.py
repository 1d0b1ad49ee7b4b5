"""Without a technique another way is taken, and the results stay the same."""

from __future__ import annotations

import pytest
import torch

from benchmarks import ablation, encoder
from recformer_hf.encoder.cpu import onednn

EXACT = [name for name in ablation.TECHNIQUES if name != "no padding"]


def results_of(bench, function) -> list[torch.Tensor]:
    """What a work returns and, of a step, all gradients."""
    bench.model.zero_grad()
    bench.head.zero_grad()
    output = function()
    weights = [*bench.model.parameters(), *bench.head.parameters()]
    # Some techniques spare weights that have no influence their gradient of 0.
    return [output, *(torch.zeros_like(w) if w.grad is None else w.grad.clone() for w in weights)]


@pytest.mark.parametrize("technique", EXACT)
def test_results_are_the_same_without_a_technique(bench, technique):
    works = set(ablation.TECHNIQUES[technique].works)
    for work in {"scores_1", "finetune_4"} & works or {"pretrain_2"} & works:
        with encoder.no_dropout(bench.head, bench.model):
            expected = results_of(bench, ablation.ours(bench, work, "float32"))
            found = results_of(bench, ablation.without(bench, technique, work, "float32"))
        assert any(each.any() for each in expected[1:]) == (work != "scores_1")
        for one, other in zip(found, expected, strict=True):
            assert torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("technique", ablation.TECHNIQUES)
def test_another_way_is_taken_without_a_technique(bench, technique):
    if technique in ("products through oneDNN", "bias and GELU fused") and not onednn.is_exact():
        pytest.skip("no exact float32 products from oneDNN here")

    def operations(function):
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            function()
        return {event.key: event.count for event in profiler.key_averages()}

    works = ablation.TECHNIQUES[technique].works
    work = next(each for each in ("scores_16", "finetune_4", "pretrain_2") if each in works)
    function = ablation.ours(bench, work, "float32")
    other = ablation.without(bench, technique, work, "float32")
    function(), other()  # what is made once
    with_it = operations(function)
    assert with_it == operations(function)
    assert with_it != operations(other)


def test_switching_off_changes_what_runs_and_is_undone(bench):
    calls = []

    def counted(shape, probability):
        calls.append(shape)
        return ablation.drawn_mask(shape, probability)

    function = ablation.ours(bench, "finetune_4", "float32")
    with ablation.masks(counted):
        function()
    inside = len(calls)
    function()
    assert inside > 0
    assert len(calls) == inside


def test_without_packing_more_tokens_are_computed(bench):
    def rows_of(function):
        seen = []
        hook = bench.head.recformer.embeddings.register_forward_hook(lambda _, __, out: seen.append(len(out)))
        function()
        hook.remove()
        return seen[0]

    packed = rows_of(ablation.ours(bench, "encode_items", "float32"))
    padded = rows_of(ablation.without(bench, "no padding", "encode_items", "float32"))
    longest = max(bench.work("encode_items", []).lengths)
    assert packed == sum(bench.work("encode_items", []).lengths)
    assert padded == 16 * longest
