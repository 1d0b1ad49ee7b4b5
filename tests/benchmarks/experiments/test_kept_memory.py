"""A process that keeps freed memory takes fewer new pages."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks.experiments import kept_memory
from recformer_hf.training.kept_memory import _glibc


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
