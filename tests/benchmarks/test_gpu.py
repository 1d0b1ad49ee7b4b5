"""The GPU's benchmark: its logic runs on a CPU, and without a GPU it says so."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from benchmarks import gpu


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
