"""The benchmarks compare like with like, count what they say, and say what they could not do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # benchmarks/ is no part of the package

from benchmarks import __main__ as all_of_them  # noqa: E402
from benchmarks import ablation, encoder, floor, gpu, kept_memory, measure  # noqa: E402
from benchmarks.workload import fill, make_workload, mask_words, pad, typical_users  # noqa: E402
from recformer_hf import RecformerConfig  # noqa: E402
from recformer_hf.encoder import cpu_linear  # noqa: E402
from recformer_hf.training.kept_memory import _glibc  # noqa: E402


@pytest.fixture(scope="module")
def bench() -> encoder.Bench:
    return encoder.Bench("small", num_encoded=16)


# The workload


def test_workload_has_the_lengths_that_its_docstring_says():
    workload = make_workload(2000)
    items = np.array([len(ids) for ids, _ in workload.items])
    users = np.array([len(workload.history(user)["input_ids"]) for user in workload.users])
    assert (items.min(), items.max(), round(items.mean())) == (15, 60, 34)
    assert (users.min(), users.max(), round(users.mean())) == (31, 1024, 296)
    assert round(np.percentile(users, 90)) == 542


def test_a_typical_batch_is_like_the_average_one():
    workload = make_workload(2000)
    mean = np.mean([len(workload.history(user)["input_ids"]) for user in workload.users])
    chosen = [len(workload.history(user)["input_ids"]) for user in typical_users(workload, 8, window=64)]
    assert np.mean(chosen) == pytest.approx(mean, rel=0.05)


def test_masking_leaves_first_tokens_and_padding_alone():
    workload = make_workload(2000)
    batch = pad([workload.item(0), workload.history(np.arange(20))])
    ids, labels = mask_words(batch, mask_id=1999)
    masked = labels != -100
    assert masked.any()
    assert torch.equal(ids[~masked], batch["input_ids"][~masked])
    assert (ids[masked] == 1999).all()
    assert not masked[:, 0].any()
    assert not masked[batch["attention_mask"] == 0].any()


def test_filling_up_makes_even_lengths_of_padding():
    workload = make_workload(2000)
    short, long = fill([workload.item(0), workload.history(np.arange(5))])
    assert len(short["input_ids"]) == len(long["input_ids"])
    assert short["input_ids"][-1] == 1
    assert short["token_type_ids"][-1] == 3


# The floor


def test_floor_equals_a_count_by_hand():
    config = RecformerConfig(
        vocab_size=10,
        hidden_size=2,
        num_hidden_layers=3,
        num_attention_heads=1,
        intermediate_size=5,
        attention_window=2,
    )
    # Four projections of 2 x 2 and two products of 2 x 5, two operations each.
    assert floor.linear_flops(config) == 2 * (4 * 2 * 2 + 2 * 2 * 5)
    # Of three tokens in a row with one neighbour on each side: 2 + 3 + 2; of one token alone: 1.
    assert floor.window_pairs([3, 1], window=2) == 8
    # Each pair is a score and a weighted value of width 2, two operations each.
    assert floor.encoder_flops(config, [3, 1], layers=2) == 2 * (4 * 72 + 8 * 2 * 2 * 2)
    assert floor.training_flops_per_token(config) == 3 * 2 * 72


def test_training_at_base_size_takes_467_million_operations_a_token():
    assert round(floor.training_flops_per_token(RecformerConfig()) / 1e6) == 467


# The peers


@pytest.mark.parametrize("work", encoder.WORKS)
def test_peers_give_the_numbers_of_ours(bench, work):
    off = encoder.disagreement(bench, work)
    assert 0 < off < 1e-3


def test_a_peer_of_other_weights_would_be_noticed(monkeypatch):
    bench = encoder.Bench("small", num_encoded=4)
    made = encoder.LongformerPeer

    def other_weights(*arguments, **named):
        peer = made(*arguments, **named)
        torch.nn.init.normal_(peer.encoder.layer[0].output.dense.weight)
        return peer

    monkeypatch.setattr(encoder, "LongformerPeer", other_weights)
    assert encoder.disagreement(bench, "encode_items") > 1e-3


def test_dropout_is_put_back_after_the_comparison(bench):
    before = [module.p for module in bench.head.modules() if hasattr(module, "p")]
    with encoder.no_dropout(bench.head, bench.model):
        assert bench.head.config.hidden_dropout_prob == 0
    assert [module.p for module in bench.head.modules() if hasattr(module, "p")] == before
    assert bench.head.config.hidden_dropout_prob == bench.model.config.hidden_dropout_prob == 0.1


def test_goals_are_told_met_or_missed():
    rows = [
        {"work": "finetune_8", "dtype": "float32", "faithful_ratio": 4.1, "share": 0.6, "peak_ratio": 0.3},
        {"work": "scores_1", "dtype": "bfloat16", "score_error": 0.03},
    ]
    met = {(goal["work"], goal["what"]): goal["met"] for goal in encoder.against_goals(rows)}
    assert met == {
        ("finetune_8", "ratio"): "yes",
        ("finetune_8", "share"): "no",
        ("finetune_8", "peak_ratio"): "yes",
        ("scores_1", "score_error"): "no",
    }


# The ablation

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
    if technique in ("products through oneDNN", "bias and GELU fused") and not cpu_linear._onednn_is_exact():
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

    def counted(shape, probability, device):
        calls.append(shape)
        return ablation.drawn_mask(shape, probability, device)

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


# What is measured, and the commands


def test_most_expensive_operations_are_sorted_and_named():
    matrix = torch.randn(300, 300)
    found = measure.most_expensive(lambda: torch.mm(matrix, matrix).relu(), count=2)
    assert found[0]["operation"] == "aten::mm"
    assert found[0]["ms"] >= found[1]["ms"] > 0
    assert found[0]["calls"] == 1


def test_ratios_are_taken_within_a_turn():
    assert measure.median_ratio([4.0, 40.0, 400.0], [2.0, 20.0, 100.0]) == 2.0


def test_a_process_that_fails_says_why():
    with pytest.raises(RuntimeError, match="No such file"):
        measure.peak_memory(["json.tool", "there-is-none.json"])


def test_one_side_alone_tells_its_peak_memory(monkeypatch, capsys):
    arguments = ["--size", "small", "--works", "scores_1", "--only", "faithful"]
    monkeypatch.setattr(sys, "argv", ["encoder", *arguments])
    encoder.main()
    weights = 4 * sum(weight.numel() for weight in encoder.Bench("small").model.parameters())
    assert int(capsys.readouterr().out.rsplit(measure.PEAK, 1)[1]) > weights


def test_encoder_writes_what_a_reader_needs(monkeypatch, tmp_path, capsys):
    arguments = ["--size", "small", "--repeats", "1", "--works", "encode_items", "--output", str(tmp_path / "x.json")]
    monkeypatch.setattr(sys, "argv", ["encoder", *arguments])
    encoder.main()
    assert "faithful_ratio" in capsys.readouterr().out
    report = json.loads((tmp_path / "x.json").read_text())
    assert {"torch", "transformers", "cpu", "threads", "bfloat16_instructions", "other_load"} <= set(
        report["environment"]
    )
    assert set(report["environment"]["matrix_product_gflops"]) == {"float32", "bfloat16"}
    assert sum(report["works"]["encode_items"]["lengths"]) == report["rows"][0]["tokens"]
    assert len(report["works"]["encode_items"]["seconds"]["fair"]) == 1
    assert [row["dtype"] for row in report["rows"]] == ["float32", "bfloat16"]
    for row in report["rows"]:
        assert row["faithful_ratio"] == pytest.approx(row["faithful_s"] / row["ours_s"])
        assert row["share"] == pytest.approx(row["floor_s"] / row["ours_s"])
        rate = 1e9 * report["environment"]["matrix_product_gflops"][row["dtype"]]
        assert row["floor_s"] == pytest.approx(report["works"]["encode_items"]["flops"] / rate, rel=0.01)


def test_the_ceiling_is_the_best_of_all_rates(monkeypatch):
    def turns(functions, repeats, warmup):
        return {name: [1.0, 0.5 if name == "model" else 2.0] for name in functions}

    monkeypatch.setattr(measure, "interleaved_medians", turns)
    rate = measure.matrix_product_rate(torch.float32, width=8, inner=16, rows=(2, 4))
    assert rate == 2 * 4 * 8 * 16 / 0.5


def test_every_benchmark_is_called_with_options_that_it_has(monkeypatch, tmp_path):
    lines = [all_of_them.command(name, size, tmp_path) for size in all_of_them.RUNS for name in all_of_them.NAMES]
    called = []
    monkeypatch.setattr(
        all_of_them.subprocess, "run", lambda line, check: called.append(line) or SimpleNamespace(returncode=0)
    )
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--output_dir", str(tmp_path)])
    all_of_them.main()
    assert called == lines
    for line in called:
        source = (ROOT / "benchmarks" / f"{line[2].removeprefix('benchmarks.')}.py").read_text()
        for option in line[3:]:
            assert not option.startswith("--") or f'"{option}"' in source, option


def test_a_failed_benchmark_is_named_and_stops_no_other(monkeypatch, tmp_path):
    codes = iter([1, 0])
    monkeypatch.setattr(all_of_them.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=next(codes)))
    arguments = ["--size", "small", "--only", "encoder", "search", "--output_dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit, match=r"Failed: encoder \(small\)\."):
        all_of_them.main()
    assert next(codes, None) is None


@pytest.mark.skipif(_glibc() is None, reason="another C library than glibc")
def test_memory_that_is_kept_is_no_new_page(monkeypatch, tmp_path, capsys):
    arguments = ["--size", "small", "--works", "finetune_32", "--dtypes", "float32", "--repeats", "1", "--steps", "4"]
    monkeypatch.setattr(sys, "argv", ["kept_memory", *arguments, "--output", str(tmp_path / "x.json")])
    kept_memory.main()
    kept, given_back = json.loads((tmp_path / "x.json").read_text())["rows"]
    assert (kept["freed"], given_back["freed"]) == ("kept", "given back")
    assert kept["faults"] < 0.8 * given_back["faults"]
    assert given_back["ratio"] == 1
    assert "given back" in capsys.readouterr().out


# The GPU's


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_gpu_says_in_one_line_that_there_is_none(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gpu"])
    with pytest.raises(SystemExit, match="There is no CUDA device here") as stopped:
        gpu.main()
    assert "\n" not in stopped.value.code


def test_gpu_logic_runs_without_one(monkeypatch, tmp_path, capsys):
    arguments = ["--device", "cpu", "--size", "small", "--smoke", "--output", str(tmp_path / "gpu.json")]
    monkeypatch.setattr(sys, "argv", ["gpu", *arguments])
    gpu.main()
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert all(check["passed"] for check in report["checks"])
    assert [(row["work"], row["side"]) for row in report["rows"]] == [
        *[("training step", "ours"), ("training step", "longformer")] * 2,
        ("encode items", "ours"),
    ]
    assert report["rows"][0]["mfu"] is None
    assert report["rows"][0]["tokens"] == 128
    assert report["rows"][-1]["items_per_second"] > 0
    assert "training step" in capsys.readouterr().out


def test_gpu_batches_are_even_and_full():
    sequences = gpu.even_sequences(2000, length=256, num_tokens=1100)
    assert [len(sequence["input_ids"]) for sequence in sequences] == [256] * 4
    items = gpu.item_sequences(2000, num_tokens=500)
    assert 500 <= sum(len(item["input_ids"]) for item in items) < 561
    batch = gpu.packed_on("cpu", sequences)
    assert batch["max_seqlen"] == 256
    assert batch["cu_seqlens"].tolist() == [0, 256, 512, 768, 1024]


def test_gpu_peak_is_known_by_name_or_given():
    assert gpu.peak_flops("NVIDIA H200", None) == 989e12
    assert gpu.peak_flops("NVIDIA H100 80GB HBM3", None) == 989e12
    assert gpu.peak_flops("NVIDIA H100 PCIe", None) is None
    assert gpu.peak_flops("NVIDIA H100 PCIe", 756.0) == 756e12
