"""The encoder's benchmark compares sides that compute the same, and writes what a reader of the figures needs."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from benchmarks import encoder, measure


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
